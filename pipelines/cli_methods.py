"""`winnow methods`: the ways to train held against one another on your own rows."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.cli_parts import Argument, Command, add_command, existing_store, read_recipe, show
from pipelines.cli_text import Lines, aligned, field, number, section

METHODS_EXAMPLE = "winnow methods qlora lora full"
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_NAMES: Argument = (
    ("methods",),
    {"nargs": "*", "metavar": "METHOD", "help": "of `train`; the first is held against the others"},
)


def add_methods(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the comparison of training methods to the command line."""
    text = "train by each method on what the newest build trains on, and hold them together"
    said: tuple[Command, str, list[Argument]] = (methods, text, [_NAMES, _JSON])
    add_command(commands, "methods", said, example=METHODS_EXAMPLE, common=common)


def methods(args: argparse.Namespace) -> int:
    from assets.methods import compare_methods

    recipe, store = read_recipe(args), existing_store(args)
    found = compare_methods(store, recipe, args.methods, report=_report)
    return show(args, found, say_methods(found))


def say_methods(found: Mapping[str, Any]) -> Lines:
    """The arms as a table, and what they come to beside the first method."""
    arms = found["arms"]
    names = [*arms["base"]["metrics"]]
    rows = [["", "trained", "s", "MB", "lr", *names, "held fixed"]]
    rows += [[arm, *_cells(said, names)] for arm, said in arms.items() if "metrics" in said]
    yield field("cases", f"{found['n_cases']:,} of the frozen test set")
    yield from aligned(rows, right=range(1, len(rows[0])))
    yield from section(
        f"against {found['against']}, by {found['main']}",
        [[arm, said["verdict"], said["line"]] for arm, said in arms.items() if "verdict" in said],
    )
    refused = [[arm, said["refused"]] for arm, said in arms.items() if said.get("refused")]
    yield from section("cannot run here", refused)


def _cells(said: Mapping[str, Any], names: list[str]) -> list[str]:
    """Costs, metrics and held bad cases of an arm; empty where it was not trained."""
    metrics = [number(said["metrics"].get(name)) for name in names]
    if "held" not in said:
        return ["", "", "", "", *metrics, ""]
    costs = ("–" if said[c] is None else f"{said[c]:,.0f}" for c in ("seconds", "peak_mb"))
    held = f"{said['held']['fixed']:,} of {said['held']['n']:,}"
    return [f"{said['n_trained']:,}", *costs, f"{said['lr']:g}", *metrics, held]


def _report(line: str) -> None:
    print(line, file=sys.stderr)
