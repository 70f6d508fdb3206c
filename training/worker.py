"""The child of `training.launch`: one locked folder, one call, one result file.

`python -m training.worker FOLDER FD` reads FOLDER/spec.json. FD is the reading end of a pipe that
the parent holds open; its end means the parent is gone, whatever killed it.
"""

import ctypes
import fcntl
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from training.launch import LOG_LINES, write_json

LOCK_WAIT_S = 30.0  # an orphan of a killed parent needs a moment to notice and go


def main() -> None:
    """Run the call of the specification; exit code 0 with result.json, 1 with error.json."""
    workdir, lifeline = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell leaves it ignored
    _die_with_parent(lifeline)
    channel = _take_stdout()
    try:
        with _locked(workdir / ".lock"):
            spec = json.loads((workdir / "spec.json").read_text(encoding="utf-8"))
            write_json(workdir / "result.json", _call(spec, channel))
    except Exception as error:
        traceback.print_exc()
        write_json(workdir / "error.json", _error(error, workdir))
        sys.exit(1)


def _call(spec: dict[str, Any], channel: TextIO) -> Any:
    module, _, name = spec["call"].partition(":")
    function = getattr(importlib.import_module(module), name)
    frames = [pl.read_parquet(path) for path in spec.get("frames", {}).values()]
    named = dict(zip(spec.get("frames", {}), frames, strict=True))
    first = [named.pop(next(iter(named)))] if named else []
    paths = {key: Path(value) for key, value in spec.get("paths", {}).items()}

    def report(line: str) -> None:
        channel.write(json.dumps({"line": line}, ensure_ascii=False) + "\n")
        channel.flush()

    return function(*first, **named, **paths, **spec.get("options", {}), report=report)


def _error(error: Exception, workdir: Path) -> dict[str, str]:
    if isinstance(error, ValueError | FileNotFoundError):
        kind = "ValueError" if isinstance(error, ValueError) else "FileNotFoundError"
        return {"kind": kind, "message": str(error)}
    tail = traceback.format_exc().splitlines()[-LOG_LINES:]
    place = f"{type(error).__name__}: {error}\nmore in {workdir / 'stderr.log'}"
    return {"kind": "RuntimeError", "message": "\n".join([place, *tail])}


def _die_with_parent(lifeline: int) -> None:
    """End this process group as soon as the parent is gone; twice, since each way has a gap.

    The kernel's signal is at once but Linux only, and is lost when the parent died before we asked
    for it; the pipe works everywhere but needs a thread to get its turn.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG

    def watch() -> None:
        while os.read(lifeline, 1):
            continue
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _take_stdout() -> TextIO:
    """The progress channel; whatever else prints from now on goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


class _locked:
    """Hold the lock of a folder; raises `RuntimeError` when another process keeps it."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        self.file = open(self.path, "w")  # noqa: SIM115 - held until the process ends
        deadline = time.monotonic() + LOCK_WAIT_S
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
