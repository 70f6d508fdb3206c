"""A reward model from pairs of a right and a wrong answer (TRL's RewardTrainer).

The base model with one number instead of a vocabulary at its end. The wrong answers come from the
task's own `corrupt`, so no judge and no label is needed.
"""

import time
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import encode_safe, load_tokenizer, quiet_libraries
from curation.progress import Report, silent
from curation.rows import dialogue
from training.advice import TINY_PARAMS
from training.pair_tokens import is_held
from training.watch import progress_callback


def train_reward_model(
    pairs: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    system: str = "",
    epochs: float = 3.0,
    lr: float | None = None,
    batch_pairs: int = 16,
    max_tokens: int = 1024,
    seed: int = 0,
    revision: str = "",
    report: Report = silent,
) -> dict[str, Any]:
    """Train on `pairs` (prompt, chosen, rejected: text) and save a sequence classifier into `out`.

    A tenth of the prompts, chosen by their digest, is held out. Returns n_pairs, n_heldout,
    accuracy (share of held-out pairs in the right order, null without any), loss (one per step),
    lr and seconds. Raises `ValueError` when no pair is left to train on.
    """
    quiet_libraries()
    import torch

    started = time.monotonic()
    tokenizer = load_tokenizer(base_model, revision=revision)
    train, heldout = _encode_pairs(pairs, tokenizer, system=system, max_tokens=max_tokens)
    if not train:
        raise ValueError(
            f"no pair to train a reward model on; {pairs.height} given, {len(heldout)} held out"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _load_classifier(base_model, tokenizer, revision=revision)
        tiny = model.num_parameters() < TINY_PARAMS
        lr = (1e-3 if tiny else 1e-4) if lr is None else lr
        config = _config(out, epochs=epochs, lr=lr, batch_pairs=batch_pairs, seed=seed)
        trainer = _build_trainer(model, tokenizer, train, config, full=tiny, report=report)
        trainer.train()
        accuracy = trainer.evaluate(_dataset(heldout))["eval_accuracy"] if heldout else None
    finished = trainer.model if tiny else trainer.model.merge_and_unload()
    finished.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {
        "n_pairs": len(train),
        "n_heldout": len(heldout),
        "accuracy": accuracy,
        "loss": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "lr": lr,
        "seconds": time.monotonic() - started,
    }


Pair = dict[str, list[int]]


def _encode_pairs(
    pairs: pl.DataFrame, tokenizer: Any, *, system: str, max_tokens: int
) -> tuple[list[Pair], list[Pair]]:
    """Pairs as token ids, for training and held out.

    A pair that is too long, or whose text encodes to a control token, is in neither.
    """
    ordered = (
        pairs.select("prompt", "chosen", "rejected").sort("prompt", "chosen", "rejected").rows()
    )
    sides = [[dialogue(p[0], p[side], system=system) for p in ordered] for side in (1, 2)]
    chosen, rejected = (encode_safe(tokenizer, side) for side in sides)
    split: tuple[list[Pair], list[Pair]] = ([], [])
    for (prompt, _, _), (good, _), (bad, _) in zip(ordered, chosen, rejected, strict=True):
        if good and bad and max(len(good), len(bad)) <= max_tokens:
            split[is_held(prompt)].append({"chosen_ids": good, "rejected_ids": bad})
    return split


def _dataset(pairs: list[Pair]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(pairs)


def _load_classifier(base_model: Path | str, tokenizer: Any, *, revision: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    cuda = torch.cuda.is_available()
    return AutoModelForSequenceClassification.from_pretrained(
        str(base_model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,  # a batch is read at the last token before the padding
        dtype=torch.bfloat16 if cuda else torch.float32,
    )


def _config(out: Path, *, epochs: float, lr: float, batch_pairs: int, seed: int) -> Any:
    import torch
    from trl.trainer.reward_config import RewardConfig

    cuda = torch.cuda.is_available()
    return RewardConfig(
        output_dir=str(out),
        per_device_train_batch_size=batch_pairs,
        per_device_eval_batch_size=batch_pairs,
        num_train_epochs=epochs,
        learning_rate=lr,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        optim="adamw_torch",
        max_length=None,
        seed=seed,
        data_seed=seed,
        bf16=cuda,
        use_cpu=not cuda,
        activation_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _build_trainer(
    model: Any, tokenizer: Any, train: list[Pair], config: Any, *, full: bool, report: Report
) -> Any:
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.reward_trainer import RewardTrainer

    lora = LoraConfig(
        r=16,
        lora_alpha=32,
        target_modules="all-linear",
        modules_to_save=["score"],
        task_type="SEQ_CLS",
    )
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=_dataset(train),
        processing_class=tokenizer,
        peft_config=None if full else lora,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_callback("reward step", report))
    return trainer
