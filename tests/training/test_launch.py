"""Supervised work: results and errors come back, and no child outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import copy_rows
from training.launch import run_supervised, write_json

CALLS = """
import os, signal, subprocess, sys, time
from pathlib import Path

def add(*, left, right, report):
    report("adding")
    print("chatter on stdout")
    return {"sum": left + right}

def count(rows, *, folder, report):
    return {"rows": rows.height, "is_path": isinstance(folder, Path)}

def refuse(*, report):
    raise ValueError("batch_rows must be above 0, got -1")

def crash(*, report):
    print("something odd happened", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGSEGV)

def hang(*, folder, report, deaf=False):
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "pids.tmp").write_text(f"{os.getpid()} {grandchild.pid}")
    (folder / "pids.tmp").rename(folder / "pids")
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_result_comes_back_and_is_on_disk(tmp_path: Path) -> None:
    said: list[str] = []
    spec = {"call": "calls:add", "options": {"left": 2, "right": 3}}
    assert run_supervised(spec, workdir=tmp_path / "work", report=said.append) == {"sum": 5}
    assert said == ["adding"]
    assert (tmp_path / "work" / "result.json").exists()
    assert "chatter" in (tmp_path / "work" / "stderr.log").read_text()


def test_frames_and_paths_arrive_as_what_they_are(tmp_path: Path) -> None:
    copy_rows(5).write_parquet(tmp_path / "rows.parquet")
    spec = {
        "call": "calls:count",
        "frames": {"rows": str(tmp_path / "rows.parquet")},
        "paths": {"folder": str(tmp_path)},
    }
    told = run_supervised(spec, workdir=tmp_path / "work")
    assert told == {"rows": copy_rows(5).height, "is_path": True}


def test_a_mistake_of_the_user_comes_back_as_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^batch_rows must be above 0, got -1$"):
        run_supervised({"call": "calls:refuse"}, workdir=tmp_path / "work")


def test_a_crash_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="(?s)signal 11.*something odd happened"):
        run_supervised({"call": "calls:crash"}, workdir=tmp_path / "work")


@pytest.mark.parametrize("deaf", [False, True])
def test_cancelling_ends_the_child_and_its_children(tmp_path: Path, deaf: bool) -> None:
    parent = _parent_of_a_hanging_child(tmp_path, deaf=deaf)
    pids = _pids(tmp_path, parent)
    parent.send_signal(signal.SIGINT)
    parent.wait(timeout=20)
    _gone(pids)


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    parent = _parent_of_a_hanging_child(tmp_path, deaf=True)
    pids = _pids(tmp_path, parent)
    parent.kill()
    parent.wait()
    _gone(pids)


def test_two_never_work_in_one_folder(tmp_path: Path) -> None:
    parent = _parent_of_a_hanging_child(tmp_path, deaf=False)
    _pids(tmp_path, parent)
    spec = {"call": "calls:add", "options": {"left": 2, "right": 3}, "lock_wait_s": 0.5}
    with pytest.raises(RuntimeError, match="another process"):
        run_supervised(spec, workdir=tmp_path / "work")
    parent.kill()
    parent.wait()
    assert run_supervised(spec | {"lock_wait_s": 20}, workdir=tmp_path / "work") == {"sum": 5}


def test_a_json_file_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Circular"):
        value: list[object] = []
        value.append(value)
        write_json(tmp_path / "x.json", value)
    assert not (tmp_path / "x.json").exists()


def _parent_of_a_hanging_child(folder: Path, *, deaf: bool) -> subprocess.Popen[bytes]:
    code = textwrap.dedent(
        """
        import signal, sys
        from pathlib import Path
        from training import launch
        signal.signal(signal.SIGINT, signal.default_int_handler)
        launch.STAGES_S = tuple((number, 0.5) for number, _ in launch.STAGES_S)
        folder = Path(sys.argv[1])
        options = {"deaf": sys.argv[2] == "True"}
        spec = {"call": "calls:hang", "paths": {"folder": folder}, "options": options}
        launch.run_supervised(spec, workdir=folder / "work")
        """
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(folder)])}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(deaf)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )


def _pids(folder: Path, parent: subprocess.Popen[bytes]) -> list[int]:
    deadline = time.monotonic() + 20
    while not (folder / "pids").exists():
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def _gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[p for p in pids if _alive(p)]}"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
