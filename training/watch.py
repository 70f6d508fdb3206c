"""Watching a run: progress in the log by time, every number in a file, ranks that move."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation.progress import Progress, Report

OnLook = Callable[[int, float], None]
"""Told the number of a look and the loss it saw."""
HISTORY = ("loss", "learning_rate", "grad_norm", "eval_domain_loss", "eval_general_loss")
"""What the trainer logs of a step and is the same in every run of the same rows and options."""
TOKENS = "num_tokens"
"""TRL's count of the tokens trained on since the process began."""


def progress_callback(what: str, report: Report) -> Any:
    """A trainer callback that says the step, its loss and tokens a second so far, by time."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        """Keeps count from the step the run starts or goes on at."""

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.progress = Progress(state.max_steps, what, report)
            self.progress.done = state.global_step

        def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
            if logs and "loss" in logs:
                said = f"loss {float(logs['loss']):.3f}"
                seconds = time.monotonic() - self.progress.start
                if TOKENS in logs and seconds:
                    said += f" · {logs[TOKENS] / seconds:,.0f} tokens/s"
                self.progress.step(note=said)

    return Reporter()


def log_callback(path: Path) -> Any:
    """A trainer callback that adds a JSON line to `path` for whatever the trainer logs.

    Beside the trainer's own numbers: step, epoch, seconds since the start, for each loss its
    perplexity (e to the loss, of the tokens that are trained), tokens a second since the line
    before, and the process's memory in MB (`gpu_mb` the GPU's peak, where there is one). What is
    not a finite number is null.
    """
    from transformers import TrainerCallback

    class Writer(TrainerCallback):
        """A run that goes on adds to the file of the one that was killed; another begins anew."""

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.start = self.before = time.monotonic()
            self.tokens = 0.0
            if not state.global_step:
                path.write_text("", encoding="utf-8")

        def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
            now, said = time.monotonic(), dict(logs or {})
            line = {"step": state.global_step, "seconds": round(now - self.start, 3), **said}
            line |= _perplexities(said) | _memory()
            if "loss" in said and TOKENS in said:
                rate = (said[TOKENS] - self.tokens) / max(now - self.before, 1e-9)
                line["tokens_per_s"], self.tokens = round(rate, 1), said[TOKENS]
            self.before = now
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({name: _finite(v) for name, v in line.items()}) + "\n")

    return Writer()


def look_callback(name: str, on_look: OnLook) -> Any:
    """A trainer callback that tells `on_look` the number and loss of each look at the rows `name`.

    A run that goes on tells the looks before it first. What `on_look` raises ends the run.
    """
    from transformers import TrainerCallback

    class Looker(TrainerCallback):
        """Counts the looks of the whole run, from 1."""

        looks = 0

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            for entry in state.log_history:
                self._tell(entry)

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):  # type: ignore[no-untyped-def]
            self._tell(metrics or {})

        def _tell(self, said: dict[str, Any]) -> None:
            if f"eval_{name}_loss" in said:
                self.looks += 1
                on_look(self.looks, said[f"eval_{name}_loss"])

    return Looker()


def allocation_callback() -> Any:
    """A trainer callback that lets AdaLoRA move its ranks; without it they never do.

    It comes after the optimizer's step and before the gradients, which it weighs, are set to zero.
    """
    from transformers import TrainerCallback

    class Allocator(TrainerCallback):
        """Once for each step of the optimizer."""

        def on_optimizer_step(self, args, state, control, model=None, **kwargs):  # type: ignore[no-untyped-def]
            model.base_model.update_and_allocate(state.global_step + 1)  # type: ignore[union-attr]

    return Allocator()


def read_history(log_history: list[dict[str, Any]]) -> list[dict[str, float | int]]:
    """One dict for each step with whichever of `HISTORY` was logged for it, by the trainer's name.

    A step that was logged twice, because the run went on from before it, counts as the last time.
    """
    steps: dict[int, dict[str, float | int]] = {}
    for entry in log_history:
        told = {name: entry[name] for name in HISTORY if name in entry}
        if told:
            steps.setdefault(entry["step"], {"step": entry["step"]}).update(told)
    return [steps[step] for step in sorted(steps)]


def _perplexities(said: dict[str, Any]) -> dict[str, float]:
    """The perplexity beside each loss; a loss past 700 has none that a float can hold."""
    losses = {name: said[name] for name in HISTORY if name.endswith("loss") and name in said}
    return {
        name.removesuffix("loss") + "perplexity": round(math.exp(loss), 4)
        for name, loss in losses.items()
        if loss < 700  # noqa: PLR2004
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _memory() -> dict[str, int]:
    import psutil
    import torch

    told = {"memory_mb": psutil.Process().memory_info().rss >> 20}
    if torch.cuda.is_available():
        told["gpu_mb"] = torch.cuda.max_memory_allocated() >> 20
    return told
