"""A preference stage after supervised fine-tuning: right answers above wrong ones (DPO).

The model goes on from its supervised adapter and is taught to give the right answer of a pair more
weight than the wrong one, measured against that very adapter as it was. What the reference says of
each pair is worked out once, before the first step, so no second model or adapter is held.
"""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from curation.losses import answer_losses
from curation.models import attach_adapter, is_whole
from curation.pairs import HELD, LEFT, TRAINED
from curation.progress import Report, silent
from curation.rows import dialogue
from training.base import load_base
from training.checkpoints import FOLDER, newest_checkpoint, run_key, step_of
from training.methods import Name
from training.pair_tokens import KNOWN, encode_pairs
from training.preference_options import Loss, advise_preference, check_preference
from training.preference_report import compare_pairs, say_findings
from training.preference_trainer import build_preference_trainer, read_steps
from training.profiles import take_profile
from training.shape import read_shape


def train_preference(
    pairs: pl.DataFrame,
    *,
    base_model: Path | str,
    adapter: Path,
    out: Path,
    method: Name = "lora",
    system: str = "",
    corrupt: bool = False,
    skip_known: bool = True,
    min_pairs: int = 16,
    beta: float = 0.1,
    loss: Loss = "sigmoid",
    sft_weight: float = 1.0,
    lr: float | None = None,
    epochs: float = 2.0,
    batch_pairs: int = 8,
    max_tokens: int = 1024,
    seed: int = 0,
    revision: str = "",
    report: Report = silent,
) -> dict[str, Any]:
    """Go on from the folder `adapter` with `pairs` (`pairs.PAIR_SCHEMA`), into `out/adapter`.

    `method` is that of the adapter. Pairs of kind `corrupted` count only with `corrupt`. A tenth of
    the prompts, chosen by their digest, is only measured on. With `skip_known` pairs are left out
    as `known` whose right answer is the likelier already: supervised training learned them, and to
    push them further costs other answers (docs/log.md). With fewer than `min_pairs` to train on,
    the adapter is passed on as it is: a rebuild on schedule has often nothing to prefer.

    Returns trained (whether there was a run), pairs (id, part: trained, held or left, reason), left
    (pairs by reason), n_pairs, n_held, options, reasons, before and after (of each part: see
    `compare_pairs`), tokens (mean length of the right and the wrong answers), findings (in words),
    loss and history (a step each), seconds, resumed_at (step, 0 for a fresh run) and adapter.
    Raises `ValueError` for a method that cannot go on and for options that make no sense.
    """
    quiet_libraries()
    import torch

    choices = {"beta": beta, "loss": loss, "sft_weight": sft_weight, "lr": lr, "epochs": epochs}
    choices |= {"batch_pairs": batch_pairs, "seed": seed, "method": method}
    if wrong := check_preference(choices | {"max_tokens": max_tokens}, method=method):
        raise ValueError(wrong[0])
    tokenizer = load_tokenizer(base_model, revision=revision)
    asked = pairs.filter((pl.col("kind") != "corrupted") | pl.lit(corrupt))
    choices |= {"max_tokens": min(max_tokens, read_shape(base_model, revision=revision).context)}
    tokens = encode_pairs(asked, tokenizer, system=system, max_tokens=choices["max_tokens"])
    tokens = tokens.join(asked, on="id", maintain_order="left")
    start = _Start(base_model, adapter, revision, tokenizer, system)
    if _count(tokens, TRAINED) < min_pairs:
        return _pass_on(tokens, start, min_pairs, out=out, report=report)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = start.load(method)
        tokens = start.measure(model, tokens, "before")
        tokens = _leave_known(tokens) if skip_known else tokens
        if _count(tokens, TRAINED) < min_pairs:
            return _pass_on(tokens, start, min_pairs, out=out, report=report)
        return _teach(model, start, tokens, choices, out=out, report=report)


@dataclass(frozen=True)
class _Start:
    """What a run goes on from."""

    base_model: Path | str
    adapter: Path
    revision: str
    tokenizer: Any
    system: str

    def load(self, method: Name) -> Any:
        """The model as supervised fine-tuning left it, to be trained on."""
        if is_whole(self.adapter):
            return load_base(self.adapter, revision="", method="full", profile=take_profile())
        from peft import PeftConfig

        model = load_base(
            self.base_model, revision=self.revision, method=method, profile=take_profile()
        )
        saved = PeftConfig.from_pretrained(str(self.adapter))
        saved.base_model_name_or_path = model.name_or_path  # the saved one has no folder in it
        return attach_adapter(model, self.adapter, trainable=True, config=saved)

    def measure(self, model: Any, tokens: pl.DataFrame, when: str) -> pl.DataFrame:
        """The pairs with the nats of both answers by the model as it is, null for those left out.

        The columns are chosen_`when` and rejected_`when`.
        """
        model.eval()
        readable = tokens.filter(pl.col("reason").is_in(["", KNOWN]))
        for side in ("chosen", "rejected"):
            said = readable.select("prompt", side).iter_rows()
            chats = [dialogue(prompt, answer, system=self.system) for prompt, answer in said]
            found = answer_losses(model, self.tokenizer, chats, what=f"{side} {when}")
            nats = [one[0] if one else None for one in found]
            column = pl.Series(f"{side}_{when}", nats, dtype=pl.Float64)
            readable = readable.with_columns(column)
        found = readable.select("id", f"chosen_{when}", f"rejected_{when}")
        return tokens.join(found, on="id", how="left", maintain_order="left")


def _leave_known(tokens: pl.DataFrame) -> pl.DataFrame:
    """The pairs, those left out whose right answer is the likelier before any step."""
    known = (pl.col("part") == TRAINED) & (pl.col("chosen_before") < pl.col("rejected_before"))
    return tokens.with_columns(
        part=pl.when(known).then(pl.lit(LEFT)).otherwise("part"),
        reason=pl.when(known).then(pl.lit(KNOWN)).otherwise("reason"),
    )


def _teach(
    model: Any,
    start: _Start,
    tokens: pl.DataFrame,
    choices: Mapping[str, Any],
    *,
    out: Path,
    report: Report,
) -> dict[str, Any]:
    """The run on the pairs to train on, with all of them measured after it, too."""
    began = time.monotonic()
    n_params = model.num_parameters()
    options, reasons = advise_preference(_count(tokens, TRAINED), n_params=n_params, **choices)
    said = {f"ref_{side}_logps": -pl.col(f"{side}_before") for side in ("chosen", "rejected")}
    train = tokens.filter(pl.col("part") == TRAINED).with_columns(**said).select(_COLUMNS)
    trainer = build_preference_trainer(
        model, start.tokenizer, train, options, out=out, report=report
    )
    key = run_key(
        start.base_model, options, {TRAINED: train.select(ids="id")}, start=str(start.adapter)
    )
    run = _run(trainer, newest_checkpoint(out, key=key))
    tokens = start.measure(trainer.model, tokens, "after")
    _save(trainer.model, start.adapter, out / "adapter")
    shutil.rmtree(out / FOLDER)
    told = _tell_pairs(tokens) | {
        "trained": True,
        "options": dataclasses.asdict(options),
        "reasons": reasons,
        "before": compare_pairs(tokens, "before"),
        "after": compare_pairs(tokens, "after"),
        **run,
        "seconds": time.monotonic() - began,
        "adapter": str(out / "adapter"),
    }
    return told | {"findings": say_findings(told)}


_COLUMNS = ("id", "prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps",
            "ref_rejected_logps")  # fmt: skip


def _pass_on(
    tokens: pl.DataFrame, start: _Start, min_pairs: int, *, out: Path, report: Report
) -> dict[str, Any]:
    """The adapter as it is, and why."""
    shutil.copytree(start.adapter, out / "adapter", dirs_exist_ok=True)
    n_pairs, known = _count(tokens, TRAINED), (tokens["reason"] == KNOWN).sum()
    learned = f" ({known:,} more are in the right order already)" if known else ""
    said = (
        f"{n_pairs:,} pairs to train on{learned}, {min_pairs:,} needed: the adapter stays as it is"
    )
    report(said)
    empty = {"options": {}, "reasons": [], "after": {}, "loss": [], "history": []}
    before = compare_pairs(tokens, "before") if "chosen_before" in tokens.columns else {}
    told = {"trained": False, "before": before, "findings": [said], "seconds": 0.0}
    where = {"resumed_at": 0, "adapter": str(out / "adapter")}
    return _tell_pairs(tokens) | empty | told | where


def _run(trainer: Any, resume: Path | None) -> dict[str, Any]:
    """Train to the end, from a checkpoint of this very run if there is one."""
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = read_steps(trainer.state.log_history)
    return {
        "loss": [step["loss"] for step in history],
        "history": history,
        "resumed_at": step_of(resume) if resume else 0,
    }


def _save(model: Any, adapter: Path, folder: Path) -> None:
    """The supervised adapter's folder with other weights in it: its configuration still holds."""
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = adapter / "adapter_config.json"
    if config.is_file():
        shutil.copy(config, folder)


def _tell_pairs(tokens: pl.DataFrame) -> dict[str, Any]:
    """What became of each pair, and how long the answers of those to train on are."""
    used = tokens.filter(pl.col("part") == TRAINED)
    left = tokens.filter(pl.col("part") == LEFT).group_by("reason").len().sort("reason")
    return {
        "pairs": tokens.select("id", "part", "reason").to_dicts(),
        "left": dict(left.iter_rows()),
        "n_pairs": used.height,
        "n_held": _count(tokens, HELD),
        "tokens": {s: used[f"{s}_ids"].list.len().mean() for s in ("chosen", "rejected")},
    }


def _count(tokens: pl.DataFrame, part: str) -> int:
    return tokens.filter(pl.col("part") == part).height
