"""`winnow tune`: training options that leave a lower loss than the advised ones."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.cli_parts import (
    Argument,
    Command,
    add_command,
    existing_store,
    read_recipe,
    show,
)
from pipelines.cli_text import Lines, aligned, field, number

TUNE_EXAMPLE = "winnow tune --trials 12 --sampler tpe --param lr=1e-4:1e-3:log --param rank=8,16,32"
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_TRIALS: Argument = (
    ("--trials",),
    {"type": int, "default": 10, "metavar": "N", "help": "beside the advised one (default 10)"},
)
_SAMPLER: Argument = (
    ("--sampler",),
    {
        "default": "tpe",
        "choices": ["tpe", "random", "grid", "evolution"],
        "help": "what proposes trials (default tpe, which is Bayesian)",
    },
)
_SEED: Argument = (("--seed",), {"type": int, "default": 0, "metavar": "N", "help": "of the draw"})
_PARAM: Argument = (
    ("--param",),
    {
        "action": "append",
        "default": [],
        "metavar": "NAME=VALUES",
        "help": "LOW:HIGH, LOW:HIGH:log or A,B,C; may repeat (default: lr and rank)",
    },
)


def add_tune(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the search for training options to the command line."""
    text = "search for better training options on what the newest build trains on"
    said: tuple[Command, str, list[Argument]] = (
        tune, text, [_TRIALS, _SAMPLER, _PARAM, _SEED, _JSON],
    )  # fmt: skip
    add_command(commands, "tune", said, example=TUNE_EXAMPLE, common=common)


def tune(args: argparse.Namespace) -> int:
    from assets.tune import search_train_options

    recipe, store = read_recipe(args), existing_store(args)
    options = {"trials": args.trials, "sampler": args.sampler, "ranges": args.param}
    found, _ = search_train_options(store, recipe, **options, seed=args.seed, report=_report)
    return show(args, found, say_search(found))


def say_search(found: Mapping[str, Any]) -> Lines:
    """The trials as a table, and the line of the best of them for the recipe."""
    import yaml

    searched = [*found["trials"][0]["params"]]
    head = ["trial", "", "domain loss", "general loss", "step", "s", *searched]
    rows = [
        [
            str(trial["number"]),
            "advised" if trial["number"] == 0 else trial["state"],
            *(number(trial[name]) for name in ("loss", "general_loss", "step")),
            "–" if trial["seconds"] is None else f"{trial['seconds']:,.0f}",
            *(_value(trial["params"][name]) for name in searched),
        ]
        for trial in found["trials"]
    ]
    yield from aligned([head, *rows], right=(0, *range(2, len(head))))
    yield field("looked at", f"{found['n_held']:,} rows that no trial was trained on")
    if not found["best"]:
        yield field("best", "the advised options: the recipe may stay as it is")
        return
    gain = "" if found["gain"] is None else f", {found['gain']:.4f} below the advised options"
    loss = found["trials"][found["best"]]["loss"]
    yield field("best", f"trial {found['best']}: domain loss {loss:.4f}{gain}")
    line = yaml.safe_dump({"train": found["train"]}, allow_unicode=True, sort_keys=False,
                          default_flow_style=None, width=1000)  # fmt: skip
    yield field("recipe", line.strip())
    yield "It was chosen by these rows, which flatter it: the next build's gate judges it anew."


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _report(line: str) -> None:
    print(line, file=sys.stderr)
