"""`winnow error-types …`: the kinds of error there are, and what people say of them."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.cli_parts import Argument, Command, add_command, show, store_and_name
from pipelines.cli_text import Lines, aligned, cut, number

TYPE_EXAMPLES = {
    "error-types list": "winnow error-types list",
    "error-types rename": "winnow error-types rename not_json '答案不是 JSON'",
    "error-types merge": "winnow error-types merge too_few:actions missing:actions",
    "error-types mute": "winnow error-types mute wrong_order:actions --by reviewer-1",
    "error-types unmute": "winnow error-types unmute wrong_order:actions",
}

_TYPE: Argument = (("type",), {"help": "its signature, as the list shows it"})
_BY: Argument = (("--by",), {"default": "", "metavar": "NAME", "help": "who says so"})
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})


def add_error_types(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of error types to the command line."""
    group = commands.add_parser(
        "error-types", help="the kinds of error there are, and what people say of them"
    ).add_subparsers(required=True, metavar="COMMAND")
    for name, said in _commands().items():
        example = TYPE_EXAMPLES[f"error-types {name}"]
        add_command(group, name, said, example=example, common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    name: Argument = (("name",), {"help": "what people call it; '' gives back the first name"})
    into: Argument = (("into",), {"help": "the type it becomes part of; itself parts them again"})
    return {
        "list": (list_types, "the kinds of error of the newest build, most cases first", [_JSON]),
        "rename": (
            lambda args: _say(args, "rename", args.name),
            "give a kind of error a name",
            [_TYPE, name, _BY],
        ),
        "merge": (
            lambda args: _merge(args),
            "two kinds of error are one from the next build on",
            [_TYPE, into, _BY],
        ),
        "mute": (
            lambda args: _say(args, "mute", "yes"),
            "nothing is made of the cases of this kind from the next build on",
            [_TYPE, _BY],
        ),
        "unmute": (
            lambda args: _say(args, "mute", "no"),
            "rows are made of them again",
            [_TYPE, _BY],
        ),
    }


def list_types(args: argparse.Namespace) -> int:
    store, recipe = store_and_name(args)
    made = _made(store, recipe)
    types = [{**made.get(one["signature"], {}), **one} for one in _types(store, recipe)]
    types = [_describe(one) for one in types]
    return show(args, types, _lines(types))


def _merge(args: argparse.Namespace) -> int:
    if args.into != args.type:
        store, recipe = store_and_name(args)
        _require(args.into, _known(store, recipe))
    return _say(args, "merge", args.into)


def _say(args: argparse.Namespace, act: str, value: str) -> int:
    from datetime import UTC, datetime

    from curation.error_types import add_changes

    store, recipe = store_and_name(args)
    _require(args.type, _known(store, recipe))
    said = {"act": act, "signature": args.type, "value": value, "by": args.by}
    said["at"] = datetime.now(UTC).isoformat()  # who changes his mind twice says something new
    delivery = add_changes(store, [("the command line", said)])
    if delivery.quarantined:
        raise ValueError(delivery.quarantined[0][1])
    print(delivery.line())
    return 0


def _types(store: Any, recipe: str) -> list[dict[str, Any]]:
    head = store.head(f"{recipe}/error_types")
    if head is None:
        raise LookupError(f"recipe {recipe!r} has no error types yet: run `winnow run` first")
    return head.table("rows").to_dicts()


def _made(store: Any, recipe: str) -> dict[str, dict[str, Any]]:
    """What became of each type in the newest build, where a language model wrote rows."""
    head = store.head(f"{recipe}/augmented_rows")
    if head is None or "types" not in head.tables:
        return {}
    told = ("calls", "proposed", "repeated", "made", "cause", "trigger", "rule")
    return {
        one["signature"]: {name: one[name] for name in told}
        | {"called": one["name"], "called_zh": one["name_zh"], "ended": one["stopped"]}
        for one in head.table("types").to_dicts()
    }


def _describe(one: dict[str, Any]) -> dict[str, Any]:
    """A type with the name that people gave it, else the one that a model gave, else its own."""
    from curation.error_types import readable_name

    called = {"name": one.pop("called", ""), "name_zh": one.pop("called_zh", "")}
    own = one["name"] == readable_name(one["signature"])
    one["stopped"] = one["stopped"] or one.pop("ended", "")
    one |= {k: v for k, v in called.items() if own and v}
    return {k: v for k, v in one.items() if k not in ("cases", "ended")}


def _known(store: Any, recipe: str) -> set[str]:
    """The types of the newest build, and those that were merged into others since."""
    from curation.error_types import INBOX, read_changes

    said = read_changes(INBOX.read(store))
    return {one["signature"] for one in _types(store, recipe)} | {*said["signature"]}


def _require(wanted: str, known: Iterable[str]) -> None:
    from curation.plugins import nearest

    known = sorted(known)
    if wanted not in known:
        raise LookupError(f"no error type is called {wanted!r}{nearest(wanted, known)}")


def _lines(types: Sequence[Mapping[str, Any]]) -> Lines:
    head = ["cases", "wanted", "made", "type", "name", "", ""]
    cells = [[number(t["n"]), number(t["quota"]), number(t["made"]) if "made" in t else "",
              t["signature"], cut(t["name_zh"], 30), cut(t["name"], 40), t["stopped"]]
             for t in types]  # fmt: skip
    yield from aligned([head, *cells], right=(0, 1, 2)) if cells else ()
    muted = sum(t["stopped"] == "muted" for t in types)
    yield f"{len(types):,} error types" + (f", {muted:,} muted" if muted else "")
