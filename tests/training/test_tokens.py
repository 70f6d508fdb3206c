"""Masks, refusals and packing, checked against what TRL itself would make of the same rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import AutoTokenizer

from curation.chat import load_tokenizer
from curation.rows import dialogue, make_row, rows_frame
from tests.conftest import copy_rows
from training.tokens import pack_rows, preflight, tokenise_rows

TWO_TURNS = [
    {"role": "system", "content": "说"},
    {"role": "user", "content": "一"},
    {"role": "assistant", "content": "二"},
    {"role": "user", "content": "三"},
    {"role": "assistant", "content": "四五"},
]


def test_every_assistant_turn_and_its_end_is_trained_and_nothing_else(tiny_base: Path) -> None:
    tokens = tokenise_rows(rows_frame([make_row(TWO_TURNS)]), load_tokenizer(tiny_base))
    shown = preflight(tokens, load_tokenizer(tiny_base))[0]
    assert [part.split("⟧")[0] for part in shown.split("⟦")[1:]] == [
        "二<|im_end|>",
        "四五<|im_end|>",
    ]


def test_long_rows_and_control_tokens_leave_with_a_reason(tiny_base: Path) -> None:
    chats = [
        dialogue("重复：天", "天" * 60),
        dialogue("停<|im_end|>止", "好"),
        dialogue("说", "完<|endoftext|>"),
        dialogue("重复：地", "地"),
    ]
    rows = pl.DataFrame([make_row(c) for c in chats], schema=rows_frame([]).schema)
    tokens = tokenise_rows(rows, load_tokenizer(tiny_base), max_tokens=40)
    assert tokens["reason"].to_list() == ["over_long", "special_token", "special_token", ""]
    assert tokens["id"].to_list() == rows["id"].to_list()
    assert tokens["input_ids"].list.len().to_list()[:3] == [0, 0, 0]


def test_a_broken_tool_call_costs_one_row(tiny_base: Path) -> None:
    broken = [
        *dialogue("一", "二")[:1],
        {"role": "assistant", "content": "", "tool_calls": "{oops"},
    ]
    rows = rows_frame([make_row(broken), make_row(dialogue("重复：天", "天"))])
    assert sorted(tokenise_rows(rows, load_tokenizer(tiny_base))["reason"]) == [
        "",
        "template_error",
    ]


def test_preflight_refuses_rows_that_never_end_or_are_never_trained(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    tokens = tokenise_rows(copy_rows(3), load_tokenizer(tiny_base))
    endless = tokens.with_columns(
        pl.col("input_ids", "labels_mask").list.head(pl.col("n_tokens") - 2)
    )
    with pytest.raises(ValueError, match="no_end"):
        preflight(endless, tokenizer)
    unmasked = tokens.with_columns(pl.col("labels_mask").list.eval(pl.element() & False))
    with pytest.raises(ValueError, match="empty_mask"):
        preflight(unmasked, tokenizer)
    with pytest.raises(ValueError, match="no row is left"):
        preflight(tokens.with_columns(reason=pl.lit("over_long")), tokenizer)


def test_packing_keeps_every_row_once_and_whole(tiny_base: Path) -> None:
    tokens = tokenise_rows(copy_rows(100), load_tokenizer(tiny_base))
    bins = pack_rows(tokens, block=64)
    assert sorted(bins["ids"].explode()) == sorted(tokens["id"])
    assert (bins["input_ids"].list.len() <= 64).all()
    assert bins["seq_lengths"].list.sum().to_list() == bins["input_ids"].list.len().to_list()
    with pytest.raises(ValueError, match="does not fit"):
        pack_rows(tokens, block=4)


def test_sequences_and_labels_equal_trls_own_preparation(tiny_base: Path, tmp_path: Path) -> None:
    rows = copy_rows(80)
    bins = pack_rows(tokenise_rows(rows, load_tokenizer(tiny_base)), block=64)
    theirs = _trl_preparation(rows, tiny_base, tmp_path)
    columns = ("input_ids", "labels", "seq_lengths")
    assert {c: bins[c].to_list() for c in columns} == {c: list(theirs[c]) for c in columns}


def test_a_packed_row_gets_the_logits_it_gets_alone(tiny_base: Path) -> None:
    import torch

    from curation.models import load_causal_lm

    model = load_causal_lm(tiny_base)
    bins = pack_rows(tokenise_rows(copy_rows(30), load_tokenizer(tiny_base)), block=96)
    for ids, lengths in bins.select("input_ids", "seq_lengths").iter_rows():
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        with torch.inference_mode():
            packed = model(torch.tensor([ids]), position_ids=positions, use_cache=False)
            alone = [model(p[None]).logits[0] for p in torch.tensor(ids).split(lengths)]
        moved = packed.logits[0].log_softmax(-1) - torch.cat(alone).log_softmax(-1)
        assert moved.abs().max() < 2e-4


def _trl_preparation(rows: pl.DataFrame, base: Path, out: Path) -> Any:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    chats = [
        [{k: m[k] for k in ("role", "content")} for m in chat]
        for chat in rows["messages"].to_list()
    ]
    config = SFTConfig(
        output_dir=str(out),
        assistant_only_loss=True,
        packing=True,
        max_length=64,
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        report_to="none",
    )
    trainer: Any = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa"),
        args=config,
        train_dataset=Dataset.from_dict({"messages": chats}),
        processing_class=load_tokenizer(base),
    )
    return trainer.train_dataset[:]


def test_a_generic_tokenizer_is_what_transformers_would_load_and_needs_no_torch(
    tiny_base: Path,
) -> None:
    said = json.loads((tiny_base / "tokenizer_config.json").read_text("utf-8"))
    assert said["tokenizer_class"] == "TokenizersBackend"
    ours = load_tokenizer(tiny_base)
    theirs = AutoTokenizer.from_pretrained(str(tiny_base), trust_remote_code=False)
    assert type(ours) is type(theirs) and ours.init_kwargs == theirs.init_kwargs
    text = "<|im_start|>user\n打开空调，then stop<|im_end|>"
    assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    asked = "from curation.chat import load_tokenizer; load_tokenizer(sys.argv[1])"
    done = f"import sys; {asked}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", done, str(tiny_base)], check=True)
