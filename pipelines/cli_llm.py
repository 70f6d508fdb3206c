"""`winnow estimate` and `winnow scripted-llm`: what calls cost, and a server to try them on."""

import argparse
import inspect
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
    bounds = [_bound(recipe.augment)] if recipe.augment.takes_secret else []
    if not asking and not bounds:
        return say_nothing("nothing in this recipe asks a language model")
    found, cache = [], None
    if asking:
        store = existing_store(args)
        rows, cache = store.head(f"{recipe.name}/split_rows"), store.root
        if rows is None:
            return say_nothing("no rows yet: run `winnow run --select split_rows` first")
        for name, plug in asking.items():
            found.append((name, plug.make().estimate(rows.table("rows"), cache)))
    answer = [{"name": name, **asdict(one)} for name, one in found] + bounds
    return show(args, answer, _say(found, bounds))


def _bound(plug: Any) -> dict[str, Any]:
    """What an augmenter may ask at most: how long its prompts are shows only when it runs."""
    from curation.llm_money import find_prices

    parameters = inspect.signature(plug.factory).parameters.values()
    options = {p.name: p.default for p in parameters} | dict(plug.options)
    tokens = options["max_calls"] * options["max_tokens"]
    given = (options["usd_per_m_prompt"], options["usd_per_m_completion"])
    prices = find_prices(options["model"], *given)
    names = ("model", "budget_usd", "max_calls")
    said = {name: options[name] for name in names} | {"most_completion_tokens": tokens}
    most_usd = prices.cost_usd(0, tokens) if prices.known and any(given) else None
    return {"name": "augment", **said, "most_usd_to_write": most_usd}


def _say(found: list[tuple[str, Any]], bounds: list[dict[str, Any]]) -> Iterator[str]:
    for name, one in found:
        yield f"{name}: {one.line()}"
    for said in bounds:
        most, budget = said["most_usd_to_write"], said["budget_usd"]
        line = f"augment: {said['model']}: at most {said['max_calls']:,} new calls and "
        line += f"{said['most_completion_tokens']:,} tokens to write"
        line += f" (${most:,.2f})" if most is not None else ""
        yield line + (f", within ${budget:,.2f} in all" if budget is not None else "")


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
