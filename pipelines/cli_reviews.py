"""`winnow reviews …`: what waits for people, and what they say of it."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.cli_judging import (
    JUDGING_EXAMPLES,
    MARKDOWN,
    SOME,
    TWO,
    show_blind,
    show_ratings,
)
from pipelines.cli_parts import Argument, Command, add_command, existing_store, show, store_and_name
from pipelines.cli_review_reports import (
    ANNOTATED,
    REPORT_EXAMPLES,
    SIZE,
    TASKS,
    export_tasks,
    import_tasks,
    show_agreement,
    show_samples,
)
from pipelines.cli_text import Lines, aligned, cut

REVIEW_EXAMPLES = {
    "reviews list": "winnow reviews list --kind label_conflict",
    "reviews accept": "winnow reviews accept 0f3a77c1b2d4 --by reviewer-1",
    "reviews reject": "winnow reviews reject 0f3a77c1b2d4 77c1e9 --reason 答非所问",
    "reviews add": "winnow reviews add verdicts.jsonl",
    **REPORT_EXAMPLES,
    **JUDGING_EXAMPLES,
}

_ROWS: Argument = (("ids",), {"nargs": "+", "metavar": "ID", "help": "of a row, or its beginning"})
_REASON: Argument = (("--reason",), {"default": "", "metavar": "TEXT", "help": "why, in words"})
_BY: Argument = (("--by",), {"default": "", "metavar": "NAME", "help": "who says so"})
_KIND: Argument = (("--kind",), {"default": "", "help": "only label_conflict, or tie"})
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_FILE: Argument = (("file",), {"help": "a .jsonl file, or - for what comes in by a pipe"})
_LIMIT: Argument = (
    ("--limit",),
    {"type": int, "default": 10, "metavar": "N", "help": "how many to print (default 10)"},
)


def add_reviews(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of reviews to the command line."""
    group = commands.add_parser(
        "reviews", help="what waits for people, and what they say of it"
    ).add_subparsers(required=True, metavar="COMMAND")
    for name, said in _commands().items():
        add_command(group, name, said, example=REVIEW_EXAMPLES[f"reviews {name}"], common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    right = "these rows are right: in a conflict the rows that answer otherwise leave"
    lines = "put a JSONL file of {id, verdict, reason, by, answer} into the inbox"
    sampled = "what the rows looked at say of each error type and source"
    said = [_ROWS, _REASON, _BY]
    return {
        "list": (list_reviews, "what waits for people, most rows first", [_KIND, _LIMIT, _JSON]),
        "accept": (lambda args: _judge(args, "accept"), right, said),
        "reject": (lambda args: _judge(args, "reject"), "these rows are wrong and leave", said),
        "add": (add_file, lines, [_FILE]),
        "agreement": (show_agreement, "how far the reviewers agree", [_JSON]),
        "samples": (show_samples, sampled, [_JSON]),
        "blind": (show_blind, "which of two versions people prefer", [TWO, MARKDOWN, _JSON]),
        "ratings": (show_ratings, "how people rate answers", [SOME, MARKDOWN, _JSON]),
        "export": (export_tasks, "the rows that wait as tasks of Label Studio", [TASKS, SIZE]),
        "import": (import_tasks, "put annotations of Label Studio into the inbox", [ANNOTATED]),
    }


def list_reviews(args: argparse.Namespace) -> int:
    from curation.waiting import list_waiting

    waiting = list_waiting(*store_and_name(args), kind=args.kind)
    return show(args, waiting, _say(waiting, args.limit))


def add_file(args: argparse.Namespace) -> int:
    import shutil
    from tempfile import TemporaryDirectory

    from curation.sources.jsonl import jsonl

    with TemporaryDirectory() as folder:
        path = Path(args.file)
        if args.file == "-":
            path = Path(folder) / "stdin.jsonl"
            with path.open("wb") as whole:
                shutil.copyfileobj(sys.stdin.buffer, whole)
        elif not path.is_file():
            raise FileNotFoundError(f"there is no file {args.file!r}")
        return _deliver(args, ((record.position, record) for record in jsonl(path=path)()))


def _judge(args: argparse.Namespace, verdict: str) -> int:
    from datetime import UTC, datetime

    from curation.waiting import find_reviewed

    ids = find_reviewed(*store_and_name(args), args.ids)
    said = {"verdict": verdict, "reason": args.reason, "by": args.by}
    said["at"] = datetime.now(UTC).isoformat()  # who changes his mind twice says something new
    return _deliver(args, ((row_id, {"id": row_id, **said}) for row_id in ids))


def _deliver(args: argparse.Namespace, records: Iterable[tuple[str, Any]]) -> int:
    from curation.reviews import add_verdicts

    delivery = add_verdicts(existing_store(args), records)
    for position, reason in delivery.quarantined:
        print(f"{position}: {reason}", file=sys.stderr)
    print(delivery.line())
    return 1 if delivery.quarantined and not delivery.new and not delivery.duplicate else 0


def _say(waiting: Sequence[dict[str, Any]], limit: int) -> Lines:
    for one in waiting[:limit]:
        yield f"{one['kind']}: {cut(one['prompt'], 100)}"
        yield from aligned([*_cells(one)])
    kinds = Counter(one["kind"] for one in waiting)
    counted = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
    yield f"{counted} in all" if counted else "nothing waits for people"


def _cells(one: dict[str, Any]) -> Iterator[list[str]]:
    for answer in one["answers"]:
        for row_id in answer["ids"]:
            yield [row_id[:12], ", ".join(answer["sources"]), cut(answer["answer"], 80)]
