"""`winnow bad-cases …`: what the model got wrong, into the inbox and out of its quarantine."""

import argparse
import os
import sys
from typing import Any

from pipelines.cli_parts import Argument, Command, add_command, existing_store, show
from pipelines.cli_text import cut, visible

INTAKE_EXAMPLES = {
    "add": "winnow bad-cases add wrong_answers.jsonl --found-by beta-testers",
    "list": "winnow bad-cases list --state open",
    "correct": "winnow bad-cases correct 0f3a77c1 --gold '好的，已打开空调'",
    "pull": "winnow bad-cases pull --url APP_DB --sql "
    "'select id, prompt, gold, predicted from wrong where id > :cursor order by id'",
}

SHOWN = 20
"""Refused lines that are printed."""

_PLACES: Argument = (
    ("places",),
    {"nargs": "+", "metavar": "PLACE", "help": "a file, a folder or s3://bucket/prefix"},
)
_FORM: Argument = (
    ("--form",),
    {"default": "auto", "help": "plain, chat, langfuse, langsmith, otel; auto goes by the keys"},
)
_GOLD: Argument = (
    ("--gold",),
    {
        "default": "",
        "metavar": "KEY",
        "help": "where the corrected answer stands, such as metadata.correction",
    },
)
_FOUND_BY: Argument = (
    ("--found-by",),
    {"default": "", "metavar": "NAME", "help": "who or what found those that do not say"},
)
_STATE: Argument = (
    ("--state",),
    {
        "choices": ["open", "held", "augmented", "trained", "fixed", "regressed"],
        "default": "",
        "help": "only those of one state",
    },
)
_QUARANTINED: Argument = (
    ("--quarantined",),
    {"action": "store_true", "help": "lines kept with their reason"},
)
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_CASE: Argument = (("case",), {"metavar": "CASE", "help": "its name, or the beginning of it"})
_ANSWER: Argument = (
    ("--gold",),
    {"required": True, "metavar": "TEXT", "help": "the answer it should have got"},
)
_BY: Argument = (("--by",), {"default": "", "metavar": "NAME", "help": "who corrected it"})
_URL: Argument = (
    ("--url",),
    {
        "required": True,
        "help": "of SQLAlchemy, such as sqlite:///app.db, or the environment variable that holds "
        "it (a password is seen by others on a command line)",
    },
)
_SQL: Argument = (
    ("--sql",),
    {"required": True, "help": "a select with :cursor in it, in the order of its first column"},
)
_START: Argument = (("--start",), {"default": "0", "metavar": "CURSOR", "help": "the first time"})


def add_intake(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of bad cases to the command line."""
    group = commands.add_parser("bad-cases", help="what the model got wrong").add_subparsers(
        required=True, metavar="COMMAND"
    )
    for name, said in _commands().items():
        add_command(group, name, said, example=INTAKE_EXAMPLES[name], common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    add = "put bad cases into the inbox: JSON Lines, JSON or Parquet of {prompt, gold, predicted}, "
    listed = "every bad case with its state; with --quarantined lines that were none, and why"
    pull = "put the rows of a database into the inbox that came after those of the last time"
    how = [_FORM, _GOLD, _FOUND_BY]
    return {
        "add": (add_cases, add + "or traces and logs of other products", [_PLACES, *how]),
        "list": (list_cases, listed, [_STATE, _QUARANTINED, _JSON]),
        "correct": (correct, "give a case its corrected answer", [_CASE, _ANSWER, _BY]),
        "pull": (pull_cases, pull, [_URL, _SQL, _START, *how]),
    }


def add_cases(args: argparse.Namespace) -> int:
    from curation.intake import add_files

    return _say(add_files(_store(args), args.places, **_how(args)))


def list_cases(args: argparse.Namespace) -> int:
    from curation.bad_cases import read_quarantine
    from curation.lineage.states import list_states
    from pipelines.cli_cases import say_inbox, say_quarantine
    from pipelines.cli_parts import store_and_name

    quarantined = read_quarantine(existing_store(args))
    if args.quarantined:
        return show(args, quarantined, say_quarantine(quarantined))
    cases = list_states(*store_and_name(args), state=args.state)
    return show(args, cases, say_inbox(cases, len(quarantined)))


def correct(args: argparse.Namespace) -> int:
    from curation.bad_cases import correct_case

    return _say(correct_case(existing_store(args), args.case, args.gold, by=args.by))


def pull_cases(args: argparse.Namespace) -> int:
    from curation.intake_sql import pull_sql

    url = args.url if "://" in args.url else os.environ.get(args.url, "")
    if not url:
        raise ValueError(f"{args.url!r} is neither a database URL nor a variable that holds one")
    start = int(args.start) if args.start.lstrip("-").isdecimal() else args.start
    return _say(pull_sql(_store(args), url=url, sql=args.sql, start=start, **_how(args)))


def _how(args: argparse.Namespace) -> dict[str, str]:
    return {"form": args.form, "gold": args.gold, "found_by": args.found_by}


def _say(delivery: Any) -> int:
    refused = delivery.quarantined
    for position, reason in refused[:SHOWN]:
        print(cut(visible(f"{position}: {reason}"), 300), file=sys.stderr)
    if len(refused) > SHOWN:
        print(f"… {len(refused):,} in all: `winnow bad-cases list --quarantined`", file=sys.stderr)
    print(delivery.line())
    return 1 if refused and not delivery.new and not delivery.duplicate else 0


def _store(args: argparse.Namespace) -> Any:
    from curation.store import Store
    from pipelines.paths import store_path

    return Store(store_path(args.store))
