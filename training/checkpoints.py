"""Checkpoints of a run: which one to go on from, and what they belong to."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curation.rows import digest
from training.advice import TrainOptions
from training.preference_options import PreferenceOptions

FOLDER = "checkpoints"


def run_key(
    base_model: Path | str,
    options: TrainOptions | PreferenceOptions,
    parts: Mapping[str, pl.DataFrame],
    *,
    start: str = "",
) -> str:
    """What a checkpoint belongs to: options, rows (`ids` of each part), and bytes of a local base.

    With `start` those of the adapter that the run goes on from, too.
    """
    weights = []
    folders = [Path(base_model), *([Path(start)] if start else [])]
    for file in (file for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        with open(file, "rb") as opened:
            weights.append(hashlib.file_digest(opened, "sha256").hexdigest())
    rows: dict[str, Any] = {name: bins["ids"].to_list() for name, bins in parts.items()}
    return digest([dataclasses.asdict(options), rows, weights])


def newest_checkpoint(out: Path, *, key: str) -> Path | None:
    """The newest whole checkpoint of the same run; those of another run are removed."""
    folder = out / FOLDER
    mark = folder / "run.json"
    if not mark.exists() or json.loads(mark.read_text()) != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(json.dumps(key))
        return None
    # The trainer writes its state last, so a checkpoint without one was cut off by the kill.
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json") if is_json(p)]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The number of optimizer steps before it."""
    return int(checkpoint.name.rpartition("-")[2])


def is_json(path: Path) -> bool:
    """Whether a file was written to its end."""
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False
