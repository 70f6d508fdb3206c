"""The demo: two versions of the in-car model, the second taught by the bad cases of the first."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assets.recipe import Recipe
from assets.stage import Outcome
from curation.registry import say_verdict
from curation.store import Version
from pipelines.runs import Console, run_graph

ROUNDS = ("v1", "v2")
FATE_STEPS = ("duplicates", "split_rows", "kept_rows", "training_set")
GO_ON = [
    "Go on:",
    "  make ui                                          the graph, every asset, every run",
    "  .venv/bin/winnow lineage diff v1 v2              what changed between them, and why",
    "  .venv/bin/winnow check my_recipe.yaml            your own data: see README, Own data",
]

Rounds = Mapping[str, Mapping[str, Outcome]]
"""Round -> asset -> what running it came to."""


def run_demo(recipe: Recipe, *, store: Path | str) -> tuple[str, bool]:
    """Build version 1 without bad cases and version 2 from those of version 1.

    Returns the closing report and whether the second version was promoted. What a former demo has
    already computed is recalled.
    """
    started = time.monotonic()
    rounds: dict[str, dict[str, Outcome]] = {}
    found_by = "none"
    for name in ROUNDS:
        console = Console(title=f"{name} ", started=started)
        rounds[name] = run_graph(
            recipe, store=store, console=console, options={"bad_cases": {"found_by": found_by}}
        )
        found_by = rounds[name]["model_version"].version.values["id"]
    report = demo_report(rounds, seconds=time.monotonic() - started)
    return report, rounds["v2"]["model_version"].version.values["promoted"]


def demo_report(rounds: Rounds, *, seconds: float) -> str:
    """What the two rounds came to, as text."""
    parts = [
        _metrics_lines(rounds),
        _bad_case_lines(rounds),
        _row_lines(rounds),
        _time_lines(rounds, seconds),
        GO_ON,
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _metrics_lines(rounds: Rounds) -> list[str]:
    first, second = (_values(rounds, name, "evaluation") for name in ROUNDS)
    arms = {
        "base": first["metrics"]["base"],
        "base + few-shot": first["metrics"]["few_shot"],
        "v1": first["metrics"]["candidate"],
        "v2": second["metrics"]["candidate"],
    }
    names = list(arms["v1"])
    rows = [["", *names]]
    for arm, numbers in arms.items():
        cells = ("–" if numbers[n] is None else f"{numbers[n]:.3f}" for n in names)
        rows.append([arm, *cells])
    verdicts = [_verdict_line(name, rounds[name]["model_version"].version) for name in ROUNDS]
    return [f"Frozen test set, {second['n_cases']} utterances", *_aligned(rows), *verdicts]


def _verdict_line(name: str, version: Version) -> str:
    if version.values["promoted"]:
        return f"{name}: promoted by the gate"
    reasons = "; ".join(version.values["verdict"]["reasons"])
    return f"{name}: {say_verdict(version.values)}, {reasons}"


def _bad_case_lines(rounds: Rounds) -> list[str]:
    halves = _values(rounds, "v2", "bad_cases")["halves"]
    held = _values(rounds, "v2", "evaluation")["held_back"]
    made, types = (_rows(rounds, "v2", name) for name in ("augmented_rows", "error_types"))
    return [
        f"Bad cases of v1 on held-out traffic: {sum(halves.values())} found "
        f"({halves.get('learn', 0)} to learn from, {halves.get('hold', 0)} held back)",
        f"  {types} error types, {made:,} rows made from seeds and from those to learn from",
        f"  held half, never trained on: v2 fixed {held['fixed']} of {held['n']}",
    ]


def _row_lines(rounds: Rounds) -> list[str]:
    counts = [_fates(rounds, name) for name in ROUNDS]
    names = dict.fromkeys(name for count in counts for name in count)
    return _aligned(
        [["rows", *ROUNDS], *([n, *(f"{c.get(n, 0):,}" for c in counts)] for n in names)]
    )


def _fates(rounds: Rounds, name: str) -> dict[str, int]:
    """From delivered records to trained rows: what came in, and where the others went."""
    merged = _values(rounds, name, "rows")["fates"]
    read = [_values(rounds, name, step)["fates"] for step in rounds[name] if "sources/" in step]
    found = {"delivered": sum(n for fates in read for n in fates.values())}
    found["made by augmentation"] = _rows(rounds, name, "augmented_rows")
    for fates in (*read, merged):
        for fate, n in fates.items():
            if fate != "new":
                found[fate] = found.get(fate, 0) + n
    splits = _values(rounds, name, "rows")["splits"]
    found |= {f"for {split} only": n for split, n in splits.items() if split != "train"}
    for step in FATE_STEPS:
        for fate, n in _values(rounds, name, step)["fates"].items():
            if fate != "kept":
                found[fate] = found.get(fate, 0) + n
    return {**found, "kept and trained on": _values(rounds, name, "training_set")["fates"]["kept"]}


def _time_lines(rounds: Rounds, seconds: float) -> list[str]:
    every = [outcome for outcomes in rounds.values() for outcome in outcomes.values()]
    computed = [outcome for outcome in every if not outcome.recalled]
    slow = [n for n in rounds["v2"] if any(_shown(rounds[r][n]) for r in ROUNDS)]
    rows = [["seconds", *ROUNDS]]
    for name in sorted(slow, key=lambda n: -sum(rounds[r][n].seconds for r in ROUNDS)):
        rows.append([name, *(_time(rounds[r][name]) for r in ROUNDS)])
    closing = (
        f"{len(computed)} steps computed, {len(every) - len(computed)} unchanged and not computed "
        f"again, {seconds:.0f} s in all"
    )
    return [*(_aligned(rows) if slow else []), closing]


def _shown(outcome: Outcome) -> bool:
    return not outcome.recalled and outcome.seconds >= 0.5


def _time(outcome: Outcome) -> str:
    return "unchanged" if outcome.recalled else f"{outcome.seconds:.1f}"


def _values(rounds: Rounds, name: str, step: str) -> dict[str, Any]:
    return rounds[name][step].version.values


def _rows(rounds: Rounds, name: str, step: str) -> int:
    return rounds[name][step].version.tables["rows"]["rows"]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(["", first.ljust(widths[0]), *cells]).rstrip())
    return lines
