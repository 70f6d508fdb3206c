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
from curation.models import answer_losses, attach_adapter, is_whole
from curation.pairs import HELD, LEFT, TRAINED
from curation.progress import Report, silent
from curation.rows import dialogue
from training.base import load_base
from training.checkpoints import FOLDER, newest_checkpoint, run_key, step_of
from training.methods import Name
from training.pair_tokens import encode_pairs
from training.preference_options import Loss, PreferenceOptions, advise_preference, refuse_method
from training.preference_report import compare_pairs, say_findings
from training.preference_trainer import build_preference_trainer, read_steps


def train_preference(
    pairs: pl.DataFrame,
    *,
    base_model: Path | str,
    adapter: Path,
    out: Path,
    method: Name = "lora",
    system: str = "",
    corrupt: bool = False,
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

    `method` is that of the adapter. Pairs of kind `corrupted` count only with `corrupt`. With fewer
    than `min_pairs` to train on, the adapter is passed on as it is: a rebuild on schedule has often
    nothing to prefer yet. A tenth of the prompts, chosen by their digest, is only measured on.

    Returns trained (whether there was a run), pairs (id, part: trained, held or left, reason), left
    (pairs by reason), n_pairs, n_held, options, reasons, before and after (of trained and held
    pairs: see `compare_pairs`), tokens (mean length of the right and the wrong answers), findings
    (in words), loss and history (a step each), seconds, resumed_at (step, 0 for a fresh run) and
    adapter. Raises `ValueError` for a method that cannot go on.
    """
    quiet_libraries()
    if refused := refuse_method(method):
        raise ValueError(f"preference: {refused}")
    tokenizer = load_tokenizer(base_model, revision=revision)
    asked = pairs.filter((pl.col("kind") != "corrupted") | pl.lit(corrupt))
    most = min(max_tokens, _longest(base_model, revision))
    tokens = encode_pairs(asked, tokenizer, system=system, max_tokens=most)
    told = _tell_pairs(tokens)
    if (n_pairs := told["n_pairs"]) < min_pairs:
        shutil.copytree(adapter, out / "adapter", dirs_exist_ok=True)
        said = f"{n_pairs} pairs to train on, {min_pairs} needed: the adapter is passed on as it is"
        report(said)
        return told | _no_run(said) | {"adapter": str(out / "adapter")}
    choices = {"beta": beta, "loss": loss, "sft_weight": sft_weight, "lr": lr, "epochs": epochs}
    choices |= {"batch_pairs": batch_pairs, "max_tokens": most, "seed": seed, "method": method}
    start = _Start(base_model, adapter, revision, tokenizer, system)
    used = tokens.filter(pl.col("part") != LEFT).join(asked, on="id", maintain_order="left")
    ran = _teach(start, used, choices, out=out, report=report)
    return {**told, **ran, "findings": say_findings(told, ran), "adapter": str(out / "adapter")}


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
            return load_base(self.adapter, revision="", method="full")[0]
        from peft import PeftConfig

        model, _, _ = load_base(self.base_model, revision=self.revision, method=method)
        saved = PeftConfig.from_pretrained(str(self.adapter))
        saved.base_model_name_or_path = model.name_or_path  # the saved one has no folder in it
        return attach_adapter(model, self.adapter, trainable=True, config=saved)

    def measure(self, model: Any, pairs: pl.DataFrame, what: str) -> pl.DataFrame:
        """Nats of both answers of each pair, by the model as it is: `chosen` and `rejected`."""
        model.eval()
        found = {}
        for side in ("chosen", "rejected"):
            said = pairs.select("prompt", side).iter_rows()
            chats = [dialogue(prompt, answer, system=self.system) for prompt, answer in said]
            losses = answer_losses(model, self.tokenizer, chats, what=f"{what}, {side}")
            found[side] = [nats for nats, _ in filter(None, losses)]
        return pl.DataFrame(found)


def _teach(
    start: _Start, used: pl.DataFrame, choices: Mapping[str, Any], *, out: Path, report: Report
) -> dict[str, Any]:
    """The run on `used` (`PAIR_TOKENS` beside the texts), measured before and after."""
    import torch

    began, is_trained = time.monotonic(), used["part"] == TRAINED
    with torch.random.fork_rng():
        torch.manual_seed(choices["seed"])
        model = start.load(choices["method"])
        n_pairs, n_params = int(is_trained.sum()), model.num_parameters()
        options, reasons = advise_preference(n_pairs, n_params=n_params, **choices)
        before = start.measure(model, used, "reference")
        said = {f"ref_{side}_logps": -before[side] for side in ("chosen", "rejected")}
        train = used.with_columns(**said).filter(is_trained).select(_COLUMNS)
        trainer = build_preference_trainer(
            model, start.tokenizer, train, options, out=out, report=report
        )
        run = _run(trainer, start, train, options, out=out)
        after = start.measure(trainer.model, used, "preferred")
    _save(trainer.model, start.adapter, out / "adapter")
    shutil.rmtree(out / FOLDER)
    parts = {TRAINED: is_trained, HELD: ~is_trained}
    return {
        "trained": True,
        "options": dataclasses.asdict(options),
        "reasons": reasons,
        "before": {part: compare_pairs(before, own) for part, own in parts.items()},
        "after": {part: compare_pairs(after, own) for part, own in parts.items()},
        **run,
        "seconds": time.monotonic() - began,
    }


_COLUMNS = ("id", "prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps",
            "ref_rejected_logps")  # fmt: skip


def _longest(base_model: Path | str, revision: str) -> int:
    """Tokens that the model can read at once."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        str(base_model), revision=revision or None, trust_remote_code=False
    )
    return config.get_text_config().max_position_embeddings


def _run(
    trainer: Any, start: _Start, train: pl.DataFrame, options: PreferenceOptions, *, out: Path
) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint of this very run if there is one."""
    parts = {TRAINED: train.select(ids="id")}
    key = run_key(start.base_model, options, parts, start=str(start.adapter))
    resume = newest_checkpoint(out, key=key)
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
    """What became of each pair, and how long the answers of those that are used are."""
    used = tokens.filter(pl.col("part") != LEFT)
    left = tokens.filter(pl.col("part") == LEFT).group_by("reason").len().sort("reason")
    lengths = {s: used[f"{s}_ids"].list.len().mean() for s in ("chosen", "rejected")}
    return {
        "pairs": tokens.select("id", "part", "reason").to_dicts(),
        "left": dict(left.iter_rows()),
        "n_pairs": (tokens["part"] == TRAINED).sum(),
        "n_held": (tokens["part"] == HELD).sum(),
        "tokens": lengths,
    }


def _no_run(said: str) -> dict[str, Any]:
    return {
        "trained": False,
        "findings": [said],
        "options": {},
        "reasons": [],
        "before": {},
        "after": {},
        "loss": [],
        "history": [],
        "seconds": 0.0,
        "resumed_at": 0,
    }
