"""TRL's trainer around finished sequences: what is trained, how often it is looked at and kept."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.progress import Report
from training.advice import TrainOptions
from training.checkpoints import FOLDER
from training.methods import METHODS, peft_config
from training.profiles import PROFILES, Profile
from training.shard import parting, require_parted, shard_arguments
from training.start import go_on_from
from training.trackers import Tracker, report_arguments
from training.watch import (
    OnLook,
    allocation_callback,
    log_callback,
    look_callback,
    progress_callback,
)

TRAIN, DOMAIN, GENERAL = "train", "domain", "general"


def build_trainer(
    model: Any,
    tokenizer: Any,
    parts: Mapping[str, pl.DataFrame],
    options: TrainOptions,
    *,
    out: Path,
    report: Report,
    on_look: OnLook | None = None,
    start: str = "",
    report_to: Sequence[Tracker] = (),
    run_name: str = "",
) -> Any:
    """A trainer of `options.method` on the bins of `parts` (`BINS_SCHEMA`).

    `train` is trained on, `domain` and `general` are only looked at; the checkpoint with the lowest
    loss on `domain` is kept where there is one, and `on_look` told of each look at it.
    With `start`, the folder of an adapter, that one is trained on in place of a new one.
    The trackers of `report_to` get its numbers as those of a run called `run_name`.
    """
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    trackers = report_arguments(report_to, run=run_name or out.name, folder=out / "trackers")
    config, steps = _trainer_config(parts, options, out=out, trackers=trackers)
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    per_step *= options.processes
    watched = {name: _dataset(bins, options) for name, bins in parts.items() if name != TRAIN}
    adapter = peft_config(
        options.method,
        rank=options.rank,
        alpha=options.alpha,
        virtual_tokens=options.virtual_tokens,
        steps=steps,
        hidden=model.config.hidden_size,
    )
    if start:
        model = go_on_from(model, Path(start), method=options.method, config=adapter)
    there = {
        n: p.detach().clone() for n, p in model.named_parameters() if start and p.requires_grad
    }
    trainer: Any = parting(SFTTrainer)(
        model=model,
        args=config,
        train_dataset=_dataset(parts[TRAIN], options, full=per_step, pad=tokenizer.pad_token_id),
        eval_dataset=watched or None,
        data_collator=beside(tokenizer.pad_token_id) if METHODS[options.method].packs else None,
        processing_class=tokenizer,
        peft_config=None if start else adapter,
    )
    require_parted(trainer, options.shard)
    # TRL turns QLoRA adapters into bfloat16: small updates, and what was trained, would be rounded.
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            parameter.data = there.get(name, parameter.data).to(torch.float32)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        trainer.add_callback(progress_callback("training step", report))
        trainer.add_callback(log_callback(out / "log.jsonl"))
    if options.method == "adalora":
        trainer.add_callback(allocation_callback())
    if DOMAIN in watched:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=options.patience))
        if on_look is not None:
            trainer.add_callback(look_callback(DOMAIN, on_look))
    return trainer


def beside(pad: int) -> Any:
    """A collator that lays bins beside one another, where TRL's would lay them end to end.

    Positions begin anew at each row, by which the model keeps attention inside rows. Its mask is
    bins x block x block so, and not the square of all their tokens; of flash attention, which needs
    no mask, no use is made here.
    """
    import torch
    from trl.trainer.utils import pad as pad_together

    def collate(bins: list[dict[str, Any]]) -> dict[str, Any]:
        made = {"input_ids": pad, "labels": -100, "position_ids": 0}
        columns: dict[str, list[Any]] = {name: [] for name in made}
        for one in bins:
            positions = torch.cat([torch.arange(n) for n in one["seq_lengths"]])
            labels = torch.tensor(one["labels"])
            labels[positions == 0] = -100  # nothing before it in its row
            columns["input_ids"].append(torch.tensor(one["input_ids"]))
            columns["labels"].append(labels)
            columns["position_ids"].append(positions)
        return {name: pad_together(columns[name], value) for name, value in made.items()}

    return collate


def _dataset(bins: pl.DataFrame, options: TrainOptions, *, full: int = 1, pad: int = 0) -> Any:
    """Bins for the trainer, with empty ones added until their number divides by `full`.

    A last step of fewer bins would be filled up with repeated ones where several processes train.
    An empty bin has one token and trains none, so it adds nothing to a loss or a gradient.
    """
    from datasets import Dataset

    lengths = ["seq_lengths"] if METHODS[options.method].packs else []
    columns = bins.select("input_ids", "labels", *lengths).to_dict(as_series=False)
    for name, empty in (("input_ids", pad), ("labels", -100), ("seq_lengths", 1)):
        if name in columns:
            columns[name] += [[empty]] * (-bins.height % full)
    return Dataset.from_dict(columns)


def _trainer_config(
    parts: Mapping[str, pl.DataFrame],
    options: TrainOptions,
    *,
    out: Path,
    trackers: Mapping[str, Any],
) -> tuple[Any, int]:
    """TRL's arguments, and the optimizer steps that they come to."""
    from trl.trainer.sft_config import SFTConfig

    profile, bins = PROFILES[options.profile], parts[TRAIN]
    n_rows = int(bins["ids"].list.len().sum())
    bins_per_step = max(1, round(options.batch_rows * bins.height / n_rows))
    share = max(1, round(bins_per_step / options.processes))  # of one process
    micro, accumulated = split_step(share, options.micro_tokens // options.packing_block)
    steps = max(1, round(bins.height * options.epochs / bins_per_step))
    every = max(20, round(steps / 4)) if DOMAIN not in parts else max(1, round(steps / 10))
    resumes = METHODS[options.method].resumes
    config = SFTConfig(
        output_dir=str(out / FOLDER),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_steps,
        optim=profile.optimizer,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=options.seed,
        data_seed=options.seed,
        train_sampling_strategy="random" if options.order == "shuffled" else "sequential",
        # The sequences are finished: no cutting, and attention stays inside each row.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        bf16=profile.gpu,
        use_cpu=not profile.gpu,
        dataloader_pin_memory=profile.gpu,
        logging_steps=1,
        save_strategy="steps" if resumes else "no",
        save_steps=every,
        save_total_limit=2,
        disable_tqdm=True,
        **trackers,
        **_together(options, profile),
        **(_looking(every) if DOMAIN in parts else {}),
    )
    return config, steps


def split_step(bins: int, most: int) -> tuple[int, int]:
    """Bins of one forward pass, at most so many, and how many passes come nearest to a step."""
    passes = math.ceil(bins / max(1, most))
    return max(1, round(bins / passes)), passes


def _together(options: TrainOptions, profile: Profile) -> dict[str, Any]:
    """How several processes speak with one another, and what each holds of the model."""
    shard = shard_arguments(options.shard, checkpoints=profile.checkpoints)
    if options.processes == 1:
        return shard
    backend = {
        "ddp_backend": "nccl" if profile.gpu else "gloo",
        "ddp_find_unused_parameters": False,
    }
    return backend | shard


def _looking(every: int) -> dict[str, Any]:
    """Look at the rows that are not trained on, and keep the best of what was seen."""
    return {
        "eval_strategy": "steps",
        "eval_steps": every,
        "prediction_loss_only": True,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{DOMAIN}_loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
    }
