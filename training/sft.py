"""Supervised fine-tuning of an adapter: TRL owns the loop, the rows and the sequences are ours.

A run is a function of (rows, base model, options). Its folder holds checkpoints while it runs, so a
killed run goes on where it stopped and ends, on CPU, with the bytes of an undisturbed one.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from curation.progress import Progress, Report, silent
from curation.rows import digest
from training.advice import DataSize, Method, TrainOptions, advise_options
from training.tokens import pack_rows, preflight, tokenise_rows

MICRO_TOKENS = 16_384  # tokens in one forward pass; a larger step is accumulated


def train_sft(
    rows: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    method: Method = "qlora",
    rank: int = 16,
    alpha: int = 32,
    lr: float | None = None,
    epochs: float | None = None,
    batch_rows: int = 16,
    max_tokens: int = 1024,
    seed: int = 0,
    revision: str = "",
    report: Report = silent,
) -> dict[str, Any]:
    """Train an adapter on `rows` (ROW_SCHEMA) into `out/adapter`, tokens in `out/tokens.parquet`.

    `base_model` is a local folder or a hub id with a pinned `revision`. Returns method_used and
    method_reason (plain LoRA where NF4 cannot run), options, reasons, shown (three rows as they are
    trained), left (rows that could not be trained, by reason), loss (nats per trained token, one
    per optimizer step), n_rows, n_tokens, n_loss_tokens, rows_per_step, seconds, tokens_per_s,
    resumed_at (step, 0 for a fresh run) and adapter. Raises `ValueError` when no row can be
    trained on.
    """
    quiet_libraries()
    import torch

    tokenizer = load_tokenizer(base_model, revision=revision)
    tokens = tokenise_rows(rows.sort("id"), tokenizer, max_tokens=max_tokens)
    shown = preflight(tokens, tokenizer)
    out.mkdir(parents=True, exist_ok=True)
    tokens.write_parquet(out / "tokens.parquet")
    choices = {"rank": rank, "alpha": alpha, "lr": lr, "epochs": epochs, "batch_rows": batch_rows}
    limits = {"max_tokens": max_tokens, "seed": seed, "revision": revision}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, used, why = _load_base(base_model, revision=revision, method=method)
        base = {"base_model": _model_name(base_model), "n_params": model.num_parameters()}
        options, reasons = advise_options(_size(tokens), method=used, **base, **choices, **limits)
        bins = pack_rows(tokens, block=options.packing_block)
        trainer = _build_trainer(model, tokenizer, bins, options, out=out, report=report)
        run = _run_trainer(trainer, out=out, key=_run_key(base_model, options, bins))
    _save_adapter(trainer.model, tokenizer, options, out=out)
    shutil.rmtree(out / "checkpoints")
    return {
        "method_used": used,
        "method_reason": why,
        "options": dataclasses.asdict(options),
        "reasons": reasons,
        "shown": shown,
        **_describe_run(tokens, options, run),
        "adapter": str(out / "adapter"),
    }


def _size(tokens: pl.DataFrame) -> DataSize:
    usable = tokens.filter(pl.col("reason") == "")
    return DataSize(usable.height, _total(usable, "n_tokens"), _total(usable, "n_tokens", "max"))


def _run_trainer(trainer: Any, *, out: Path, key: str) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint of this very run if there is one."""
    resume = _checkpoint(out, key=key)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return {
        "loss": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "seconds": time.monotonic() - started,
        "resumed_at": int(resume.name.rpartition("-")[2]) if resume else 0,
    }


def _describe_run(
    tokens: pl.DataFrame, options: TrainOptions, run: dict[str, Any]
) -> dict[str, Any]:
    """The run with its rows and tokens counted, and its speed over the steps it really did."""
    usable = tokens.filter(pl.col("reason") == "")
    n_tokens, steps = _total(usable, "n_tokens"), max(len(run["loss"]), 1)
    return {
        **run,
        "left": _left(tokens),
        "n_rows": usable.height,
        "n_tokens": n_tokens,
        "n_loss_tokens": _total(usable, "n_loss_tokens"),
        "rows_per_step": usable.height * options.epochs / steps,
        "tokens_per_s": n_tokens
        * options.epochs
        * (1 - run["resumed_at"] / steps)
        / run["seconds"],
    }


def _total(tokens: pl.DataFrame, column: str, how: str = "sum") -> int:
    return int(tokens.select(getattr(pl.col(column).cast(pl.Int64), how)()).item())


def _left(tokens: pl.DataFrame) -> dict[str, int]:
    """Rows that could not be trained on, counted by reason."""
    counted = tokens.filter(pl.col("reason") != "").group_by("reason").len().sort("reason")
    return dict(counted.iter_rows())


def _run_key(base_model: Path | str, options: TrainOptions, bins: pl.DataFrame) -> str:
    """What a checkpoint belongs to: options, rows in their bins, and the bytes of a local base."""
    weights = []
    for file in sorted(Path(base_model).glob("*.safetensors")):
        with open(file, "rb") as opened:
            weights.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return digest([dataclasses.asdict(options), bins["ids"].to_list(), weights])


def _load_base(base_model: Path | str, *, revision: str, method: Method) -> tuple[Any, Method, str]:
    """The base model on the best device, the method that can run here, and why."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    trouble = "" if method == "lora" else _nf4_trouble(device)
    used: Method = "lora" if method == "lora" or trouble else "qlora"
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        str(base_model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=dtype,
        device_map={"": device},
        attn_implementation="sdpa",
        quantization_config=quantization if used == "qlora" else None,
    )
    return model, used, f"NF4 cannot run here: {trouble}" if trouble else "as the recipe asks"


def _nf4_trouble(device: str) -> str:
    """Why a 4-bit layer cannot run on this machine; "" when it can."""
    try:
        import torch
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(
            torch.ones(64, 64, device=device), quant_type="nf4"
        )
        functional.dequantize_4bit(packed, state)
    except (ImportError, OSError, RuntimeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _build_trainer(
    model: Any,
    tokenizer: Any,
    bins: pl.DataFrame,
    options: TrainOptions,
    *,
    out: Path,
    report: Report,
) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    lora = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    columns = bins.select("input_ids", "labels", "seq_lengths").to_dict(as_series=False)
    trainer: Any = SFTTrainer(
        model=model,
        args=_trainer_config(bins, options, out=out),
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        peft_config=lora,
    )
    # TRL turns QLoRA adapters into bfloat16, where small updates round to nothing.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_callback("training step", report))
    return trainer


def _trainer_config(bins: pl.DataFrame, options: TrainOptions, *, out: Path) -> Any:
    import torch
    from trl.trainer.sft_config import SFTConfig

    cuda = torch.cuda.is_available()
    n_rows = int(bins["ids"].list.len().sum())
    bins_per_step = max(1, round(options.batch_rows * bins.height / n_rows))
    micro = max(1, min(bins_per_step, MICRO_TOKENS // options.packing_block))
    steps = max(1, round(bins.height * options.epochs / bins_per_step))
    return SFTConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, round(bins_per_step / micro)),
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_steps,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=options.seed,
        data_seed=options.seed,
        # The sequences are finished: no cutting, and attention stays inside each row.
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=True,
        max_length=None,
        bf16=cuda,
        use_cpu=not cuda,
        activation_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_steps=max(20, round(steps / 4)),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )


def progress_callback(what: str, report: Report) -> Any:
    """A trainer callback that says the step and its loss, by time."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        """Keeps count from the step the run starts or goes on at."""

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.progress = Progress(state.max_steps, what, report)
            self.progress.done = state.global_step

        def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
            if logs and "loss" in logs:
                self.progress.step(note=f"loss {float(logs['loss']):.3f}")

    return Reporter()


def _checkpoint(out: Path, *, key: str) -> Path | None:
    """The newest whole checkpoint of the same run; those of another run are removed."""
    folder = out / "checkpoints"
    mark = folder / "run.json"
    if not mark.exists() or json.loads(mark.read_text()) != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(json.dumps(key))
        return None
    # The trainer writes its state last, so a checkpoint without one was cut off by the kill.
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json") if _is_json(p)]
    return max(whole, key=lambda p: int(p.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


def _save_adapter(model: Any, tokenizer: Any, options: TrainOptions, *, out: Path) -> None:
    """Adapter and tokenizer with the template it was trained through, without local paths."""
    folder = out / "adapter"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    # peft keeps them as a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    config |= {"base_model_name_or_path": options.base_model, "revision": options.revision or None}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _model_name(base_model: Path | str) -> str:
    """A hub id as it is; of a local folder its name only: a run is the same wherever it lies."""
    return Path(base_model).name if Path(base_model).is_dir() else str(base_model)
