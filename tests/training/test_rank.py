"""Several processes train as one: the same losses, one result, and nobody left behind."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from tests.conftest import copy_rows
from training.launch import run_supervised
from training.sft import train_sft
from training.shard import check_shard, require_library

OPTIONS: dict[str, Any] = {"method": "lora", "epochs": 2, "batch_rows": 16, "max_tokens": 128}
LOOKED: dict[str, Any] = {"validate": 0.2, "patience": 9}
ROWS = copy_rows(120, seed=4, track="domain").unique("id", maintain_order=True)


def spec(base: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """What the supervisor is asked to do."""
    folder.mkdir(exist_ok=True)
    ROWS.write_parquet(folder / "rows.parquet")
    return {
        "call": "training.sft:train_sft",
        "frames": {"rows": str(folder / "rows.parquet")},
        "paths": {"out": str(folder / "run")},
        "options": {"base_model": str(base), **OPTIONS, **options},
    }


@pytest.fixture(scope="module")
def alone(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to: this one."""
    out = tmp_path_factory.mktemp("alone")
    return train_sft(ROWS, base_model=tiny_base, out=out, **OPTIONS, **LOOKED)


@pytest.mark.parametrize("shard", ["no", "fsdp"])
def test_two_processes_are_worth_one(
    shard: str, alone: dict[str, Any], tiny_base: Path, tmp_path: Path
) -> None:
    asked = spec(tiny_base, tmp_path, processes=2, shard=shard, **LOOKED)
    two = run_supervised(asked, workdir=tmp_path)
    assert two["options"]["processes"] == 2 and two["n_rows"] == alone["n_rows"]
    assert two["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    assert two["best"]["step"] == alone["best"]["step"]
    one, both = (load_file(Path(r["adapter"]) / "adapter_model.safetensors") for r in (alone, two))
    assert {n: w.shape for n, w in both.items()} == {n: w.shape for n, w in one.items()}
    assert max((both[name] - one[name]).abs().max() for name in one) < 1e-3


@pytest.mark.parametrize(
    ("asked", "trouble"),
    [
        ({"shard": "fsdp"}, "set processes, too"),
        ({"shard": "fsdp", "method": "prompt", "processes": 2}, "virtual tokens would stay whole"),
        ({"shard": "fsdp", "method": "adalora", "processes": 2}, "by whole gradients; take lora"),
    ],
)
def test_what_cannot_be_parted_is_refused(asked: dict[str, Any], trouble: str) -> None:
    with pytest.raises(ValueError, match=trouble):
        check_shard(**{"method": "lora", "processes": 1} | asked)


def test_deepspeed_is_refused_where_it_cannot_run() -> None:
    with pytest.raises(ValueError, match="needs GPUs.*take fsdp"):
        require_library("deepspeed", gpu=False)
    if find_spec("deepspeed") is None:
        with pytest.raises(ValueError, match=r"pip install 'winnow-sft\[deepspeed\]'"):
            require_library("deepspeed", gpu=True)
    require_library("fsdp", gpu=False)


def test_a_count_that_does_not_come_about_is_said(tiny_base: Path, tmp_path: Path) -> None:
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
    deadline = time.monotonic() + 120
    while len(family := mine.children(recursive=True)) < 3 or not _trains(tmp_path):
        assert time.monotonic() < deadline, (tmp_path / "stderr.log").read_text()
        time.sleep(0.05)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert not psutil.wait_procs(family, timeout=10)[1]


def _trains(folder: Path) -> bool:
    return (folder / "run" / "log.jsonl").exists()
