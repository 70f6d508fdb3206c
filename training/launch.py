"""Long model work in a supervised child process: it never outlives its parent and never runs twice.

The parent hands a specification to the child (`training.worker`), which locks the work folder, does
the one call named there and leaves `result.json`. A retry finds the folder with its checkpoints and
goes on. Progress, result and error come as JSON lines on stdout; stderr goes to `stderr.log`.
"""

import contextlib
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


def run_supervised(
    spec: Mapping[str, Any], *, workdir: Path, report: Report = silent
) -> dict[str, Any]:
    """The result of `spec["call"]` ("training.sft:train_sft"), run in a process of its own session.

    `spec["frames"]` names arguments that are read from Parquet files, `spec["paths"]` those that
    become paths, `spec["options"]` the rest; the first frame is passed by position.
    `spec["lock_wait_s"]` bounds the wait for another process that works in `workdir`. Raises
    `ValueError` or `FileNotFoundError` as the call did, `RuntimeError` with the end of the log for
    everything else. When this process is interrupted, the child and all of its own are ended.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "stderr.log", "ab") as log:
        child, lifeline = _start(workdir, log.fileno())
        try:
            outcome = _converse(child, spec, report)
            child.wait()
        except BaseException:  # an interrupt or a cancelled run; the child may not stay behind
            end_group(child)
            raise
        finally:
            os.close(lifeline)
    if "result" in outcome:
        return outcome["result"]
    raise _failure(outcome, workdir / "stderr.log", child.returncode)


def end_group(child: subprocess.Popen[str]) -> None:
    """End a child and its whole process group, asking first and insisting later."""
    for number, wait_s in STAGES_S:
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
            [sys.executable, "-m", "training.worker", str(workdir), str(theirs)],
            stdin=subprocess.PIPE,
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


def _converse(
    child: subprocess.Popen[str], spec: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Pass the specification in and progress on; the last thing the child says is its outcome."""
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(BrokenPipeError), child.stdin as channel:  # died at once: see the log
        channel.write(json.dumps(spec, ensure_ascii=False, default=str))
    outcome: dict[str, Any] = {}
    with child.stdout as lines:
        for line in lines:
            said = json.loads(line)
            if "line" in said:
                report(said["line"])
            else:
                outcome = said
    return outcome


def _failure(outcome: Mapping[str, Any], log: Path, code: int) -> Exception:
    kinds: dict[str, Callable[[str], Exception]] = {
        "ValueError": ValueError,
        "FileNotFoundError": FileNotFoundError,
    }
    if outcome.get("error") in kinds:
        return kinds[outcome["error"]](outcome["message"])
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return RuntimeError("\n".join([f"the training process {ending}; the end of {log}:", *tail]))


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (
        ProcessLookupError,
        PermissionError,
    ):  # gone, or a zombie group that cannot be signalled
        return
