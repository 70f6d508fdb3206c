"""Long model work in a supervised child process: it never outlives its parent and never runs twice.

The parent writes a specification into the work folder, the child (`training.worker`) locks that
folder, does the one call named there and leaves its result. A retry finds the folder with its
checkpoints and goes on. Progress comes as JSON lines on stdout; stderr goes to a log file.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curation.progress import Report, silent

STAGES_S = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""What a cancelled child gets, and how long it has before the next."""

LOG_LINES = 20  # last lines of the log that an error message carries


def run_supervised(spec: Mapping[str, Any], *, workdir: Path, report: Report = silent) -> dict[str, Any]:
    """The result of `spec["call"]` ("training.sft:train_sft"), run in a process of its own session.

    `spec["frames"]` names arguments that are read from Parquet files, `spec["paths"]` those that
    become paths, `spec["options"]` the rest; the first frame is passed by position. Raises
    `ValueError` or `FileNotFoundError` as the call did, `RuntimeError` with the end of the log for
    everything else. When this process is interrupted, the child and all of its own are ended.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    for stale in ("result.json", "error.json"):
        (workdir / stale).unlink(missing_ok=True)
    write_json(workdir / "spec.json", spec)
    with open(workdir / "stderr.log", "ab") as log:
        child, lifeline = _start(workdir, log.fileno())
        try:
            _forward(child, report)
            child.wait()
        except BaseException:  # an interrupt or a cancelled run; the child may not stay behind
            end_group(child)
            raise
        finally:
            os.close(lifeline)
    return _result(workdir, child.returncode)


def end_group(child: subprocess.Popen[str], *, stages: tuple[tuple[int, float], ...] = STAGES_S) -> None:
    """End a child and its whole process group, asking first and insisting later."""
    for number, wait_s in stages:
        _signal_group(child.pid, number)
        try:
            child.wait(timeout=wait_s)
            break
        except subprocess.TimeoutExpired:
            continue
    _signal_group(child.pid, signal.SIGKILL)  # what the child itself left running


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is either whole or not there."""
    staged = path.with_suffix(".tmp")
    with open(staged, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)


def _start(workdir: Path, log: int) -> tuple[subprocess.Popen[str], int]:
    """The child, and our end of a pipe: when it closes, for whatever reason, the child goes too."""
    theirs, ours = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "training.worker", str(workdir.resolve()), str(theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            pass_fds=(theirs,),
            start_new_session=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return child, ours


def _forward(child: subprocess.Popen[str], report: Report) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        report(json.loads(line)["line"])


def _result(workdir: Path, code: int) -> dict[str, Any]:
    finished = workdir / "result.json"
    if finished.exists():
        return json.loads(finished.read_text(encoding="utf-8"))
    failure = workdir / "error.json"
    if failure.exists():
        error = json.loads(failure.read_text(encoding="utf-8"))
        kinds: dict[str, Callable[[str], Exception]] = {
            "ValueError": ValueError,
            "FileNotFoundError": FileNotFoundError,
        }
        raise kinds.get(error["kind"], RuntimeError)(error["message"])
    log = workdir / "stderr.log"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    raise RuntimeError("\n".join([f"the training process {ending}; the end of {log}:", *tail]))


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # gone, or a zombie group that cannot be signalled
        return
