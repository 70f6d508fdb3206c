"""`winnow lm-eval`: versions on tasks of EleutherAI's lm-eval that stand in your own files."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.cli_parts import Argument, add_command, read_recipe, show, store_and_name
from pipelines.cli_text import Lines, aligned, number

HARNESS_EXAMPLE = "winnow lm-eval base v2 --tasks tasks/chengyu.yaml"
_ARGUMENTS: list[Argument] = [
    (
        ("versions",),
        {"nargs": "+", "metavar": "VERSION", "help": "v2, an id, latest, champion or base"},
    ),
    (
        ("--tasks",),
        {
            "action": "append",
            "required": True,
            "type": Path,
            "metavar": "FILE",
            "help": "YAML of a task with local data; may repeat",
        },
    ),
    (("--limit",), {"type": int, "metavar": "N", "help": "most rows of each task"}),
    (("--json",), {"action": "store_true", "help": "for programs, nothing cut"}),
]


def add_harness(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add lm-eval to the command line."""
    said = (run_lm_eval, "ask versions tasks of lm-eval, from files of your own", _ARGUMENTS)
    add_command(commands, "lm-eval", said, example=HARNESS_EXAMPLE, common=common)


def run_lm_eval(args: argparse.Namespace) -> int:
    from assets.harness import measure_versions

    recipe, (store, _) = read_recipe(args), store_and_name(args)
    how = {"limit": args.limit, "report": _report}
    found = measure_versions(store, recipe, args.versions, args.tasks, **how)
    return show(args, found, say_results(found))


def say_results(found: Mapping[str, Mapping[str, Any]]) -> Lines:
    """A line for each metric of each task, a column for each model."""
    rows = [["", "rows", "", *found]]
    first = next(iter(found.values()))
    for task, said in first.items():
        for metric in said["metrics"]:
            values = [_value(one[task]["metrics"][metric]) for one in found.values()]
            rows.append([task, f"{said['n']:,}", metric, *values])
    yield from aligned(rows, right=(1, *range(3, 3 + len(found))))


def _value(said: Mapping[str, float | None]) -> str:
    error = said["stderr"]
    return number(said["value"]) + ("" if error is None else f" ± {error:.3f}")


def _report(line: str) -> None:
    print(line, file=sys.stderr)
