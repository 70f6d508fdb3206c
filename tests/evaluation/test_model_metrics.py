"""Metrics that read with a model, on real small models made on the spot."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.tasks.free_text import free_text
from evaluation.metrics.bertscore import bertscore
from evaluation.metrics.bleurt import bleurt

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS += [*"打开关闭车窗空调", "open", "close", "the", "window", "door", "now"]


def pairs(*said: tuple[str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(said, schema={"gold": pl.String, "predicted": pl.String}, orient="row")
    return frame.with_columns(kind=pl.lit("task"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A BERT of two layers, and one with a single output that reads two texts; untrained."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )

    backend = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", model_max_length=30,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32, pad_token_id=0,
    )  # fmt: skip
    config.num_labels = 1
    folders = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind in (BertModel, BertForSequenceClassification):
            folders.append(tmp_path_factory.mktemp(kind.__name__))
            kind(config).save_pretrained(folders[-1])
            tokenizer.save_pretrained(folders[-1])
    return folders[0], folders[1]


def test_bertscore_is_the_greedy_matching_of_the_paper(models):
    import torch
    from transformers import AutoModel, AutoTokenizer

    gold, said = "打开车窗", "关闭空调 now"
    encoder, tokenizer = (t.from_pretrained(models[0]) for t in (AutoModel, AutoTokenizer))
    with torch.inference_mode():
        told = [encoder(**tokenizer(t, return_tensors="pt"), output_hidden_states=True)
                for t in (gold, said)]  # fmt: skip
    x, y = (t.hidden_states[1][0, 1:-1].double().numpy() for t in told)  # without both marks
    cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x]
    recall = np.mean([max(row) for row in cosines])
    precision = np.mean([max(column) for column in zip(*cosines, strict=True)])
    wanted = 2 * precision * recall / (precision + recall)
    score = bertscore(model=models[0], layer=1)
    assert score(pairs((gold, said)), free_text()) == pytest.approx(wanted, abs=1e-6)
    assert score(pairs((gold, gold)), free_text()) == pytest.approx(1)
    assert score(pairs((gold, gold), (gold, "")), free_text()) == pytest.approx(1 / 2)


def test_a_text_longer_than_the_encoder_reads_counts_by_its_start(models):
    score = bertscore(model=models[0])(pairs(("open the door " * 40, "open the door")), free_text())
    assert score is not None and 0 < score <= 1


def test_bleurt_reads_gold_and_answer_together_in_any_batch(models):
    said = [("打开车窗", "打开空调"), ("open the window now", "close it")] * 20
    metric = bleurt(model=models[1])
    every = metric(pairs(*said), free_text())
    alone = [metric(pairs(pair), free_text()) for pair in said[:2]]
    assert every == pytest.approx(np.mean(alone), abs=1e-6)  # type: ignore[arg-type]
    for other in (("打开车窗", "关闭空调"), ("close it", "打开空调")):  # other answer, other gold
        assert metric(pairs(other), free_text()) != pytest.approx(alone[0])


def test_bleurt_refuses_a_folder_without_such_a_model(models, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*model.safetensors"):
        bleurt(model=tmp_path)(pairs(("打开", "打开")), free_text())
