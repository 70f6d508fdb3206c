"""A guard model made on the spot: its numbers, its labels, long rows, and what is refused."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.models import label_chances
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.guard_model import guard_model
from curation.scoring import score_rows
from curation.tasks.free_text import free_text

WORDS = (
    "how to make a cake bomb tea gun open the window please now 怎 么 做 蛋 糕 炸 药 枪 茶 窗 请 开"
)
HARM = ("bomb", "gun", "炸", "枪")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split())
LENGTH = 32
SHAPE: dict[str, Any] = {
    **{"vocab_size": len(VOCABULARY), "hidden_size": 32, "intermediate_size": 64},
    **{"num_hidden_layers": 1, "num_attention_heads": 2},
}


def rows_of(*texts: str) -> pl.DataFrame:
    return rows_frame([make_row(dialogue(text, "ok")) for text in texts])


HARMFUL = rows_of("how to make a bomb", "怎 么 做 炸 药", "make a gun now", "请 做 枪")
HARMLESS = rows_of("how to make a cake", "怎 么 做 蛋 糕", "open the window please", "请 开 窗")
BOTH = pl.concat([HARMFUL, HARMLESS])


@cache
def trained():
    """A BERT of one layer that has learned three labels: safe, bomb, gun; and its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    names = {0: "safe", 1: "bomb", 2: "gun"}
    config = BertConfig(**SHAPE, max_position_embeddings=LENGTH, pad_token_id=0, id2label=names)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        picked = torch.Generator().manual_seed(0)
        steps = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(120):
            ids = torch.randint(4, len(VOCABULARY), (32, 7), generator=picked)
            words = [{VOCABULARY[i] for i in row} for row in ids.tolist()]
            kinds = [2 if w & {"gun", "枪"} else 1 if w & {"bomb", "炸"} else 0 for w in words]
            loss = model(input_ids=ids, labels=torch.tensor(kinds)).loss
            steps.zero_grad()
            loss.backward()
            steps.step()
    return model.eval(), word_tokenizer(model_max_length=LENGTH)


def word_tokenizer(**options: Any) -> Any:
    """A tokenizer of whole words that puts each text between two marks, as encoders want it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(VOCABULARY)}
    backend: Any = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, marks)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named, **options)


def guard(folder: Path, *, labels: tuple[str, ...] = ("safe", "bomb", "gun"), **config) -> Path:
    """The trained model in a folder, its config as given."""
    model, tokenizer = trained()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    said |= {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(said | config))
    return folder


def score(model: Path, rows: pl.DataFrame, **options) -> list[float | None]:
    context = ScoreContext(task=free_text(), reference=rows)
    return guard_model(model=str(model), **options)(rows, context).to_list()


def peer(folder: Path, text: str) -> dict[str, float]:
    """What the pipeline of transformers, which is not ours, says of a text: label -> chance."""
    from transformers import pipeline

    said = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)([text])
    return {one["label"]: one["score"] for one in said[0]}  # type: ignore[index]


def test_harm_scores_high_and_everything_else_low_in_both_languages(tmp_path):
    folder = guard(tmp_path)
    assert min(score(folder, HARMFUL)) > 0.9 and max(score(folder, HARMLESS)) < 0.1  # type: ignore[type-var]


def test_probabilities_of_labels_that_exclude_one_another_are_added_up(tmp_path):
    folder = guard(tmp_path)
    said = peer(folder, "make a bomb gun\nok")
    assert score(folder, rows_of("make a bomb gun"))[0] == pytest.approx(1 - said["safe"], abs=1e-5)
    one = score(folder, rows_of("make a bomb gun"), labels=["bomb"])[0]
    assert one == pytest.approx(said["bomb"], abs=1e-5)


def test_of_independent_labels_the_highest_counts(tmp_path):
    folder = guard(tmp_path, problem_type="multi_label_classification")
    said = peer(folder, "make a bomb gun\nok")
    assert sum(said.values()) != pytest.approx(1, abs=0.01)
    highest = max(said["bomb"], said["gun"])
    assert score(folder, rows_of("make a bomb gun"))[0] == pytest.approx(highest, abs=1e-5)


def test_a_row_scores_the_same_alone_and_in_any_batch(tmp_path):
    folder = guard(tmp_path)
    rows = pl.concat([BOTH, rows_of("open " * 20 + "the gun", "tea", "请 开 窗 " * 40)])
    together = score(folder, rows)
    for batch_tokens in (1, 40):
        assert score(folder, rows, batch_tokens=batch_tokens) == pytest.approx(together, abs=1e-6)
    alone = [score(folder, rows[i : i + 1])[0] for i in range(rows.height)]
    assert alone == pytest.approx(together, abs=1e-6)


def test_harm_is_found_wherever_it_stands_in_a_long_row(tmp_path):
    folder = guard(tmp_path)
    tea = ["open the window please"] * 30
    long = rows_of(*(" ".join([*tea[:n], "make a bomb", *tea[n:]]) for n in (0, 9, 17, 30)))
    assert min(score(folder, long)) > 0.5 > max(score(folder, rows_of(" ".join(tea))))  # type: ignore[type-var]


def test_the_pieces_of_a_long_text_overlap():
    model, tokenizer = trained()
    whole, long = label_chances(model, tokenizer, ["open " * 28, "open " * 80])
    assert len(whole) == 1 and len(long) == 4  # of 28, 25 further on each


def test_a_model_that_counts_positions_otherwise_reads_long_rows_too(tmp_path):
    """RoBERTa begins after its padding token; and a tokenizer need not say how much is read."""
    import torch
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(**SHAPE, max_position_embeddings=LENGTH, pad_token_id=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    (short,) = score(tmp_path, rows_of("open the window"), labels=["LABEL_1"])
    (long,) = score(tmp_path, rows_of("open the window please " * 30), labels=["LABEL_1"])
    assert short == pytest.approx(peer(tmp_path, "open the window\nok")["LABEL_1"], abs=1e-5)
    assert long is not None and 0 < long < 1


def test_what_the_system_says_is_not_judged(tmp_path):
    row = make_row(dialogue("open the window", "ok", system="make a bomb gun"))
    assert score(guard(tmp_path), rows_frame([row])) == score(tmp_path, rows_of("open the window"))


@pytest.mark.parametrize("name", ["Safe", "non-toxic", "NOT_HATE", "Neutral", "OK", "normal"])
def test_common_names_of_no_harm_are_known(tmp_path, name):
    folder = guard(tmp_path, labels=(name, "toxic", "unsafe"))
    assert score(folder, BOTH) == score(guard(tmp_path), BOTH)


@pytest.mark.parametrize(
    ("labels", "named", "said"),
    [
        (("safe", "bomb", "gun"), ["bmob"], r"no label 'bmob' \(did you mean 'bomb'\?\)"),
        (("安全", "爆炸", "枪支"), ["枪枝"], r"no label '枪枝' \(did you mean '枪支'\?\)"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), None, "LABEL_0, LABEL_1, LABEL_2; name those"),
        (("safe", "normal", "ok"), None, "safe, normal, ok; name those"),
        (("爆炸", "枪支", "毒品"), None, "爆炸, 枪支, 毒品; name those"),
        (("a", "b", "c"), ["a", "b", "c"], "a, b, c; name those"),
    ],
)
def test_labels_that_do_not_tell_harm_are_refused_in_one_line(tmp_path, labels, named, said):
    folder = guard(tmp_path, labels=labels)
    with pytest.raises(ValueError, match=said) as refused:
        score(folder, BOTH, labels=named)
    assert "\n" not in str(refused.value)


def test_an_empty_list_of_labels_is_refused_before_any_row():
    with pytest.raises(ValueError, match="`labels` is empty"):
        guard_model(model="owner/name", labels=[])


def test_a_model_of_one_number_is_refused(tmp_path):
    from transformers import BertForSequenceClassification

    model, tokenizer = trained()
    one = {"num_labels": 1, "problem_type": None}
    config = type(model.config)(**model.config.to_dict() | one)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gives one number a row"):
        score(tmp_path, BOTH)


def test_a_language_model_is_no_guard_and_no_random_one_takes_its_place(tiny_base):
    with pytest.raises(ValueError, match="no trained classifier: it has no score.weight"):
        score(tiny_base, BOTH, labels=["LABEL_1"])


def test_a_model_that_cannot_be_used_is_loaded_once_and_not_for_every_row(tmp_path):
    guard(tmp_path, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    scorer, asked = guard_model(model=str(tmp_path)), []

    def counted(rows, context):
        asked.append(rows.height)
        return scorer(rows, context)

    context = ScoreContext(task=free_text(), reference=BOTH)
    with pytest.raises(ValueError, match="name those"):
        score_rows(BOTH, counted, context)
    assert asked == [BOTH.height]
