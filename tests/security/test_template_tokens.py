"""A control token comes from the template alone: none is smuggled in by the text of a row."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.chat import encode_chats, encode_safe, load_tokenizer
from curation.ingest import read_source
from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.rules import judge_rows
from curation.scorers._base import ScoreContext
from curation.scorers.special_tokens import find_markers, special_tokens
from curation.sources._base import Record
from curation.tasks.free_text import free_text
from tests.conftest import copy_rows
from training.demo_model import pretrain_demo_model
from training.reward import _encode_pairs
from training.tokens import tokenise_rows

REAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
FOREIGN = ["<eos>", "</s>", "<s>", "[INST]", "<<SYS>>", "<|eot_id|>", "<｜end▁of▁sentence｜>"]
VARIANTS = [
    "＜|im_start|＞",
    "<｜im_start｜>",
    "＜｜ｉｍ＿ｅｎｄ｜＞",
    "<|im_\u200dend|>",
    "<\u200b|im_end|>",
    "<|im_end|\u2060>",
    "<|\u00adendoftext|>",
    "＜／ｓ＞",
    "＜eos＞",
    "［INST］",
    "<|IM_END|>",
]
PLACES = ["system", "user", "assistant", "middle", "call name", "call value", "tool", "tools"]


def record(place: str, text: str) -> dict[str, Any]:
    """A delivered conversation with tools that holds the text at one place."""
    held = dict.fromkeys(PLACES, "天") | {place: f"天{text}地"}
    call = {"name": held["call name"], "arguments": {"k": held["call value"]}}
    return {
        "messages": [
            {"role": "system", "content": held["system"]},
            {"role": "user", "content": held["user"]},
            {"role": "assistant", "content": held["middle"], "tool_calls": [{"function": call}]},
            {"role": "tool", "content": held["tool"]},
            {"role": "assistant", "content": held["assistant"]},
        ],
        "tools": [{"name": "f", "description": held["tools"]}],
    }


def ingested(*records: dict[str, Any]) -> pl.DataFrame:
    given = [Record(f"line {i}", r) for i, r in enumerate(records)]
    return read_source(given, source="s").rows


def special_count(tokenizer: Any, rows: pl.DataFrame) -> list[int]:
    encoded = encode_chats(tokenizer, rows["messages"].to_list(), tools=rows["tools"].to_list())
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert len(special) == len(REAL)
    return [sum(i in special for i in ids) for ids, _ in encoded]


@pytest.mark.parametrize("place", PLACES)
def test_a_marker_anywhere_in_a_row_is_dropped_by_its_rule(place):
    rows = ingested(*(record(place, text) for text in REAL + FOREIGN + VARIANTS))
    assert rows.height == len(REAL + FOREIGN + VARIANTS)
    context = ScoreContext(free_text(), pl.DataFrame(schema=ROW_SCHEMA))
    scored = rows.with_columns(special_tokens=special_tokens()(rows, context))
    fates = judge_rows(scored, ["not special_tokens"])
    assert set(fates["fate"]) == {"dropped"} and set(fates["reason"]) == {"not special_tokens"}


def test_ordinary_text_holds_no_marker():
    for text in (
        "a < b | c > d",
        "<div>|</div>",
        "〈书名〉｜作者",
        "[INSTALL]",
        "x<|y",
        "👨‍👩‍👧 <s2>",
    ):
        assert not find_markers(text)


@pytest.mark.parametrize("place", PLACES)
def test_no_row_encodes_to_a_control_token_of_the_model_outside_the_template(
    tiny_base: Path, place: str
) -> None:
    tokenizer = load_tokenizer(tiny_base)
    (wanted,) = special_count(tokenizer, ingested(record(place, "")))
    for text in REAL + FOREIGN + VARIANTS:
        rows = ingested(record(place, text))
        (line,) = tokenise_rows(rows, load_tokenizer(tiny_base)).to_dicts()
        smuggled = special_count(tokenizer, rows) != [wanted]
        assert smuggled == (text in REAL)
        assert line["reason"] == ("special_token" if smuggled else "")
        assert smuggled == (line["input_ids"] == [])


@pytest.mark.parametrize("text", REAL)
def test_an_escape_in_a_tool_call_hides_nothing(tiny_base: Path, text: str) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    calls = '[{"type":"function","function":{"name":"f","arguments":{"k":"' + escaped + '"}}}]'
    turns = [{"role": "user", "content": "天"}]
    turns += [{"role": "assistant", "content": "", "tool_calls": calls}]
    assert text not in calls
    assert (
        tokenise_rows(rows_frame([make_row(turns)]), load_tokenizer(tiny_base))["reason"][0]
        == "special_token"
    )


@pytest.mark.parametrize("text", REAL + FOREIGN + VARIANTS)
def test_a_role_is_one_of_four(text):
    for role in (text, f"user{text}", f"system\n{text}"):
        with pytest.raises(ValueError, match="unknown role"):
            make_row([{"role": role, "content": "天"}, *dialogue("天", "地")])
        read = read_source(
            [
                Record(
                    "line 1", {"messages": [{"role": role, "content": "x"}, *dialogue("天", "地")]}
                )
            ],
            source="s",
        )
        assert read.counts["quarantined"] == 1 and read.rows.is_empty()


def test_a_tokenizer_that_folds_width_is_asked_itself(tiny_base: Path, tmp_path: Path) -> None:
    """Where full width becomes the real token, the row goes; the spelling alone would not say."""
    folding = Path(shutil.copytree(tiny_base, tmp_path / "folding"))
    path = folding / "tokenizer.json"
    core = json.loads(path.read_text(encoding="utf-8"))
    core["normalizer"] = {"type": "NFKC"}
    for token in core["added_tokens"]:
        token["normalized"] = True
    path.write_text(json.dumps(core, ensure_ascii=False), encoding="utf-8")
    rows = rows_frame([make_row(dialogue(f"天{REAL[0]}", "地")), make_row(dialogue("天", "地"))])
    wide = rows_frame([make_row(dialogue("天＜｜im_end｜＞", "地"))])
    assert sorted(tokenise_rows(rows, load_tokenizer(folding))["reason"]) == ["", "special_token"]
    assert tokenise_rows(wide, load_tokenizer(folding))["reason"].to_list() == ["special_token"]
    assert tokenise_rows(wide, load_tokenizer(tiny_base))["reason"].to_list() == [""]


def test_an_unknown_character_is_no_control_token(tiny_base: Path, tmp_path: Path) -> None:
    known = Path(shutil.copytree(tiny_base, tmp_path / "unknown"))
    config = json.loads((known / "tokenizer_config.json").read_text())
    (known / "tokenizer_config.json").write_text(json.dumps(config | {"unk_token": "<unk>"}))
    rows = rows_frame([make_row(dialogue("天 𠮷 🛸", "地"))])
    assert tokenise_rows(rows, load_tokenizer(known))["reason"].to_list() == [""]


def test_neither_the_demo_base_nor_the_reward_model_learns_from_such_a_row(
    tiny_base: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_base)
    chats = [dialogue("天", "地"), dialogue("天<|im_end|>", "地"), dialogue("天", "地<|im_start|>")]
    assert [bool(ids) for ids, _ in encode_safe(tokenizer, chats)] == [True, False, False]
    pairs = pl.DataFrame(
        {
            "prompt": ["天", "地", "玄"],
            "chosen": ["一", "二", "三"],
            "rejected": ["二", "<|im_end|>", "一"],
        }
    )
    train, heldout = _encode_pairs(pairs, tokenizer, system="", max_tokens=64)
    assert len(train) + len(heldout) == 2
    bad = [make_row(dialogue(f"重复：{w}<|im_end|>", w), track="general") for w in "天地玄黄"]
    rows = pl.concat([copy_rows(40), rows_frame(bad)])
    options: dict[str, Any] = {"hidden": 32, "layers": 1, "vocab_size": 330, "steps": 2}
    told = pretrain_demo_model(rows, out=tmp_path / "b", **options)
    learned = encode_safe(load_tokenizer(tmp_path / "b"), rows["messages"].to_list())
    assert sum(not ids for ids, _ in learned) == len(bad)
    assert told["n_tokens"] == sum(len(ids) for ids, _ in learned)
