"""`winnow prompts …`: the prompts there are, and which of two serves better."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.cli_parts import (
    Argument,
    Command,
    add_command,
    existing_store,
    read_recipe,
    say_nothing,
    show,
)
from pipelines.cli_text import Lines, aligned, counts, number, section

PROMPT_EXAMPLES = {
    "prompts list": "winnow prompts list",
    "prompts show": "winnow prompts show v2 --language zh",
    "prompts compare": "winnow prompts compare v1 v2 --calls 3",
}
_WRITING = ("augment", "self_instruct", "distill", "reason", "translate")
_KINDS, _LANGUAGES = (*_WRITING, "answer", "name"), ("zh", "en")
_REASONS = 5

_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs, nothing cut"})
_KIND: Argument = (
    ("--kind",),
    {"default": "augment", "choices": _KINDS, "help": "what it asks for (default augment)"},
)
_LANGUAGE: Argument = (("--language",), {"default": "zh", "choices": _LANGUAGES, "help": "zh"})
_CALLS: Argument = (
    ("--calls",),
    {"type": int, "default": 3, "metavar": "N", "help": "most calls for rows by each (default 3)"},
)


def add_prompts(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of prompts to the command line."""
    group = commands.add_parser(
        "prompts", help="how language models are asked, and which of two ways serves better"
    ).add_subparsers(required=True, metavar="COMMAND")
    for name, said in _commands().items():
        example = PROMPT_EXAMPLES[f"prompts {name}"]
        add_command(group, name, said, example=example, common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    version: Argument = (("version",), {"help": "such as v2"})
    two: list[Argument] = [
        (("one",), {"help": "a version of ours, or a file"}),
        (("other",), {"help": "another one"}),
    ]
    tried = "rows by two prompts from the same bad cases, thrown away when they are counted"
    return {
        "list": (list_prompts, "the versions of each prompt", [_JSON]),
        "show": (show_prompt, "the words of a prompt", [version, _KIND, _LANGUAGE]),
        "compare": (compare_prompts, tried, [*two, _CALLS, _JSON]),
    }


def list_prompts(args: argparse.Namespace) -> int:
    from curation.augmenters._prompts import load_prompt, prompt_versions

    found = [
        {"kind": kind, "version": version, "language": language,
         "digest": load_prompt(kind, language, version).digest}
        for kind in _KINDS for version in prompt_versions(kind) for language in _LANGUAGES
    ]  # fmt: skip
    return show(args, found, aligned([[*one.values()] for one in found]))


def show_prompt(args: argparse.Namespace) -> int:
    from curation.augmenters._prompts import FOLDER, load_prompt

    load_prompt(args.kind, args.language, args.version)  # which says what is wrong with it
    path = FOLDER / f"{args.kind}_{args.language}.{args.version}.txt"
    print(path.read_text(encoding="utf-8"), end="")
    return 0


def compare_prompts(args: argparse.Namespace) -> int:
    """Ask by both prompts, with a ledger of their own: the same trial again costs nothing."""
    from dataclasses import replace

    from assets.augment import augment_inputs, gather_work
    from assets.stage import Job

    recipe, store = read_recipe(args), existing_store(args)
    if "prompt" not in _options(recipe):
        raise ValueError(f"the augmenter {recipe.augment.use!r} of this recipe asks by no prompt")
    inputs = augment_inputs(recipe)
    heads = [store.head(f"{recipe.name}/{name}") for name in inputs]
    if missing := [name for name, head in zip(inputs, heads, strict=True) if head is None]:
        raise LookupError(f"{missing[0]!r} has not been built yet: run `winnow run` first")
    work = gather_work(Job(recipe, store), *heads)
    if work.bad_cases.is_empty():
        return say_nothing("there is no bad case to write rows against")
    work = replace(work, cache=store.workdir("prompts"))
    trials = [_try(recipe, work, name, args.calls) for name in (args.one, args.other)]
    return show(args, trials, _say(trials))


def _try(recipe: Any, work: Any, name: str, calls: int) -> dict[str, Any]:
    """What rows by one prompt came to."""
    from curation.augmenters._prompts import prompt_versions

    prompt = name if name in prompt_versions("augment") else Path(name)
    options = {**recipe.augment.options, "prompt": prompt, "max_calls": calls}
    made = recipe.augment.factory(**options)(work)
    repeated = sum(one["repeated"] for one in made.types)
    proposed = sum(one["proposed"] for one in made.types)
    taken, cost = len(made.rows), made.usage.get("cost_usd", 0.0)
    reasons = Counter(said["reason"].partition("=")[0] for said in made.rejected)
    return {
        "prompt": name,
        "calls": made.usage.get("calls", 0),
        "proposed": proposed,
        "taken": taken,
        "yield": round(taken / proposed, 4) if proposed else None,
        "novelty": round(1 - repeated / proposed, 4) if proposed else None,
        "cost_usd": cost,
        "usd_per_row": cost / taken if taken else None,
        "completion_tokens": made.usage.get("completion_tokens", 0),
        "reasons": dict(reasons.most_common()),
    }


def _options(recipe: Any) -> set[str]:
    import inspect

    return {*inspect.signature(recipe.augment.factory).parameters}


def _say(trials: Sequence[dict[str, Any]]) -> Lines:
    head = [
        "prompt",
        "calls",
        "proposed",
        "taken",
        "yield",
        "novelty",
        "$",
        "$ a row",
        "tokens out",
    ]
    cells = [
        [t["prompt"], number(t["calls"]), number(t["proposed"]), number(t["taken"]),
         _share(t["yield"]), _share(t["novelty"]), f"{t['cost_usd']:.4f}",
         "–" if t["usd_per_row"] is None else f"{t['usd_per_row']:.5f}",
         number(t["completion_tokens"])]
        for t in trials
    ]  # fmt: skip
    yield from aligned([head, *cells], right=range(1, len(head)))
    most = [dict(list(t["reasons"].items())[:_REASONS]) for t in trials]
    told = [[t["prompt"], counts(some)] for t, some in zip(trials, most, strict=True)]
    yield from section("not taken", told)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
