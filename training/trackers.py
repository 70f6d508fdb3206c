"""Trackers: where else the numbers of a run go, for people who compare runs in another tool.

Transformers' own integrations send them. A run comes out the same with any tracker or none, so no
key, manifest or memory of a step holds which there were.
"""

import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

Tracker = Literal["mlflow", "swanlab", "tensorboard", "trackio", "wandb"]

PROJECT = "winnow"
"""The project or experiment that runs are filed under, where the environment names no other."""

MODULES: dict[str, tuple[str, ...]] = {"tensorboard": ("tensorboard", "tensorboardX")}
"""The packages of which one has to be installed, where it is not the tracker's own name."""

BELOW = {"swanlab": "0.8"}
"""The version from which a tracker does not work with our transformers any more: tried in 0.7.20,
0.8.5 and 0.10.3."""

ENVIRONMENT: dict[str, dict[str, str]] = {
    "mlflow": {
        "MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
    },
    "swanlab": {"SWANLAB_LOG_DIR": "{folder}", "SWANLAB_PROJECT": PROJECT},
    "tensorboard": {"TENSORBOARD_LOGGING_DIR": "{folder}/{run}"},
    "trackio": {},
    "wandb": {"WANDB_DIR": "{folder}", "WANDB_PROJECT": PROJECT},
}
"""What each reads from the environment and gets from us where it is not set there."""


def require_trackers(names: Sequence[str]) -> None:
    """Raise `ValueError` when a tracker is not installed or too new, with the line that helps."""
    for name in names:
        wanted = f"'{name}<{BELOW[name]}'" if name in BELOW else name
        if not any(map(importlib.util.find_spec, MODULES.get(name, (name,)))):
            raise ValueError(f"{name} is not installed: pip install {wanted}")
        if name in BELOW and _release(found := version(name)) >= _release(BELOW[name]):
            raise ValueError(f"{name} {found} is newer than what works: pip install {wanted}")


def _release(said: str) -> list[int]:
    return [int(part) for part in said.split(".")[:2]]


_given: dict[str, str] = {}  # what was set by an earlier run of this process, and is not a user's


def report_arguments(names: Sequence[Tracker], *, run: str, folder: Path) -> dict[str, Any]:
    """The trainer's arguments that send the numbers of the run called `run` to these trackers.

    What they write on this machine lies in `folder`; where else they send it, and whether they work
    offline, is for their own variables to say (`WANDB_MODE`, `SWANLAB_MODE`, `TRACKIO_DIR`, ...).
    Those that are not set get a value here. Raises what `require_trackers` raises.
    """
    require_trackers(names)
    for name in names:
        place = (folder / name).absolute()
        place.mkdir(parents=True, exist_ok=True)
        for variable, value in ENVIRONMENT[name].items():
            if os.environ.get(variable) in (None, _given.get(variable)):
                _given[variable] = value.format(folder=place, run=run)
                os.environ[variable] = _given[variable]
    return {"report_to": [*names] or "none", "run_name": run, "project": PROJECT}
