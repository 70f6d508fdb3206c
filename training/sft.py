"""Supervised fine-tuning of an adapter: TRL owns the loop, the rows and the sequences are ours.

A run is a function of (rows, base model, options). Its folder holds checkpoints while it runs, so a
killed run goes on where it stopped and ends, on CPU, with the bytes of an undisturbed one.
"""

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from curation.progress import Report, silent
from training.advice import DataSize, Shard, TrainOptions, advise_options
from training.base import load_base
from training.checkpoints import FOLDER, newest_checkpoint, run_key, step_of
from training.curriculum import Order, order_bins
from training.diagnose import diagnose
from training.estimate import Shape, pick_device, say_estimate
from training.holdout import hold_out
from training.methods import METHODS, Name
from training.rank import require_world
from training.tokens import pack_rows, preflight, tokenise_rows
from training.trainer import DOMAIN, GENERAL, TRAIN, build_trainer
from training.watch import OnLook, read_history


def train_sft(
    rows: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    method: Name = "qlora",
    rank: int = 16,
    alpha: int = 32,
    virtual_tokens: int = 20,
    lr: float | None = None,
    epochs: float | None = None,
    batch_rows: int = 16,
    max_tokens: int = 1024,
    validate: float | None = None,
    patience: int = 3,
    order: Order = "shuffled",
    processes: int = 1,
    shard: Shard = "no",
    start: str = "",
    seed: int = 0,
    revision: str = "",
    report: Report = silent,
    on_look: OnLook | None = None,
) -> dict[str, Any]:
    """Train on `rows` (ROW_SCHEMA) into `out/adapter`, tokens in `out/tokens.parquet`.

    `base_model` is a local folder or a hub id with a pinned `revision`. A share `validate` (0..1)
    of the rows is looked at and not trained on: the weights with the lowest loss on those of the
    domain are kept, and the run ends after `patience` looks without a lower one. Of `processes`
    that train together each calls this (`training.rank`); `shard` says how they part the model.
    `start` is the folder of an adapter to go on from; the recipe names a model version there.
    `on_look` is told of each look (from 1) and its loss; what it raises ends the run.

    Returns method_used and method_reason (plain LoRA where NF4 cannot run), options, reasons,
    estimate (memory and time in words), shown (three rows as they are trained), left (rows that
    could not be trained, by reason), loss (nats per trained token, one per optimizer step), history
    (the same with rate, gradient norm and the losses of both tracks), diagnosis (findings in
    words), best (step and losses of the weights that were kept, null without a look), epochs
    (passes done), n_rows, n_tokens, n_loss_tokens, n_held, rows_per_step, seconds, tokens_per_s,
    resumed_at (step, 0 for a fresh run) and adapter, which for `full` holds the whole model. Raises
    `ValueError` when no row can be trained on.
    """
    quiet_libraries()
    import torch

    require_world(processes)
    tokenizer = load_tokenizer(base_model, revision=revision)
    tokens = tokenise_rows(rows.sort("id"), tokenizer, max_tokens=max_tokens)
    shown = preflight(tokens, tokenizer)
    choices = {"rank": rank, "alpha": alpha, "lr": lr, "epochs": epochs, "batch_rows": batch_rows}
    choices |= {"virtual_tokens": virtual_tokens, "validate": validate, "patience": patience}
    choices |= {"order": order, "processes": processes, "shard": shard}
    limits = {"max_tokens": max_tokens, "seed": seed, "revision": revision}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, used, why = load_base(
            base_model, revision=revision, method=method, sharded=shard != "no"
        )
        base = {"base_model": model_name(base_model), "n_params": model.num_parameters()}
        options, reasons = advise_options(_size(tokens), method=used, **base, **choices, **limits)
        held = hold_out(rows, share=options.validate, seed=seed)
        general = rows.filter(pl.col("track") == "general")["id"]
        parts = _parts(tokens, held, general, options)
        trainer = build_trainer(
            model, tokenizer, parts, options, out=out, report=report, on_look=on_look, start=start
        )
        estimate = estimate_run(trainer, tokens, options, n_params=base["n_params"])
        report(estimate)
        n_rows = dict(rows.group_by("track").len().iter_rows())
        key = run_key(base_model, options, parts, start=start)
        run = run_trainer(trainer, out=out, key=key, n_rows=n_rows)
    with trainer.args.main_process_first(local=False):
        if trainer.is_world_process_zero():
            tokens.write_parquet(out / "tokens.parquet")
            save_adapter(trainer.model, tokenizer, options, out=out)
            shutil.rmtree(out / FOLDER)
    return {
        "method_used": used,
        "method_reason": why,
        "options": dataclasses.asdict(options),
        "reasons": reasons,
        "estimate": estimate,
        "shown": shown,
        **_describe_run(tokens.join(held, on="id", how="anti"), run),
        "n_held": held.height,
        "adapter": str(out / "adapter"),
    }


def _size(tokens: pl.DataFrame) -> DataSize:
    usable = tokens.filter(pl.col("reason") == "")
    return DataSize(usable.height, _total(usable, "n_tokens"), _total(usable, "n_tokens", "max"))


def _parts(
    tokens: pl.DataFrame, held: pl.DataFrame, general: pl.Series, options: TrainOptions
) -> dict[str, pl.DataFrame]:
    """The bins to train on, and those of each track to look at; a part without rows is left out."""
    names = {TRAIN: tokens.join(held, on="id", how="anti", maintain_order="left")}
    for track in (DOMAIN, GENERAL):
        of_track = held.filter(pl.col("track") == track)
        names[track] = tokens.join(of_track, on="id", how="semi", maintain_order="left")
    block = options.packing_block if METHODS[options.method].packs else None
    bins = {name: pack_rows(part, block=block) for name, part in names.items()}
    if options.order != "shuffled":
        bins[TRAIN] = order_bins(
            names[TRAIN], general, order=options.order, block=block, seed=options.seed
        )
    return {name: part for name, part in bins.items() if part.height or name == TRAIN}


def estimate_run(
    trainer: Any, tokens: pl.DataFrame, options: TrainOptions, *, n_params: int
) -> str:
    """Memory and time of the run, in words."""
    model, config = trainer.model, trainer.model.config
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = config.hidden_size, config.num_hidden_layers, config.vocab_size
    shape = Shape(n_params, trained, *size)
    at_once = trainer.args.per_device_train_batch_size * options.packing_block
    n_tokens = _size(tokens).n_tokens * options.epochs / options.processes
    return say_estimate(
        shape, options.method, tokens_at_once=at_once, n_tokens=n_tokens, device=pick_device()
    )


def run_trainer(trainer: Any, *, out: Path, key: str, n_rows: dict[str, int]) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint of this very run if there is one."""
    with trainer.args.main_process_first(local=False):
        resume = newest_checkpoint(out, key=key)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = read_history(trainer.state.log_history)
    return {
        "loss": [step["loss"] for step in history if "loss" in step],
        "history": history,
        "diagnosis": diagnose(history, rows=n_rows),
        "best": next((s for s in history if s["step"] == trainer.state.best_global_step), None),
        "epochs": float(trainer.state.epoch or 0.0),
        "seconds": time.monotonic() - started,
        "resumed_at": step_of(resume) if resume else 0,
    }


def _describe_run(tokens: pl.DataFrame, run: dict[str, Any]) -> dict[str, Any]:
    """The run with its rows and tokens counted, and its speed over the steps it really did."""
    usable = tokens.filter(pl.col("reason") == "")
    n_tokens, steps, epochs = _total(usable, "n_tokens"), max(len(run["loss"]), 1), run["epochs"]
    return {
        **run,
        "left": _left(tokens),
        "n_rows": usable.height,
        "n_tokens": n_tokens,
        "n_loss_tokens": _total(usable, "n_loss_tokens"),
        "rows_per_step": usable.height * epochs / steps,
        "tokens_per_s": n_tokens * epochs * (1 - run["resumed_at"] / steps) / run["seconds"],
    }


def _total(tokens: pl.DataFrame, column: str, how: str = "sum") -> int:
    return int(tokens.select(getattr(pl.col(column).cast(pl.Int64), how)()).item())


def _left(tokens: pl.DataFrame) -> dict[str, int]:
    """Rows that could not be trained on, counted by reason."""
    counted = tokens.filter(pl.col("reason") != "").group_by("reason").len().sort("reason")
    return dict(counted.iter_rows())


def save_adapter(model: Any, tokenizer: Any, options: TrainOptions, *, out: Path) -> None:
    """Adapter and tokenizer with the template it was trained through, without local paths."""
    folder = out / "adapter"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    if options.method == "full":
        return
    config = json.loads((folder / "adapter_config.json").read_text())
    # peft keeps them as sets, whose order changes from process to process.
    for name in ("target_modules", "feedforward_modules"):
        if config.get(name):
            config[name] = sorted(config[name])
    config |= {"base_model_name_or_path": options.base_model, "revision": options.revision or None}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def model_name(base_model: Path | str) -> str:
    """A hub id as it is; of a local folder its name only: a run is the same wherever it lies."""
    return Path(base_model).name if Path(base_model).is_dir() else str(base_model)
