"""What a run says while it goes: in the log by time, and each number of each step in a file."""

import json
import math
import re
import time
from pathlib import Path
from typing import Any

from training.watch import log_callback, progress_callback


def _begin(callback: Any, step: int = 0, max_steps: int = 4) -> Any:
    """The trainer's own state, with the callback told that training begins."""
    from transformers import TrainerControl, TrainerState

    state = TrainerState(global_step=step, max_steps=max_steps)
    callback.on_train_begin(None, state, TrainerControl())
    return state


def _lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_each_loss_has_its_perplexity_and_each_step_its_tokens_a_second(tmp_path: Path) -> None:
    callback = log_callback(tmp_path / "log.jsonl")
    state = _begin(callback)
    callback.before -= 10  # seconds
    callback.on_log(None, state, None, logs={"loss": math.log(5), "num_tokens": 1000.0})
    callback.on_log(None, state, None, logs={"eval_domain_loss": math.log(3)})
    callback.before -= 10
    callback.on_log(None, state, None, logs={"loss": float("nan"), "num_tokens": 3000.0})
    first, look, broken = _lines(tmp_path / "log.jsonl")
    assert first["perplexity"] == 5 and 99 < first["tokens_per_s"] <= 100
    assert look["eval_domain_perplexity"] == 3 and "tokens_per_s" not in look
    assert broken["loss"] is None and 199 < broken["tokens_per_s"] <= 200


def test_a_run_that_goes_on_adds_and_another_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for step, left in ((0, 1), (7, 2), (0, 1)):
        callback = log_callback(path)
        callback.on_log(None, _begin(callback, step), None, logs={"loss": 1.0})
        assert len(_lines(path)) == left


def test_the_log_says_loss_and_tokens_a_second(tmp_path: Path) -> None:
    said: list[str] = []
    callback = progress_callback("training step", said.append)
    state = _begin(callback)
    callback.progress.start = callback.progress._said = time.monotonic() - 10
    callback.on_log(None, state, None, logs={"loss": 0.5, "num_tokens": 20_000.0})
    (line,) = said
    assert line.startswith("training step 1/4")
    assert re.search(r"loss 0.500 · (2,000|1,9\d\d) tokens/s", line)
