"""The demo: two versions of the in-car model, the second taught by the bad cases of the first."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assets.recipe import Recipe
from assets.stage import Outcome
from curation.store import Version
from pipelines.runs import Console, run_graph

ROUNDS = ("v1", "v2")
FATE_STEPS = ("duplicates", "split_rows", "kept_rows", "training_set")


def run_demo(recipe: Recipe, *, store: Path) -> tuple[str, bool]:
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


def demo_report(rounds: Mapping[str, Mapping[str, Outcome]], *, seconds: float) -> str:
    """What the two rounds came to, as text."""
    parts = [
        _metrics_lines(rounds),
        _bad_case_lines(rounds),
        _row_lines(rounds),
        _time_lines(rounds, seconds),
        [
            "Go on:",
            "  make ui                                             the graph, every asset, every run",
            "  .venv/bin/winnow lineage diff v1 v2                 what changed, and why",
            "  .venv/bin/winnow run --recipe my_recipe.yaml        your own data (see README, Own data)",
        ],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _metrics_lines(rounds: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    first, second = (_values(rounds, name, "evaluation")["metrics"] for name in ROUNDS)
    arms = {
        "base": first["base"],
        "base + few-shot": first["few_shot"],
        "v1": first["candidate"],
        "v2": second["candidate"],
    }
    names = list(first["candidate"])
    rows = [["", *names]]
    rows += [
        [arm, *("–" if values[n] is None else f"{values[n]:.3f}" for n in names)]
        for arm, values in arms.items()
    ]
    n_cases = _values(rounds, "v2", "evaluation")["n_cases"]
    verdicts = [_verdict_line(name, rounds[name]["model_version"].version) for name in ROUNDS]
    return [f"Frozen test set, {n_cases} utterances", *_aligned(rows), *verdicts]


def _verdict_line(name: str, version: Version) -> str:
    verdict = version.values["verdict"]
    broken = [f"{rule} ({detail})" for rule, ok, detail in verdict["rules"] if not ok]
    return (
        f"{name}: promoted by the gate"
        if version.values["promoted"]
        else f"{name}: rejected, {'; '.join(broken)}"
    )


def _bad_case_lines(rounds: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    halves = _values(rounds, "v2", "bad_cases")["halves"]
    held = _values(rounds, "v2", "evaluation")["held_back"]
    made = rounds["v2"]["augmented_rows"].version.tables["rows"]["rows"]
    types = rounds["v2"]["error_types"].version.tables["rows"]["rows"]
    return [
        f"Bad cases of v1 on held-out traffic: {sum(halves.values())} found "
        f"({halves.get('learn', 0)} to learn from, {halves.get('hold', 0)} held back)",
        f"  {types} error types, {made:,} rows made from those to learn from",
        f"  held half: v1 failed {held['failed']} of {held['n']}, v2 fixed {held['fixed']} and broke {held['broken']}",
    ]


def _row_lines(rounds: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    rows = [["rows", "v1", "v2"]]
    delivered = [sum(_values(rounds, name, "rows")["fates"].values()) for name in ROUNDS]
    rows.append(["delivered records", *(f"{n:,}" for n in delivered)])
    counts = [_fates(rounds, name) for name in ROUNDS]
    for fate in dict.fromkeys([*counts[0], *counts[1]]):
        rows.append([fate, *(f"{count.get(fate, 0):,}" for count in counts)])
    return _aligned(rows)


def _fates(rounds: Mapping[str, Mapping[str, Outcome]], name: str) -> dict[str, int]:
    """Final counts: what ingest refused, what each step removed, what is trained on."""
    found = {f: n for f, n in _values(rounds, name, "rows")["fates"].items() if f != "new"}
    found["made by augmentation"] = rounds[name]["augmented_rows"].version.tables["rows"]["rows"]
    for step in FATE_STEPS:
        fates = _values(rounds, name, step)["fates"]
        found |= {f: found.get(f, 0) + n for f, n in fates.items() if f != "kept"}
    return {**found, "kept": _values(rounds, name, "training_set")["fates"]["kept"]}


def _time_lines(rounds: Mapping[str, Mapping[str, Outcome]], seconds: float) -> list[str]:
    names = [
        n
        for n in rounds["v2"]
        if any(rounds[r][n].seconds >= 0.5 or not rounds[r][n].recalled for r in ROUNDS)
    ]
    rows = [["seconds", *ROUNDS]]
    shown = sorted(names, key=lambda n: -sum(rounds[r][n].seconds for r in ROUNDS))
    rows += [
        [n, *(_time(rounds[r][n]) for r in ROUNDS)] for n in shown if _worth_showing(rounds, n)
    ]
    recalled = sum(o.recalled for r in ROUNDS for o in rounds[r].values())
    total = sum(len(rounds[r]) for r in ROUNDS)
    closing = f"{total - recalled} steps computed, {recalled} unchanged and not computed again, {seconds:.0f} s in all"
    return [*_aligned(rows), closing] if len(rows) > 1 else [closing]


def _worth_showing(rounds: Mapping[str, Mapping[str, Outcome]], name: str) -> bool:
    return any(rounds[r][name].seconds >= 0.5 and not rounds[r][name].recalled for r in ROUNDS)


def _time(outcome: Outcome) -> str:
    return "unchanged" if outcome.recalled else f"{outcome.seconds:.1f}"


def _values(rounds: Mapping[str, Mapping[str, Outcome]], name: str, step: str) -> dict[str, Any]:
    return rounds[name][step].version.values


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
