"""`winnow models`, `promote`, `rollback`, `compare`: which versions there are, which one is in use,
and how they stand against each other."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.cli_parts import Argument, Command, add_command, read_recipe, show, store_and_name
from pipelines.cli_text import Lines, aligned, field, number, section

MODEL_EXAMPLES = {
    "models": "winnow models",
    "promote": "winnow promote v3 --reason 'checked by hand: the new phrases are right'",
    "rollback": "winnow rollback --reason 'too many refusals since Monday'",
    "compare": "winnow compare v1 v2",
}
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_REASON: Argument = (("--reason",), {"default": "", "metavar": "TEXT", "help": "why, in words"})
_BY: Argument = (("--by",), {"default": "", "metavar": "NAME", "help": "who says so"})
_NAME: Argument = (("version",), {"help": "v2, an id, or latest"})
_NAMES: Argument = (
    ("versions",),
    {
        "nargs": "*",
        "metavar": "VERSION",
        "help": "the last is held against the others",
    },
)
_BASES: Argument = (
    ("--base",),
    {
        "action": "append",
        "default": [],
        "metavar": "MODEL",
        "help": "a folder or hub id; may repeat",
    },
)


def add_models(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of model versions to the command line."""
    for name, said in _commands().items():
        add_command(commands, name, said, example=MODEL_EXAMPLES[name], common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    bases = "versions, or base models, beside one another on the frozen test set"
    return {
        "models": (show_models, "every model version, and which one is in use", [_JSON]),
        "promote": (promote_model, "bring a version into use, once it was looked at",
                    [_NAME, _REASON, _BY]),
        "rollback": (roll_back_model, "go back to the version that was in use before",
                     [_REASON, _BY]),
        "compare": (compare_models, bases, [_NAMES, _BASES, _JSON]),
    }  # fmt: skip


def show_models(args: argparse.Namespace) -> int:
    from curation.release import list_models

    return show(args, models := list_models(*store_and_name(args)), _say_models(models))


def promote_model(args: argparse.Namespace) -> int:
    from curation.release import promote

    store, recipe = store_and_name(args)
    said = promote(store, recipe, args.version, by=args.by, reason=args.reason)
    print(f"v{said.number} is in use now" if said else f"{args.version} is in use already")
    return 0


def roll_back_model(args: argparse.Namespace) -> int:
    from curation.release import roll_back

    said = roll_back(*store_and_name(args), by=args.by, reason=args.reason)
    print(f"v{said.number} is in use again")
    return 0


def compare_models(args: argparse.Namespace) -> int:
    from assets.compare import compare_bases, compare_versions

    if bool(args.base) == bool(args.versions):
        raise ValueError("name versions (`winnow compare v1 v2`) or base models (`--base MODEL`)")
    recipe = read_recipe(args)
    store, _ = store_and_name(args)
    if args.base:
        answer = compare_bases(store, recipe, args.base, report=_report)
    else:
        answer = compare_versions(store, recipe, args.versions)
    return show(args, answer, _say_comparison(answer))


def _say_models(models: Sequence[Mapping[str, Any]]) -> Lines:
    if not models:
        yield "no model version yet: run `winnow run`"
        return
    names = [*models[-1]["metrics"]]
    rows = [["", "", "gate", *names, "last"]]
    for model in models:
        numbers = (number(model["metrics"].get(name)) for name in names)
        used = "in use" if model["champion"] else ""
        rows.append([f"v{model['number']}", used, model["verdict"], *numbers, _last(model["last"])])
    yield from aligned(rows, right=range(3, 3 + len(names)))
    for model in models:
        if model["verdict"] == "needs people":
            yield from section(f"v{model['number']} needs people", [[r] for r in model["reasons"]])


def _last(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["at"]))
    return f"{at} {entry['action']} by {entry['by']}" + (
        f": {entry['reason']}" if entry["reason"] else ""
    )


def _say_comparison(answer: Mapping[str, Any]) -> Lines:
    yield field("cases", f"{answer['n_cases']:,} of the frozen test set")
    for part, metrics in {"": answer["metrics"], **answer["parts"]}.items():
        names = [*next(iter(metrics.values()))]
        rows = [[arm, *(number(said[n]) for n in names)] for arm, said in metrics.items()]
        yield from aligned([[part, *names], *rows], right=range(1, len(names) + 1))
    costs = [
        [arm, f"{said['n_params']:,} parameters", f"{said['tokens_per_s']:,.0f} tokens/s",
         f"{said['tokens_per_answer']:.1f} tokens an answer"]
        for arm, said in answer.get("speed", {}).items()
    ]  # fmt: skip
    yield from section("what answers cost", costs)
    yield from section(
        f"{answer['new']} against the others, by {answer['main']}",
        [[arm, said["verdict"], said["line"]] for arm, said in answer["against"].items()],
    )
    for arm, said in answer["against"].items():
        worse = [[s["label"], s["value"], f"{s['old']:.3f} -> {s['new']:.3f}", f"of {s['n']}"]
                 for s in said["slices"] if s["worse"]]  # fmt: skip
        yield from section(f"clearly worse than {arm} where", worse)
    yield from answer["notes"]


def _report(line: str) -> None:
    print(line, file=sys.stderr)
