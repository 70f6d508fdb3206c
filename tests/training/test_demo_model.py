"""The demo base model: same rows same bytes, and a template that teaches the model to stop."""

from pathlib import Path

import pytest

from curation.chat import encode_chats, encode_prompts, load_tokenizer
from curation.rows import dialogue
from tests.conftest import copy_rows
from training.demo_model import pretrain_demo_model


def test_pretraining_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pretrain_demo_model(copy_rows(60), out=tmp_path / name, hidden=64, layers=1, steps=3)
    for file in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="general rows"):
        pretrain_demo_model(copy_rows(2).clear(), out=tmp_path)


def test_pretraining_lowers_the_loss_and_says_how_fast_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    told = pretrain_demo_model(
        copy_rows(200), out=tmp_path, hidden=64, layers=1, steps=30, report=said.append
    )
    assert told["loss"] < 3.0 and told["tokens_per_s"] > 0 and told["n_rows"] > 100


def test_prompt_ids_are_a_prefix_of_the_whole_conversation(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    chat = dialogue("重复：天地", "天地", system="你好")
    (whole, mask), prompt = (
        encode_chats(tokenizer, [chat])[0],
        encode_prompts(tokenizer, [chat[:-1]])[0],
    )
    assert whole[: len(prompt)] == prompt
    assert mask.index(True) == len(prompt)


def test_characters_the_tokenizer_never_saw_survive(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    text = "龘 naïve ‐ 🚗\n\t“x”"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
