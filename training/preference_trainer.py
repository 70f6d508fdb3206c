"""TRL's trainer around finished pairs: the loss, the steps, and what is logged of them."""

from pathlib import Path
from typing import Any

import polars as pl

from curation.progress import Report
from training.checkpoints import FOLDER
from training.preference_options import PreferenceOptions
from training.watch import log_callback, progress_callback

MICRO_TOKENS = 16_384
"""Tokens of one forward pass; a larger step is accumulated."""
HISTORY = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "reward_margin",
}
"""What is kept of a step: TRL's name for it, and ours."""


def build_preference_trainer(
    model: Any,
    tokenizer: Any,
    pairs: pl.DataFrame,
    options: PreferenceOptions,
    *,
    out: Path,
    report: Report,
) -> Any:
    """A trainer of `model` on `pairs` (prompt_ids, chosen_ids, rejected_ids, and the log
    probabilities that the reference gives the answers: ref_chosen_logps, ref_rejected_logps).
    """
    from transformers import PrinterCallback

    kept = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    kept = kept if hasattr(model, "peft_config") else {}
    trainer = _trainer_class()(
        model=model,
        args=_config(pairs, options, out=out),
        train_dataset=_dataset(pairs),
        processing_class=tokenizer,
    )
    _undo(trainer.model, kept)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_callback("preference step", report))
    trainer.add_callback(log_callback(out / "log.jsonl"))
    return trainer


def read_steps(log_history: list[dict[str, Any]]) -> list[dict[str, float | int]]:
    """One dict for each step, a step that was logged twice as it was the last time."""
    steps = {
        entry["step"]: {"step": entry["step"], **{HISTORY[n]: entry[n] for n in HISTORY}}
        for entry in log_history
        if "loss" in entry
    }
    return [steps[step] for step in sorted(steps)]


def _trainer_class() -> Any:
    from trl.trainer.dpo_trainer import DPOTrainer

    class Trainer(DPOTrainer):
        """Its pairs are token ids already, and know what the reference says of them."""

        def _prepare_dataset(self, dataset, *_args):  # type: ignore[no-untyped-def]
            return dataset

        def _precompute_ref_logps(self, dataset, *_args):  # type: ignore[no-untyped-def]
            return dataset

    return Trainer


def _undo(model: Any, kept: dict[str, Any]) -> None:
    """Take back what TRL does to a trained adapter.

    It rounds one over a base in 4 bits to bfloat16, and adds a copy as the reference: that of IA3
    is no copy, and a checkpoint would hold both.
    """
    if not kept:
        return
    model.delete_adapter("ref")
    model.set_adapter("default")
    parameters = dict(model.named_parameters())
    for name, weights in kept.items():
        parameters[name].data = weights
        parameters[name].requires_grad_(True)


def _dataset(pairs: pl.DataFrame) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(pairs.drop("id").to_dict(as_series=False))


def _config(pairs: pl.DataFrame, options: PreferenceOptions, *, out: Path) -> Any:
    import torch
    from trl.trainer.dpo_config import DPOConfig

    cuda = torch.cuda.is_available()
    answer = pl.max_horizontal(pl.col("chosen_ids", "rejected_ids").list.len())
    longest = pairs.select((pl.col("prompt_ids").list.len() + answer).max()).item()
    micro = max(1, min(options.batch_pairs, MICRO_TOKENS // (2 * longest)))
    steps = max(1, round(pairs.height * options.epochs / options.batch_pairs))
    return DPOConfig(
        output_dir=str(out / FOLDER),
        beta=options.beta,
        loss_type=[options.loss, *(["sft"] if options.sft_weight else [])],
        loss_weights=[1.0, *([options.sft_weight] if options.sft_weight else [])],
        # What the reference says stands beside the pairs, so no second model or adapter is kept.
        precompute_ref_log_probs=True,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, round(options.batch_pairs / micro)),
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_steps,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=options.seed,
        data_seed=options.seed,
        max_length=None,
        bf16=cuda,
        use_cpu=not cuda,
        activation_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(10, round(steps / 4)),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )
