"""How every candidate is measured: its CPU seconds, its memory, and the rows it would drop.

A script of this folder gives `measure` three functions. `load(options)` imports the library and
makes what a process makes once; `work(loaded, rows, options)` is what counts, and returns {line
dropped: line it goes into, -1 where the library does not say}. The rows come best first, as
dictionaries with `text` and `size`, the characters in an n-gram that our own comparison takes for
this text. Only the standard library is needed here: each script runs in the environment of its
candidate.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ENOUGH_S = 5.0
"""The work is done three times, unless that much time has been spent; the median counts."""


def measure(
    package: str,
    load: Callable[[argparse.Namespace], Any],
    work: Callable[[Any, Any, argparse.Namespace], dict[int, int]],
    read: Callable[[argparse.Namespace], Any] | None = None,
) -> None:
    """Run what the command line says and write the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--size", type=int, default=3, help="the n-gram that fits most rows")
    parser.add_argument("--language", default="zh", help="zh | en")
    parser.add_argument("--model", default="", help="a folder, where a model is needed")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    loaded = load(options)
    rows = (read or read_rows)(options)
    gc.collect()
    before, seconds, peak, dropped = _forget_peak(), [], 0.0, {}
    while len(seconds) < 3 and sum(seconds) < ENOUGH_S:
        start = cpu_s()
        dropped = work(loaded, rows, options)
        seconds.append(cpu_s() - start)
        peak = peak or _peak_mb() - before
    found = {
        "version": version(package) if package else "",
        "cpu_s": median(seconds),
        "memory_mb": peak,
        "dropped": sorted((int(line), int(into)) for line, into in dropped.items()),
    }
    options.output.write_text(json.dumps(found))


def read_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    with options.input.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def grams(row: dict[str, Any]) -> list[str]:
    """The distinct n-grams of a row in their order, the same that our own comparison takes."""
    text, size = row["text"], row["size"]
    return list(dict.fromkeys(text[i : i + size] for i in range(max(1, len(text) - size + 1))))


def write_texts(options: argparse.Namespace, path: Path) -> None:
    """The rows as JSONL with `line` and `text` for a library that reads files.

    It splits at spaces; unless its default is asked for, one stands between two characters.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for line, row in enumerate(read_rows(options)):
            text = row["text"]
            text = text if options.setting == "default" else " ".join(text.replace(" ", ""))
            file.write(json.dumps({"line": line, "id": str(line), "text": text}) + "\n")


def not_kept(rows: Any, kept: Any) -> dict[int, int]:
    """Every line that is not kept, going nobody knows where."""
    stays = set(map(int, kept))
    return {line: -1 for line in range(len(rows)) if line not in stays}


def cpu_s() -> float:
    """CPU seconds of this process and of those it waited for, imports included."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _forget_peak() -> float:
    """Let the peak start from now where the system can; returns the present megabytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    """Most memory of this process, in MB of 1e6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6
