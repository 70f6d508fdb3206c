"""Several processes train as one: the same losses, one result, and nobody left behind."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import copy_rows
from training.launch import run_supervised

OPTIONS: dict[str, Any] = {"method": "lora", "epochs": 2, "batch_rows": 16, "max_tokens": 128}


def spec(base: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """What the supervisor is asked to do."""
    folder.mkdir(exist_ok=True)
    copy_rows(120, seed=4).write_parquet(folder / "rows.parquet")
    return {
        "call": "training.sft:train_sft",
        "frames": {"rows": str(folder / "rows.parquet")},
        "paths": {"out": str(folder / "run")},
        "options": {"base_model": str(base), **OPTIONS, **options},
    }


def test_two_processes_have_the_losses_of_one(tiny_base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    one = run_supervised(spec(tiny_base, tmp_path / "one"), workdir=tmp_path / "one")
    work = tmp_path / "two"
    two = run_supervised(spec(tiny_base, work, processes=2), workdir=work, report=said.append)
    assert two["options"]["processes"] == 2 and two["n_rows"] == one["n_rows"]
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert (work / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_count_that_does_not_come_about_is_said(tiny_base: Path, tmp_path: Path) -> None:
    from training.sft import train_sft

    with pytest.raises(RuntimeError, match="2 processes were to train together, 1 do"):
        train_sft(copy_rows(20), base_model=tiny_base, out=tmp_path, method="lora", processes=2)


def test_what_one_of_them_refuses_comes_back_as_one_line(tiny_base: Path, tmp_path: Path) -> None:
    refused = spec(tiny_base, tmp_path, processes=2, max_tokens=2)
    with pytest.raises(ValueError, match="^no row is left to train on"):
        run_supervised(refused, workdir=tmp_path)


def test_none_outlives_a_killed_parent(tiny_base: Path, tmp_path: Path) -> None:
    asked = spec(tiny_base, tmp_path, processes=2, epochs=400)
    parent = os.fork()
    if not parent:
        run_supervised(asked, workdir=tmp_path)
        os._exit(0)
    mine = psutil.Process(parent)
    deadline = time.monotonic() + 60
    while len(family := mine.children(recursive=True)) < 3 or not _trains(tmp_path):
        assert time.monotonic() < deadline, (tmp_path / "stderr.log").read_text()
        time.sleep(0.05)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert not psutil.wait_procs(family, timeout=10)[1]


def _trains(folder: Path) -> bool:
    return (folder / "run" / "log.jsonl").exists()
