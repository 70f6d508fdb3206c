"""The child of `training.launch`: one locked folder, one call, one result file.

`python -m training.worker FOLDER FD` reads the specification from stdin. FD is the reading end of a
pipe that the parent holds open; its end means the parent is gone, whatever killed it.
"""

import ctypes
import fcntl
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from training.launch import write_json
from training.rank import run_ranks

LOCK_WAIT_S = 30.0  # an orphan of a killed parent needs a moment to notice and go


def main() -> None:
    """Run the call of the specification; exit code 0 with result.json written, else 1."""
    workdir, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored
    say = take_stdout()
    _die_with_parent(lifeline)
    spec = json.load(sys.stdin)
    try:
        with _locked(workdir / ".lock", wait_s=spec.get("lock_wait_s", LOCK_WAIT_S)):
            result = _result(spec, workdir, say)
            write_json(workdir / "result.json", result)
            say({"result": result})
    except Exception as error:
        traceback.print_exc()
        kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
        say({"error": kind, "message": str(error)})
        sys.exit(1)


def _result(spec: dict[str, Any], workdir: Path, say: Callable[[dict[str, Any]], None]) -> Any:
    """What the call comes to, done here or by several processes of this machine."""
    processes = spec.get("options", {}).get("processes", 1)
    if processes <= 1:
        return do_call(spec, say)
    return run_ranks(spec, count=processes, workdir=workdir, say=say)


def do_call(spec: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> Any:
    """Do the one call of a specification; its progress is said as lines."""
    module, _, name = spec["call"].partition(":")
    function = getattr(importlib.import_module(module), name)
    frames = {key: pl.read_parquet(path) for key, path in spec.get("frames", {}).items()}
    first = [frames.pop(next(iter(frames)))] if frames else []
    paths = {key: Path(value) for key, value in spec.get("paths", {}).items()}
    options = spec.get("options", {})
    return function(*first, **frames, **paths, **options, report=lambda line: say({"line": line}))


_WATCH = "import os, signal, sys; os.read(int(sys.argv[1]), 1); os.killpg(0, signal.SIGKILL)"


def _die_with_parent(lifeline: int) -> None:
    """End this process and its whole group as soon as the parent is gone.

    A watcher of its own waits for the end of the pipe, since a thread here could be starved by long
    native calls. On Linux the kernel's own signal comes first, so not even one more step is done.
    """
    subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WATCH, str(lifeline)],
        pass_fds=(lifeline,),
        stdin=subprocess.DEVNULL,
    )
    os.close(lifeline)
    end_with_parent()


def end_with_parent() -> None:
    """On Linux have the kernel end this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def take_stdout() -> Callable[[dict[str, Any]], None]:
    """Says one JSON line to the parent; whatever else prints from now on goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message, ensure_ascii=False, default=str) + "\n")
        channel.flush()

    return say


class _locked:
    """Hold the lock of a folder; raises `RuntimeError` when another process keeps it."""

    def __init__(self, path: Path, *, wait_s: float):
        self.path, self.wait_s = path, wait_s

    def __enter__(self) -> None:
        self.file = open(self.path, "w")  # noqa: SIM115 - held until the process ends
        deadline = time.monotonic() + self.wait_s
        while True:
            try:
                return fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"another process trains in {self.path.parent}") from None
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.file.close()


if __name__ == "__main__":
    main()
