"""Trackers get the numbers of a run, and the run does not come out otherwise for it."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import copy_rows
from training.sft import train_sft
from training.trackers import report_arguments, require_trackers

TRACKIO = """
# As much of trackio as transformers and TRL call, writing what it is given to a file.
import json, os, random
from contextvars import ContextVar

class _Config(dict):
    def update(self, said, allow_val_change): super().update(said)

class _Unset:
    def __getattr__(self, name): return ContextVar(name, default=None)

config, context_vars = _Config(), _Unset()
def init(**said): random.random(); log(said)
def finish(): log({"finished": True})
def log(said):
    with open(os.environ["TRACKIO_DIR"], "a") as file: file.write(json.dumps(said) + "\\n")
"""


def test_a_tracker_gets_each_loss_and_changes_no_byte(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trackio.py").write_text(TRACKIO)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "told.jsonl"))
    rows, options = copy_rows(24), {"base_model": tiny_base, "epochs": 1, "method": "lora"}
    named = {"report_to": ["trackio"], "run_name": "车控-3f2a"}
    said = train_sft(rows, out=tmp_path / "told", **named, **options)  # type: ignore[arg-type]
    silent = train_sft(rows, out=tmp_path / "silent", **options)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "trackio")
    first, *told = map(json.loads, (tmp_path / "told.jsonl").read_text().splitlines())
    assert (first["project"], first["name"]) == ("winnow", "车控-3f2a")
    assert [line["train/loss"] for line in told if "train/loss" in line] == said["loss"]
    assert told[-1] == {"finished": True}
    a, b = (Path(one["adapter"]) / "adapter_model.safetensors" for one in (said, silent))
    assert a.read_bytes() == b.read_bytes() and said["options"] == silent["options"]


def test_a_tracker_that_is_not_installed_is_refused_with_the_line_that_installs_it() -> None:
    with pytest.raises(ValueError, match="^no_tracker is not installed: pip install no_tracker$"):
        require_trackers(["no_tracker"])


@pytest.mark.parametrize(("found", "fits"), [("0.7.20", True), ("0.10.3", False)])
def test_a_tracker_that_is_too_new_is_refused(
    found: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swanlab.py").touch()
    (tmp_path / f"swanlab-{found}.dist-info").mkdir()
    said = f"Metadata-Version: 2.1\nName: swanlab\nVersion: {found}\n"
    (tmp_path / f"swanlab-{found}.dist-info" / "METADATA").write_text(said)
    monkeypatch.syspath_prepend(tmp_path)
    with nullcontext() if fits else pytest.raises(ValueError, match=r"pip install 'swanlab<0.8'$"):
        require_trackers(["swanlab"])


def test_what_people_set_is_left_and_each_run_has_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").touch()
    (tmp_path / "tensorboardX.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("os.environ", {"WANDB_PROJECT": "ours"})
    for run in ("one", "two"):
        folder = tmp_path / run
        said = report_arguments(["wandb", "tensorboard"], run=run, folder=folder)
        assert said["report_to"] == ["wandb", "tensorboard"] and said["run_name"] == run
        assert os.environ["WANDB_DIR"] == str(folder / "wandb")
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(folder / "tensorboard" / run)
    assert os.environ["WANDB_PROJECT"] == "ours"


def test_no_tracker_is_the_default(tmp_path: Path) -> None:
    assert report_arguments([], run="r", folder=tmp_path / "none")["report_to"] == "none"
    assert not (tmp_path / "none").exists()
