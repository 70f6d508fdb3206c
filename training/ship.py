"""A model version as one model that stands by itself: base and adapter merged, and proven the same.

The merge is done in single precision on the CPU, where there is memory for it, and rounded once at
the end. What was written is then loaded anew and asked the same rows as base and adapter.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from curation.disk import sha256_file
from curation.models import attach_adapter, is_whole
from curation.progress import Report, silent
from training.probe import Dtype, answer_logits, load_model, logit_distance, probe_rows
from training.tokens import end_tokens

TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""How far the logits may move, as a share of their own spread. Rounding alone moves those of the
tests' tiny model by 3e-7, 4e-3 and 5e-4, and more in deeper ones."""


@dataclass(frozen=True)
class Moved:
    """How far the logits of answers lie apart (root mean square, as a share of their spread)."""

    by_training: float  # base against base and adapter
    by_merging: float  # base and adapter against the merged folder, loaded anew
    n_tokens: int

    def line(self) -> str:
        return (
            f"over {self.n_tokens:,} answer tokens merging moved the logits by "
            f"{self.by_merging:.2g} of their spread, training by {self.by_training:.2g}"
        )


def merge_model(
    base_model: Path | str,
    adapter: Path,
    rows: pl.DataFrame,
    *,
    out: Path,
    dtype: Dtype = "bfloat16",
    revision: str = "",
    report: Report = silent,
) -> Moved:
    """Write the merged model, its tokenizer and generation config into the new folder `out`.

    The tokenizer has the template it was trained through; decoding is greedy, as in evaluation.
    `rows` (ROW_SCHEMA) are asked of both. Raises `ValueError` for an adapter of virtual tokens,
    which no weight can hold, when the merged model answers differently, and when rounding to
    `dtype` takes away what was trained.
    """
    quiet_libraries()
    _require_mergeable(adapter)
    tokenizer = load_tokenizer(adapter)
    probes = probe_rows(tokenizer, rows)
    report(f"merging in float32, to be rounded to {dtype}")
    loaded = load_model(base_model, revision=revision)
    before = answer_logits(loaded, probes)
    loaded = load_model(adapter) if is_whole(adapter) else attach_adapter(loaded, adapter).eval()
    wanted = answer_logits(loaded, probes)
    if not is_whole(adapter):
        loaded = loaded.merge_and_unload()
    save_whole(loaded, tokenizer, out, dtype=dtype)
    del loaded
    report("loading the merged model anew")
    found = answer_logits(load_model(out, dtype=dtype), probes)
    moved = Moved(logit_distance(before, wanted), logit_distance(found, wanted), len(wanted))
    _require_same(moved, dtype)
    return moved


def write_sums(folder: Path) -> None:
    """`SHA256SUMS` of all files of a folder, to be checked by `sha256sum -c`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sums = [f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _require_mergeable(adapter: Path) -> None:
    if is_whole(adapter):
        return
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(adapter))
    if config.is_prompt_learning:
        kind = str(getattr(config.peft_type, "value", config.peft_type)).lower()
        raise ValueError(
            f"an adapter of {kind!r} cannot be merged: it is tokens before every row and no change "
            "of a weight; serve it as an adapter, or train with lora, dora, adalora, ia3 or full"
        )


def _require_same(moved: Moved, dtype: Dtype) -> None:
    limit = TOLERANCE[dtype]
    if not moved.by_merging <= limit:  # so that no number at all is refused too
        raise ValueError(f"the merged model answers differently, {limit:g} is allowed: "
                         + moved.line())  # fmt: skip
    if moved.by_merging > moved.by_training / 2:
        raise ValueError(f"rounding to {dtype} takes away what was trained, take float32: "
                         + moved.line())  # fmt: skip


def save_whole(model: Any, tokenizer: Any, out: Path, *, dtype: Dtype) -> None:
    """Weights, tokenizer and a greedy generation config that ends where a turn does."""
    import torch
    from transformers import GenerationConfig

    known = model.generation_config.eos_token_id
    ends = {*end_tokens(tokenizer), *(known if isinstance(known, list) else [known])} - {None}
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    model.to(getattr(torch, dtype)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    config = json.loads((out / "config.json").read_text("utf-8"))
    config.pop("_name_or_path", None)  # where the base lay on this machine
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
