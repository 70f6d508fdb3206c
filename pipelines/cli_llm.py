"""`winnow estimate` and `winnow scripted-llm`: what calls cost, and a server to try them on."""

import argparse
import signal
from collections.abc import Iterator
from dataclasses import asdict
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

LLM_EXAMPLES = {
    "estimate": "winnow estimate my_recipe.yaml",
    "scripted-llm": "winnow scripted-llm answers.jsonl --port 8099 --requests-per-s 5",
}

_RECIPE: Argument = (("file",), {"nargs": "?", "help": "the recipe"})
_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs"})
_SCRIPT: Argument = (
    ("answers",),
    {"type": Path, "help": "a .jsonl file of {answer}, {contains, answer} and {failure}"},
)
_PORT: Argument = (("--port",), {"type": int, "default": 0, "help": "a free one unless given"})
_LATENCY: Argument = (("--latency-s",), {"type": float, "default": 0.0, "help": "of an answer"})
_LIMIT: Argument = (
    ("--requests-per-s",),
    {"type": float, "help": "refuse what comes faster, with Retry-After"},
)


_FOR = {
    "rows": "rows",
    "name": "names of kinds of errors",
    "vote": "votes",
    "judge": "grades of the judge",
}
"""What a call of an augmenter is for, by its kind."""
_ENDS = (signal.SIGINT, signal.SIGTERM)


def add_llm(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands to the command line."""
    for name, said in _commands().items():
        add_command(commands, name, said, example=LLM_EXAMPLES[name], common=common)


def _commands() -> dict[str, tuple[Command, str, list[Argument]]]:
    cost = "calls, tokens and money that a build would ask of language models; nothing is asked"
    serve = "an OpenAI-compatible server on this machine that answers by a script, to try recipes"
    return {
        "estimate": (estimate, cost, [_RECIPE, _JSON]),
        "scripted-llm": (serve_script, serve, [_SCRIPT, _PORT, _LATENCY, _LIMIT]),
    }


def estimate(args: argparse.Namespace) -> int:
    args.recipe = args.file or args.recipe
    recipe = read_recipe(args)
    asking = {name: plug for name, plug in recipe.scorers.items() if plug.takes_secret}
    augmenter = recipe.augment if recipe.augment.takes_secret else None
    if not asking and not augmenter:
        return say_nothing("nothing in this recipe asks a language model")
    named = bool(augmenter and augmenter.options.get("name_types"))
    store: Any = existing_store(args) if asking or named else None
    needed = {"split_rows": bool(asking), "error_types": named}
    heads = {n: store.head(f"{recipe.name}/{n}") for n, need in needed.items() if need}
    for step, head in heads.items():
        if head is None:
            return say_nothing(f"no rows yet: run `winnow run --select {step}` first")
    found = [
        (name, plug.make().estimate(heads["split_rows"].table("rows"), store.root))
        for name, plug in asking.items()
    ]
    types = heads["error_types"].table("rows") if named else None
    bounds = [_bound(augmenter, types)] if augmenter else []
    answer = [{"name": name, **asdict(one)} for name, one in found] + bounds
    return show(args, answer, _say(found, bounds))


def _bound(plug: Any, types: Any) -> dict[str, Any]:
    """What an augmenter may ask at most: how long its prompts are shows only when it runs.

    `types` are the error types that it is to name, None for none.
    """
    from curation.augmenters._llm_bound import augmenter_options, most_asked

    options = augmenter_options(plug.factory, plug.options)
    wanted = 0 if types is None else int((types["quota"] > 0).sum())
    parts = most_asked(plug.factory, plug.options, error_types=wanted)
    usd = [part.usd_to_write for part in parts if part.usd_to_write is not None]
    return {
        "name": "augment",
        **{name: options[name] for name in ("model", "budget_usd", "max_calls")},
        "max_answers": options["calls"].max_answers,
        "most_calls": sum(part.calls for part in parts),
        "most_completion_tokens": sum(part.completion_tokens for part in parts),
        "most_usd_to_write": sum(usd) if len(usd) == len(parts) else None,
        "parts": [asdict(part) for part in parts],
    }


def _say(found: list[tuple[str, Any]], bounds: list[dict[str, Any]]) -> Iterator[str]:
    for name, one in found:
        yield f"{name}: {one.line()}"
    for said in bounds:
        usd, budget = said["most_usd_to_write"], said["budget_usd"]
        line = f"augment: {said['model']}: at most {said['most_calls']:,} new calls and "
        line += f"{said['most_completion_tokens']:,} tokens to write"
        line += f" (${usd:,.2f}, and what their prompts cost)" if usd is not None else ""
        yield line + (f", within ${budget:,.2f} in all" if budget is not None else "")
        yield from _say_parts(said)


def _say_parts(said: dict[str, Any]) -> Iterator[str]:
    """What the calls of an augmenter are for, and what the bound takes for granted."""
    for part in said["parts"] if len(said["parts"]) > 1 else ():
        yield f"  {_FOR[part['kind']]}: {part['calls']:,} calls of {part['model']}"
    if {"vote", "judge"} & {part["kind"] for part in said["parts"]}:
        yield "  as if each call wrote all rows it is asked for, and each row got to the last check"
    if said["max_answers"] > 1:
        most = f"{said['max_answers']} times"
        yield f"  but for answers that nobody can read, which are asked for at most {most}"


def serve_script(args: argparse.Namespace) -> int:
    from curation.scripted_answers import read_script
    from curation.scripted_llm import ScriptedLLM

    if not args.answers.is_file():
        raise FileNotFoundError(f"there is no file {str(args.answers)!r}")
    respond, failures = read_script(args.answers)
    limits = {"latency_s": args.latency_s, "requests_per_s": args.requests_per_s}
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # before the server has threads to take them
    with ScriptedLLM(respond, failures=failures, port=args.port, **limits) as server:
        print(f"base_url: {server.base_url}", flush=True)
        signal.sigwait(_ENDS)
        print(f"{server.count:,} requests, {server.limited:,} refused by the limit")
    return 0
