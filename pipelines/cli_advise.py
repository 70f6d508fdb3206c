"""`winnow advise`: what the next training run would be and cost, before anything is trained."""

import argparse
from typing import Any

from pipelines.cli_parts import (
    Argument,
    Command,
    add_command,
    existing_store,
    read_recipe,
    show,
)
from pipelines.cli_text import field

ADVISE_EXAMPLE = "winnow advise --profile 24gb"
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_PROFILE: Argument = (
    ("--profile",),
    {
        "choices": ["hopper", "24gb", "cpu"],
        "help": "plan for such a machine (default: the recipe's, else this one)",
    },
)


def add_advise(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the advice on training options to the command line."""
    text = "the options of the next training run with a reason for each, its memory and time"
    said: tuple[Command, str, list[Argument]] = (advise, text, [_PROFILE, _JSON])
    add_command(commands, "advise", said, example=ADVISE_EXAMPLE, common=common)


def advise(args: argparse.Namespace) -> int:
    """Exit code 1 where the run would not fit the memory."""
    from assets.advise import advise_training

    advice = advise_training(existing_store(args), read_recipe(args), profile=args.profile)
    what = f"{advice['n_rows']:,} rows on {advice['options']['base_model']}"
    show(args, advice, [field("training", what), *advice["reasons"], advice["estimate"]])
    return 0 if advice["fits"] else 1
