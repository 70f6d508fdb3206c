"""Watching a run: progress in the log by time, every number in a file, ranks that move."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation.progress import Progress, Report

OnLook = Callable[[int, float], None]
"""Told the number of a look and the loss it saw."""
HISTORY = ("loss", "learning_rate", "grad_norm", "eval_domain_loss", "eval_general_loss")
"""What the trainer logs of a step and is the same in every run of the same rows and options."""


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


def log_callback(path: Path) -> Any:
    """A trainer callback that adds a JSON line to `path` for whatever the trainer logs.

    Beside the trainer's own numbers: step, epoch, seconds since the start, and the process's peak
    memory in MB (`gpu_mb` that of the GPU, where there is one).
    """
    from transformers import TrainerCallback

    class Writer(TrainerCallback):
        """A run that goes on adds to the file of the one that was killed."""

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            self.start = time.monotonic()

        def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
            seconds = round(time.monotonic() - self.start, 3)
            line = {"step": state.global_step, "seconds": seconds, **(logs or {}), **_memory()}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

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


def _memory() -> dict[str, int]:
    import psutil
    import torch

    told = {"memory_mb": psutil.Process().memory_info().rss >> 20}
    if torch.cuda.is_available():
        told["gpu_mb"] = torch.cuda.max_memory_allocated() >> 20
    return told
