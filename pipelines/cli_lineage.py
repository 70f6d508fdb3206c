"""`winnow lineage …`: twelve questions about models, rows and bad cases.

Exit codes: 0 answered, 1 nothing found or the answer is no, 2 the user's mistake.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipelines import cli_answers as answers
from pipelines import cli_cases as cases
from pipelines.cli_parts import (
    Argument,
    Command,
    add_command,
    read_recipe,
    say_nothing,
    show,
    store_and_name,
)
from pipelines.cli_text import cut

LINEAGE_EXAMPLES = {
    "model": "winnow lineage model v2",
    "rows": "winnow lineage rows v2 --where \"source = 'seeds' and perplexity > 0.5\"",
    "why": "winnow lineage why 打开空调",
    "diff": "winnow lineage diff v1 v2 --json",
    "trace": "winnow lineage trace 关掉主驾车窗",
    "who-used": "winnow lineage who-used seeds",
    "blame": "winnow lineage blame 关掉主驾车窗 --version v2",
    "leak": "winnow lineage leak v2",
    "reproduce": "winnow lineage reproduce v2 --check",
    "at": "winnow lineage at 2h",
    "card": "winnow lineage card v2 --to MODEL_CARD.md",
    "report": "winnow lineage report v2 --to report.html",
    "lineage export": "winnow lineage export v2 --openlineage events.ndjson",
}


def add_lineage(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the questions to the command line."""
    group = commands.add_parser("lineage", help="which rows made a model, and why").add_subparsers(
        required=True, metavar="QUESTION"
    )
    for name, (command, text, arguments) in _questions().items():
        example = LINEAGE_EXAMPLES.get(f"lineage {name}") or LINEAGE_EXAMPLES[name]
        said = command, text, [*arguments, _JSON]
        parser = add_command(group, name, said, example=example, common=common)
        if name == "export":
            _add_forms(parser.add_mutually_exclusive_group(required=True))


_JSON: Argument = (("--json",), {"action": "store_true", "help": "for programs"})
_VERSION: Argument = (
    ("version",),
    {"nargs": "?", "default": "latest", "help": "v2, an id, latest or champion"},
)
_OF: Argument = (("--version",), {"default": "", "help": "default: the latest"})
_LIMIT: Argument = (
    ("--limit",),
    {"type": int, "default": 10, "metavar": "N", "help": "lines to print (default 10)"},
)
_WHERE: Argument = (
    ("--where",),
    {"default": "", "metavar": "SQL", "help": "only rows that meet this condition"},
)
_PAIRS: Argument = (
    ("--pairs",),
    {"action": "store_true", "help": "the pairs it was preferred on instead"},
)


def _questions() -> dict[str, tuple[Command, str, list[Argument]]]:
    """Question -> its command, what it says, and its arguments."""
    case = _word("case", "its id or its prompt")
    check: Argument = (("--check",), {"action": "store_true", "help": "is all of it still there"})
    same: Argument = (
        ("--same-as",),
        {"type": Path, "metavar": "FILE", "help": "is it the one of this reproduce.json"},
    )
    return {
        "model": (show_model, "what a model version was made from", [_VERSION]),
        "rows": (
            show_rows,
            "the rows a version was trained on, or the pairs it was preferred on",
            [_VERSION, _WHERE, _PAIRS, _LIMIT],
        ),
        "why": (
            show_why,
            "why a row is or is not in a model: give its id or some of its text",
            [_word("row", "its id, position or some of its text"), _OF, _LIMIT],
        ),
        "diff": (
            show_diff,
            "what changed between two model versions, with causes",
            [_word("old", "a version"), _word("new", "another one"), _LIMIT],
        ),
        "trace": (show_trace, "a bad case from the inbox to the models", [case, _LIMIT]),
        "who-used": (
            show_users,
            "the model versions a row, a bad case, a source or a licence went into",
            [_word("what", "id or text of a row or bad case, a source or a licence"), _LIMIT],
        ),
        "blame": (
            show_blame,
            "the training rows most like a case that was answered wrong",
            [case, _OF, _LIMIT],
        ),
        "leak": (show_leaks, "whether a trained row gives an exam row away", [_VERSION]),
        "reproduce": (
            show_plan,
            "everything needed to make a version again",
            [_VERSION, check, same, _to("DIR", "write recipe, bad cases and a store there")],
        ),
        "at": (
            show_champion,
            "which version was the champion at a time",
            [_word("time", "ISO 8601, now, or an age such as 90m, 2h, 3d")],
        ),
        "card": (show_card, "the model card", [_VERSION, _to("FILE", "write it there")]),
        "report": (
            show_report,
            "its report for people, one HTML file",
            [_VERSION, _to("FILE", "write it there")],
        ),
        "export": (write_export, "upstream or rows for other tools", [_VERSION, _WHERE]),
    }


def _word(name: str, text: str) -> Argument:
    return (name,), {"help": text}


def _to(what: str, text: str) -> Argument:
    return ("--to",), {"type": Path, "metavar": what, "help": text}


def _add_forms(to: Any) -> None:
    to.add_argument("--openlineage", type=Path, metavar="FILE", help="run events, one a line")
    to.add_argument("--hf", type=Path, metavar="DIR", help="a dataset for load_dataset")
    to.add_argument("--llama-factory", type=Path, metavar="DIR", help="dataset_info.json and rows")


def show_model(args: argparse.Namespace) -> int:
    from curation.lineage import explain_model

    answer = explain_model(*store_and_name(args), args.version)
    return show(args, answer, answers.say_model(answer))


def show_rows(args: argparse.Namespace) -> int:
    from curation.lineage import training_ids, training_rows
    from curation.lineage.finding import one_line

    where = store_and_name(args)
    if args.pairs:
        return _show_pairs(args)
    if args.json:
        rows = training_rows(*where, args.version, where=args.where)
        sys.stdout.write(rows.write_ndjson())
        return 0 if rows.height else 1
    n = len(training_ids(*where, args.version, where=args.where))
    rows = training_rows(*where, args.version, where=args.where, limit=args.limit)
    for row in rows.to_dicts():
        print(f"{row['id'][:12]}  {row['track']:<7} {row['source']:<14} {one_line(row)}")
    print(f"{n:,} rows" + (f", {args.limit} shown" if n > args.limit else ""))
    return 0 if n else 1


def _show_pairs(args: argparse.Namespace) -> int:
    from curation.lineage import training_pairs

    if args.where:
        raise ValueError("--where chooses rows; --pairs shows pairs and has none")
    pairs = training_pairs(*store_and_name(args), args.version)
    if args.json:
        sys.stdout.write(pairs.write_ndjson())
        return 0 if pairs.height else 1
    for pair in pairs.head(args.limit).to_dicts():
        texts = " ⏎ ".join(cut(pair[name]) for name in ("prompt", "chosen", "rejected"))
        print(f"{pair['of'][:12]}  {pair['kind']:<9} {texts}")
    more = f", {args.limit} shown" if pairs.height > args.limit else ""
    print(f"{pairs.height:,} pairs{more}")
    return 0 if pairs.height else 1


def show_why(args: argparse.Namespace) -> int:
    from curation.lineage import explain_row

    found = explain_row(*store_and_name(args), args.row, name=args.version)
    if not found:
        return say_nothing(f"no row has this id or text: {args.row!r}")
    if args.json:
        return show(args, found, ())
    for answer in found[: args.limit]:
        print("\n".join(answers.say_row(answer)), end="\n\n")
    more = f", {args.limit} shown" if len(found) > args.limit else ""
    print(f"{len(found):,} {'row' if len(found) == 1 else 'rows'}{more}")
    return 0


def show_diff(args: argparse.Namespace) -> int:
    from curation.lineage import compare_models

    answer = compare_models(*store_and_name(args), args.old, args.new)
    return show(args, answer, answers.say_diff(answer, args.limit))


def show_trace(args: argparse.Namespace) -> int:
    from curation.lineage import trace_case

    answer = trace_case(*store_and_name(args), args.case)
    if answer is None:
        return say_nothing(f"no bad case has this id or prompt: {args.case!r}")
    return show(args, answer, cases.say_case(answer, args.limit))


def show_users(args: argparse.Namespace) -> int:
    from curation.lineage import find_users

    limit = None if args.json else args.limit
    answer = find_users(*store_and_name(args), args.what, limit=limit)
    if not answer["what"]:
        known = ", ".join(answer["sources"])
        return say_nothing(f"no row, source or licence is {args.what!r}; sources: {known}")
    show(args, answer, answers.say_users(answer, args.limit))
    return 0 if answer["versions"] or answer["measured_by"] else 1


def show_blame(args: argparse.Namespace) -> int:
    from curation.lineage import blame_case

    store, name = store_and_name(args)
    task = read_recipe(args).task
    answer = blame_case(
        store, name, args.case, task=task, name=args.version or "latest", limit=args.limit
    )
    if answer is None:
        return say_nothing(
            f"{args.version or 'latest'} was asked no case with this id or prompt: {args.case!r}"
        )
    return show(args, answer, cases.say_blame(answer))


def show_leaks(args: argparse.Namespace) -> int:
    from curation.lineage import find_model_leaks

    answer = find_model_leaks(*store_and_name(args), args.version, task=read_recipe(args).task)
    show(args, answer, cases.say_leaks(answer))
    return 1 if answer["leaks"] else 0


def show_plan(args: argparse.Namespace) -> int:
    from assets.graph import describe_steps
    from assets.stage import Job
    from curation.lineage import (
        check_reproduction,
        compare_reproduction,
        plan_reproduction,
        write_reproduction,
    )

    if args.check:
        job = Job(read_recipe(args), store_and_name(args)[0])
        steps = describe_steps(job)
        answer = check_reproduction(job.store, job.recipe.name, args.version, present=steps)
        show(args, answer, answers.say_check(answer))
        return 0 if answer["ok"] else 1
    if args.same_as:
        plan = json.loads(args.same_as.read_text(encoding="utf-8"))
        answer = compare_reproduction(*store_and_name(args), args.version, plan)
        show(args, answer, answers.say_comparison(answer))
        return 0 if answer["ok"] else 1
    if args.to:
        names = write_reproduction(*store_and_name(args), args.version, args.to)
        said = {"version": args.version, "to": str(args.to), "files": names}
        return show(args, said, [f"{', '.join(names)} written to {args.to}"])
    answer = plan_reproduction(*store_and_name(args), args.version)
    return show(args, answer, answers.say_plan(answer))


def show_champion(args: argparse.Namespace) -> int:
    from curation.lineage import find_champion_at

    answer = find_champion_at(*store_and_name(args), args.time)
    show(args, answer, answers.say_champion(answer))
    return 0 if answer["version"] else 1


def show_card(args: argparse.Namespace) -> int:
    from curation.export import write_whole
    from curation.lineage import write_card

    card = write_card(*store_and_name(args), args.version)
    if args.to:
        write_whole(args.to, card)
        said = {"version": args.version, "to": str(args.to)}
        return show(args, said, [f"the card of {args.version} written to {args.to}"])
    return show(args, {"version": args.version, "card": card}, [card.rstrip()])


def show_report(args: argparse.Namespace) -> int:
    from assets.train import run_curves
    from curation.export import write_whole
    from curation.lineage import write_report
    from curation.registry import find_version
    from training.curves import LANGS

    store, name = store_and_name(args)
    adapter = find_version(store, name, args.version).input("adapter")
    curves = {lang: run_curves(adapter, lang)[0] for lang in LANGS}
    page = write_report(store, name, args.version, curves=curves)
    if args.to:
        write_whole(args.to, page)
        said = {"version": args.version, "to": str(args.to)}
        return show(args, said, [f"the report of {args.version} written to {args.to}"])
    return show(args, {"version": args.version, "report": page}, [page.rstrip()])


def write_export(args: argparse.Namespace) -> int:
    from curation import lineage

    if args.openlineage:
        if args.where:
            raise ValueError("--where chooses rows; --openlineage describes steps and has none")
        n = lineage.write_openlineage(*store_and_name(args), args.version, args.openlineage)
        said: dict[str, Any] = {"events": n, "to": str(args.openlineage)}
        return show(args, said, [f"{n} events written to {args.openlineage}"])
    write = lineage.write_hf_dataset if args.hf else lineage.write_llama_factory
    to = args.hf or args.llama_factory
    said = {**write(*store_and_name(args), args.version, to, where=args.where), "to": str(to)}
    left = said.get("left_out", 0)
    more = f"; {left:,} left out, their turns do not alternate" if left else ""
    return show(args, said, [f"{said['rows']:,} rows written to {to}{more}"])
