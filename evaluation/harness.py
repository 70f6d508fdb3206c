"""EleutherAI's lm-eval on a trained model: tasks of your own files, asked through its template.

Tasks are YAML as lm-eval has them, with data on this machine (`dataset_path: json`); its hundreds
of tasks by name fetch theirs from a hub, and are not offered.
"""

import contextlib
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curation.models import has_virtual_tokens
from evaluation.predict import load_predictor

BATCH_ROWS = 16


def require_harness() -> None:
    """Raise `ValueError` where lm-eval is not installed."""
    if find_spec("lm_eval") is None:
        raise ValueError("lm-eval is not installed: pip install 'winnow-sft[lm-eval]'")


def run_harness(
    tasks: Sequence[Path],
    *,
    base_model: Path | str,
    adapter: Path | None = None,
    revision: str = "",
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Task -> metric -> value and stderr, with n, the rows asked (at most `limit`).

    Paths in a task file are of its own folder. It may name Python code, which is run: use files
    that you trust. Raises `ValueError` for what is no task, and a model with virtual tokens.
    """
    require_harness()
    from lm_eval.evaluator import simple_evaluate  # pyright: ignore  # an extra, as the next two
    from lm_eval.models.huggingface import HFLM  # pyright: ignore
    from lm_eval.tasks import TaskManager  # pyright: ignore

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    files = [_require_file(task) for task in tasks]
    predictor = load_predictor(base_model, adapter=adapter, revision=revision)
    if has_virtual_tokens(predictor.model):
        raise ValueError("lm-eval pads rows, which virtual tokens cannot bear: ask a merged method")
    model = HFLM(pretrained=predictor.model, tokenizer=predictor.tokenizer, batch_size=BATCH_ROWS)
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        with contextlib.chdir(file.parent):
            said = simple_evaluate(
                model,
                tasks=[file.name],
                task_manager=TaskManager(include_defaults=False),
                apply_chat_template=True,
                log_samples=False,
                limit=limit,
            )
        found |= _read(said or {})
    return found


def _require_file(task: Path) -> Path:
    if not task.is_file():
        raise ValueError(f"{str(task)!r} is no task file: give the YAML of one, with local data")
    return task.resolve()


def _read(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """lm-eval's `acc,none` and `acc_stderr,none` as a metric with its stderr."""
    found: dict[str, dict[str, Any]] = {}
    for task, values in said.get("results", {}).items():
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
        errors = {n.replace("_stderr,", ","): float(v) for n, v in numbers.items()}
        metrics = {
            name.removesuffix(",none"): {"value": float(value), "stderr": errors.get(name)}
            for name, value in numbers.items()
            if "," in name and "_stderr," not in name
        }
        found[task] = {"n": said["n-samples"][task]["effective"], "metrics": metrics}
    return found
