"""`winnow preview`: who would enter and leave if the rules were others."""

import argparse
from collections.abc import Iterator
from typing import Any

from pipelines.cli_parts import existing_store, read_recipe, say_nothing, show
from pipelines.cli_text import cut, field, number, section

PREVIEW_EXAMPLE = "winnow preview 'perplexity < 0.97'"


def add_preview(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "preview",
        help="which rows other rules would keep, from the stored scores",
        description="Which rows would enter and leave if these rules stood in the recipe, in the "
        "place of those that read the same columns, or at the end. Nothing is measured or built.",
        parents=[common],
        epilog=f"example:\n  {PREVIEW_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rules", nargs="+", metavar="RULE", help="an SQL condition")
    parser.add_argument(
        "--limit", type=int, default=10, metavar="N", help="rows to list of each (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=preview)


def preview(args: argparse.Namespace) -> int:
    from curation.preview import preview_rules

    recipe = read_recipe(args)
    kept_rows = existing_store(args).head(f"{recipe.name}/kept_rows")
    if kept_rows is None:
        return say_nothing("no rows are judged yet: run `winnow run` first")
    found = preview_rules(kept_rows, recipe.keep, args.rules, guard=recipe.options["guard"])
    sides = {"enter": found.enter, "leave": found.leave}
    answer: dict[str, Any] = {
        "rules": found.rules,
        "sources": found.sources.to_dicts(),
        "guard": found.guard,
        **{side: frame.height for side, frame in sides.items()},
    }
    for side, frame in sides.items():
        rows = kept_rows.input("split_rows").lookup("rows", frame["id"].head(args.limit).to_list())
        texts = {row["id"]: row["messages"] for row in rows.iter_rows(named=True)}
        listed = frame.head(args.limit).to_dicts()
        answer[f"{side}_rows"] = [line | {"text": _said(texts[line["id"]])} for line in listed]
    return show(args, answer, _say(answer))


def _said(messages: list[dict[str, Any]]) -> str:
    return " → ".join(m["content"] for m in messages if m["role"] != "system")


def _say(answer: dict[str, Any]) -> Iterator[str]:
    yield from section("rules", [[rule] for rule in answer["rules"]])
    head = ["", "kept now", "then", "enter", "leave"]
    names = ("now", "then", "enter", "leave")
    lines = [[line["source"], *(number(line[n]) for n in names)] for line in answer["sources"]]
    yield from section("sources", [head, *lines], right=range(1, 5))
    if answer["guard"]:
        yield field("guard", f"would stop the build: {answer['guard']}")
    for side, why in (("enter", _was), ("leave", _why)):
        rows = answer[f"{side}_rows"]
        listed = [[row["id"][:8], why(row), cut(row["text"], 100)] for row in rows]
        yield from section(f"{side}, {len(listed)} of {answer[side]:,}", listed)
    if not answer["enter"] + answer["leave"]:
        yield "no row would enter or leave"


def _was(row: dict[str, Any]) -> str:
    return f"was: {row['was']}"


def _why(row: dict[str, Any]) -> str:
    value = row["value"]
    return row["reason"] if value is None else f"{row['reason']} ({number(value)})"
