"""`winnow review --blind|--rate`, `winnow reviews blind|ratings`: people judge models' answers."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from curation.markdown import plain, table
from pipelines.cli_parts import Argument, existing_store, read_recipe, show
from pipelines.cli_text import Lines, aligned, cut, field, number, section

JUDGING_EXAMPLES = {
    "reviews blind": "winnow reviews blind v1 v2",
    "reviews ratings": "winnow reviews ratings v2 v3",
}
TWO: Argument = (("versions",), {"nargs": 2, "metavar": "VERSION", "help": "the old and the new"})
SOME: Argument = (("versions",), {"nargs": "+", "metavar": "VERSION", "help": "v2, an id, latest"})
MARKDOWN: Argument = (("--markdown",), {"action": "store_true", "help": "for a report"})
VERDICTS = {"better": "better than", "worse": "worse than", "unclear": "not told apart from"}
_SHOWN_COMMENTS = 10


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add what `winnow review` may be told about the answers of models."""
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--blind",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="choose the better of two versions' answers",
    )
    kinds.add_argument(
        "--rate", metavar="VERSION", help="rate the answers of a version from 1 to 5"
    )
    parser.add_argument(
        "--cases", type=int, default=100, metavar="N", help="answers to judge (default 100)"
    )
    parser.add_argument(
        "--judges", type=int, default=1, metavar="N", help="so many people judge each (default 1)"
    )
    parser.add_argument("--show-gold", action="store_true", help="show the expected answer too")


def open_judging(args: argparse.Namespace, store: Any, recipe: Any) -> Any:
    """The desk for what the arguments ask."""
    from assets.human import ask_marks, ask_which, dimensions_of
    from curation.judging_desk import JudgingDesk

    if args.cases < 1:
        raise ValueError(f"--cases is {args.cases}; at least 1 is needed")
    how = {"n": args.cases, "seed": args.seed, "show_gold": args.show_gold}
    if args.blind:
        questions = ask_which(store, recipe, args.blind, **how)
        return JudgingDesk(store, questions, judges=args.judges)
    questions = ask_marks(store, recipe, args.rate, **how)
    return JudgingDesk(store, questions, judges=args.judges, dimensions=dimensions_of(recipe))


def show_blind(args: argparse.Namespace) -> int:
    from assets.human import report_choices

    told = report_choices(existing_store(args), read_recipe(args), args.versions)
    return show(args, told, _blind_markdown(told) if args.markdown else _say_blind(told))


def show_ratings(args: argparse.Namespace) -> int:
    from assets.human import report_marks

    told = report_marks(existing_store(args), read_recipe(args), args.versions)
    return show(args, told, _ratings_markdown(told) if args.markdown else _say_ratings(told))


def _say_blind(told: Mapping[str, Any]) -> Lines:
    yield from aligned(_blind_lines(told))
    slices = _slices(told)
    head = ["", "", "judged", "won", "tied", "lost", ""]
    yield from section("by part", [head, *slices] if slices else [], right=range(2, 6))


def _blind_markdown(told: Mapping[str, Any]) -> Lines:
    yield f"## {told['new']} against {told['old']}, judged by people"
    yield ""
    yield table(["", ""], [[plain(label), plain(value)] for label, value in _blind_lines(told)])
    if slices := [[*map(plain, line)] for line in _slices(told)]:
        yield ""
        yield table(["label", "value", "judged", "won", "tied", "lost", ""], slices)


def _blind_lines(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the report says before its slices, as labels and words."""
    n, judged = told["won"] + told["tied"] + told["lost"], told["judged"]
    lines = [
        ("cases", f"{told['cases']:,}, of which {told['same']:,} have the same answer: a tie"),
        ("judged", f"{n:,} of the {told['differ']:,} others, {told['judgements']:,} times"),
    ]
    if judged is None:
        return [*lines, ("verdict", f"nobody judged {told['new']} against {told['old']} yet")]
    agreement, position, metric = (told[name] for name in ("agreement", "position", "metric"))
    low, high = ((1 + judged[name]) / 2 for name in ("low", "high"))
    gain, least, most = told["of_all"]
    return [
        *lines,
        ("verdict", f"{told['new']} is {VERDICTS[judged['verdict']]} {told['old']}"),
        (told["new"], f"won {told['won']:,}, tied {told['tied']:,}, lost {told['lost']:,}; "
         f"it wins {judged['new']:.1%} ({low:.1%} to {high:.1%}), p {judged['p']:.2g}"),
        ("of all", f"{gain:+.1%} ({least:+.1%} to {most:+.1%}) among the {told['cases']:,} cases"),
        ("power", _power(judged)),
        ("ties", f"both good {told['both_good']:,} times, both bad {told['both_bad']:,}"),
        ("sides", f"A was chosen {position['left']:,} times, B {position['right']:,}, "
         f"p {position['p']:.2g}"),
        ("agreement", f"alpha {number(agreement['krippendorff'])}, kappa "
         f"{number(agreement['fleiss'])} on {agreement['rows']:,} cases of two or more judges"),
        *((" and ".join(pair["reviewers"]), f"agreed on {pair['agreed']:,} of {pair['rows']:,}, "
           f"kappa {number(pair['cohen'])}") for pair in agreement["pairs"]),
        (told["main"], f"prefers the same {metric['agreed']:,} times, the other one "
         f"{metric['contradicted']:,}; only people prefer one {metric['only_people']:,} times, "
         f"only it {metric['only_metric']:,}"),
    ]  # fmt: skip


def _power(judged: Mapping[str, Any]) -> str:
    if judged["detectable"] is None:
        return f"{judged['n']:,} judged cases are too few to show anything"
    gain = judged["detectable"]
    return f"{judged['n']:,} judged cases show a gain of {gain:+.1%} among them four times of five"


def _slices(told: Mapping[str, Any]) -> list[list[str]]:
    return [
        [one["label"], one["value"], *(f"{one[name]:,}" for name in ("n", "won", "tied", "lost")),
         "clearly worse" if one["worse"] else ""]
        for one in told["slices"]
    ]  # fmt: skip


def _say_ratings(told: Mapping[str, Any]) -> Lines:
    for version, rated in told.items():
        yield field(version, _rated(rated))
    yield from aligned(_marks(told), right=range(2, 10))
    for version, rated in told.items():
        lines = [[c["by"], cut(c["prompt"], 40), cut(c["comment"], 100)] for c in rated["comments"]]
        yield from section(f"said of {version}", lines[:_SHOWN_COMMENTS])
        if len(lines) > _SHOWN_COMMENTS:
            yield f"and {len(lines) - _SHOWN_COMMENTS:,} more: --json"


def _ratings_markdown(told: Mapping[str, Any]) -> Lines:
    yield "## Rated by people"
    for version, rated in told.items():
        yield f"\n{version}: {_rated(rated)}"
    head, *lines = _marks(told)
    yield "\n" + table(head, [[*map(plain, line)] for line in lines])


def _rated(rated: Mapping[str, Any]) -> str:
    return (
        f"{rated['rated']:,} of {rated['cases']:,} answers rated by {rated['reviewers']:,} people"
    )


def _marks(told: Mapping[str, Any]) -> list[list[str]]:
    """A line for each dimension and version, under a head."""
    head = ["", "", "answers", "mean", "95 %", *"12345", "alpha"]
    names: Sequence[str] = [*{d["dimension"]: 0 for r in told.values() for d in r["dimensions"]}]
    found = {(d["dimension"], v): d for v, r in told.items() for d in r["dimensions"]}
    lines = [
        [name, version, f"{one['n']:,}", f"{one['mean']:.2f}",
         f"{one['low']:.2f} to {one['high']:.2f}", *(f"{n:,}" for n in one["counts"]),
         number(one["alpha"])]
        for name in names for version in told if (one := found.get((name, version)))
    ]  # fmt: skip
    return [head, *lines]
