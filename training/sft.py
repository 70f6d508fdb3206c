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
from training.advice import TrainOptions
from training.base import load_base
from training.checkpoints import FOLDER, newest_checkpoint, run_key, step_of
from training.curriculum import Order, order_bins
from training.diagnose import diagnose
from training.holdout import hold_out
from training.memory import peak_memory_mb
from training.methods import METHODS, Asked
from training.plan import plan_run
from training.profiles import ProfileName, require_here
from training.rank import require_world
from training.shard import Shard, require_library, whole_weights
from training.tokens import pack_rows, preflight
from training.trackers import Tracker
from training.trainer import DOMAIN, GENERAL, TRAIN, build_trainer
from training.watch import OnLook, read_history


def train_sft(
    rows: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    method: Asked = "qlora",
    rank: int | None = None,
    alpha: int = 32,
    virtual_tokens: int = 20,
    lr: float | None = None,
    warmup: float | None = None,
    epochs: float | None = None,
    batch_rows: int | None = None,
    max_tokens: int | None = None,
    validate: float | None = None,
    patience: int = 3,
    order: Order = "shuffled",
    processes: int = 1,
    shard: Shard = "no",
    profile: ProfileName = "auto",
    start: str = "",
    seed: int = 0,
    revision: str = "",
    report_to: list[Tracker] = (),  # type: ignore[assignment]
    run_name: str = "",
    report: Report = silent,
    on_look: OnLook | None = None,
) -> dict[str, Any]:
    """Train on `rows` (ROW_SCHEMA) into `out/adapter`, tokens in `out/tokens.parquet`.

    `base_model` is a local folder or a hub id with a pinned `revision`. A share `validate` (0..1)
    of the rows is looked at and not trained on: the weights with the lowest loss on those of the
    domain are kept, and the run ends after `patience` looks without a lower one. Of `processes`
    that train together each calls this (`training.rank`); `shard` says how they part the model.
    `start` is the folder of an adapter to go on from; the recipe names a model version there.
    `report_to` names trackers that get the numbers too, of a run called `run_name`; what they write
    lies in `out/trackers`. `on_look` is told of each look (from 1) and its loss; what it raises
    ends the run.

    Returns method_used and method_reason (plain LoRA where NF4 cannot run), options, reasons,
    estimate (memory and time in words), shown (three rows as they are trained), left (rows that
    could not be trained, by reason), loss (nats per trained token, one per optimizer step), history
    (the same with rate, gradient norm and the losses of both tracks), diagnosis (findings in
    words), best (step and losses of the weights that were kept, null without a look), epochs
    (passes done), n_rows, n_tokens, n_loss_tokens, n_held, n_trained (parameters), peak_mb
    (memory), rows_per_step, seconds, tokens_per_s, resumed_at (step, 0 for a fresh run) and
    adapter, which for `full` holds the whole model. Raises `ValueError` when no row can be trained
    on.
    """
    quiet_libraries()
    import torch

    require_world(processes)
    tokenizer = load_tokenizer(base_model, revision=revision)
    more = {"alpha": alpha, "lr": lr, "warmup": warmup, "epochs": epochs, "patience": patience}
    more |= {"batch_rows": batch_rows, "validate": validate, "order": order, "seed": seed}
    plan = plan_run(
        rows,
        tokenizer,
        base_model=base_model,
        revision=revision,
        method=method,
        rank=rank,
        virtual_tokens=virtual_tokens,
        max_tokens=max_tokens,
        processes=processes,
        shard=shard,
        profile=profile,
        start=start,
        more=more,
    )
    require_here(plan.setting.profile)
    require_library(shard, gpu=plan.setting.profile.gpu)
    tokens, options = plan.tokens, plan.options
    shown = preflight(tokens, tokenizer)
    for line in (*plan.reasons, plan.estimate):
        report(line)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = load_base(
            base_model,
            revision=revision,
            method=options.method,
            profile=plan.setting.profile,
            shard=shard,
        )
        held = hold_out(rows, share=options.validate, seed=seed)
        general = rows.filter(pl.col("track") == "general")["id"]
        parts = _parts(tokens, held, general, options)
        trainer = build_trainer(
            model,
            tokenizer,
            parts,
            options,
            out=out,
            report=report,
            on_look=on_look,
            start=start,
            report_to=report_to,
            run_name=run_name,
        )
        n_rows = dict(rows.group_by("track").len().iter_rows())
        key = run_key(base_model, options, parts, start=start)
        run = run_trainer(trainer, out=out, key=key, n_rows=n_rows)
    weights = whole_weights(trainer, shard)
    with trainer.args.main_process_first(local=False):
        if trainer.is_world_process_zero():
            tokens.write_parquet(out / "tokens.parquet")
            save_adapter(trainer.model, tokenizer, options, out=out, weights=weights)
            shutil.rmtree(out / FOLDER)
    return {
        "method_used": options.method,
        "method_reason": plan.why,
        "options": dataclasses.asdict(options),
        "reasons": plan.reasons,
        "estimate": plan.estimate,
        "shown": shown,
        **_describe_run(tokens.join(held, on="id", how="anti"), run),
        "n_held": held.height,
        "n_trained": _n_trained(trainer.model),
        "peak_mb": peak_memory_mb(),
        "adapter": str(out / "adapter"),
    }


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


def _n_trained(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


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


def save_adapter(
    model: Any,
    tokenizer: Any,
    options: TrainOptions,
    *,
    out: Path,
    weights: dict[str, Any] | None = None,
) -> None:
    """Adapter and tokenizer with the template it was trained through, without local paths."""
    folder = out / "adapter"
    model.save_pretrained(folder, state_dict=weights)
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
