"""A merged folder answers as base and adapter do, stands by itself, or is refused."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.chat import load_tokenizer
from curation.models import load_causal_lm
from evaluation.predict import load_predictor, predict_answers
from tests.conftest import copy_rows
from training.quantize import write_nf4
from training.sft import train_sft
from training.ship import Moved, _require_same, merge_model, write_sums


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return copy_rows(60, seed=5)


@pytest.fixture(scope="module")
def adapter(tiny_base: Path, rows: pl.DataFrame, tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train_sft(rows, base_model=tiny_base, out=out, method="lora", epochs=2, batch_rows=8)
    return out / "adapter"


def test_the_merged_folder_answers_as_base_and_adapter_do(tiny_base, rows, adapter, tmp_path):
    prompts = [chat[:-1] for chat in rows["messages"].to_list()[:6]]
    trained = load_predictor(tiny_base, adapter=adapter)
    wanted = predict_answers(trained, prompts, max_new_tokens=8)
    assert wanted != predict_answers(load_predictor(tiny_base), prompts, max_new_tokens=8)
    moved = merge_model(tiny_base, adapter, rows, out=tmp_path / "whole", dtype="float32")
    assert moved.by_merging < 1e-5 < 0.05 < moved.by_training and moved.n_tokens > 20
    shipped = load_predictor(tmp_path / "whole")
    assert predict_answers(shipped, prompts, max_new_tokens=8) == wanted


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_a_smaller_change_than_training(
    dtype: Any, tiny_base, rows, adapter, tmp_path
):
    moved = merge_model(tiny_base, adapter, rows, out=tmp_path / "half", dtype=dtype)
    assert 0 < moved.by_merging < moved.by_training / 2
    assert f'"{dtype}"' in (tmp_path / "half" / "config.json").read_text()


def test_the_folder_names_no_path_and_stops_where_it_was_trained_to(
    tiny_base, rows, adapter, tmp_path
):
    out = tmp_path / "whole"
    merge_model(tiny_base, adapter, rows, out=out)
    write_sums(out)
    here = [str(tmp_path).encode(), str(tiny_base).encode(), str(adapter).encode()]
    assert not [f for f in out.iterdir() if any(path in f.read_bytes() for path in here)]
    names = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert names == {f.name for f in out.iterdir()} - {"SHA256SUMS"}
    tokenizer, model = load_tokenizer(out), load_causal_lm(out)
    assert tokenizer.chat_template == load_tokenizer(adapter).chat_template
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in model.generation_config.eos_token_id and not model.generation_config.do_sample


def test_virtual_tokens_and_lost_training_are_refused(tiny_base, rows, tmp_path):
    train_sft(rows.head(8), base_model=tiny_base, out=tmp_path, method="prompt", epochs=1)
    with pytest.raises(ValueError, match="'prompt_tuning' cannot be merged"):
        merge_model(tiny_base, tmp_path / "adapter", rows, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match=r"answers differently, 0\.05 is allowed"):
        _require_same(Moved(1.0, float("nan"), 9), "bfloat16")
    with pytest.raises(ValueError, match="takes away what was trained, take float32"):
        _require_same(Moved(0.01, 0.01, 9), "bfloat16")


def test_a_fully_trained_model_is_shipped_as_it_is(tiny_base, rows, tmp_path):
    train_sft(rows, base_model=tiny_base, out=tmp_path, method="full", epochs=1, batch_rows=8)
    moved = merge_model(
        tiny_base, tmp_path / "adapter", rows, out=tmp_path / "whole", dtype="float32"
    )
    assert moved.by_merging < 1e-6 < moved.by_training


def test_four_bits_are_a_quarter_of_the_bytes_and_their_price_is_told(
    tiny_base, rows, adapter, tmp_path
):
    merge_model(tiny_base, adapter, rows, out=tmp_path / "whole")
    distance = write_nf4(tmp_path / "whole", rows, out=tmp_path / "nf4")
    assert 0.005 < distance < 0.2
    config = (tmp_path / "nf4" / "config.json").read_text()
    assert '"bnb_4bit_quant_type": "nf4"' in config and str(tmp_path) not in config
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in ("nf4", "whole")]
    assert sizes[0] < 0.6 * sizes[1]  # of a model this small the embeddings are much
    prompts = [chat[:-1] for chat in rows["messages"].to_list()[:6]]
    said = predict_answers(load_predictor(tmp_path / "nf4"), prompts, max_new_tokens=8)
    wanted = predict_answers(load_predictor(tmp_path / "whole"), prompts, max_new_tokens=8)
    assert sum(a == b for a, b in zip(said, wanted, strict=True)) >= 3


def test_four_bits_can_be_of_layers_narrower_than_a_block_of_them(tiny_base, rows, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_base, hidden_size=32)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "narrow")
    load_tokenizer(tiny_base).save_pretrained(tmp_path / "narrow")
    assert 0 < write_nf4(tmp_path / "narrow", rows, out=tmp_path / "nf4") < 0.5
