"""What the commands share: which store and recipe are meant, and how an answer is shown."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.cli_text import cut

WRITTEN = ("to", "openlineage", "hf", "llama_factory", "label_studio")
"""Options that name a file or folder to write."""
Command = Callable[[argparse.Namespace], int]
Argument = tuple[tuple[str, ...], dict[str, Any]]
"""The names of an argument, and what argparse wants to know of it."""


def add_command(
    group: Any,
    name: str,
    said: tuple[Command, str, list[Argument]],
    *,
    example: str,
    common: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add a command, what it is for and its arguments to a group of commands."""
    command, text, arguments = said
    parser = group.add_parser(
        name,
        help=text,
        description=text,
        parents=[common],
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for names, options in arguments:
        parser.add_argument(*names, **options)
    parser.set_defaults(command=command)
    return parser


def say_nothing(line: str) -> int:
    """One line on stderr and the exit code of an empty answer."""
    print(f"winnow: {cut(line, 300)}", file=sys.stderr)
    return 1


def show(
    args: argparse.Namespace, value: Mapping[str, Any] | list[Any], lines: Iterable[str]
) -> int:
    """JSON for programs, lines for people."""
    if args.json:
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        print("\n".join(lines))
    return 0


def keep_out_of_store(args: argparse.Namespace) -> None:
    """Raise `ValueError` when a command would write among the store's own files."""
    from pipelines.paths import store_path

    place = store_path(args.store)
    store = os.path.realpath(place if isinstance(place, Path) else ".winnow")
    for to in (getattr(args, option, None) for option in WRITTEN):
        if to and Path(os.path.realpath(to)).is_relative_to(store):
            said = f"{str(to)!r} lies in the store, where only winnow's own files stand"
            raise ValueError(said)


def store_and_name(args: argparse.Namespace) -> tuple[Any, str]:
    """The store, which must exist, and the recipe's name."""
    return existing_store(args), read_recipe(args).name


def existing_store(args: argparse.Namespace) -> Any:
    """The store; one that is not there is not made."""
    from curation.store import Store
    from pipelines.paths import store_path

    place = store_path(args.store)
    if isinstance(place, Path) and not place.is_dir():
        raise FileNotFoundError(f"there is no store at {str(place)!r}: run `winnow run` first")
    return Store(place)


def read_recipe(args: argparse.Namespace) -> Any:
    """The recipe that is named or the default one, checked."""
    from assets.recipe import load_recipe
    from pipelines.paths import recipe_path

    return load_recipe(recipe_path(args.recipe))
