"""The gate: a pure function from measured values to a verdict, in the recipe's own rules.

Until a version has been promoted, the base model shown a few examples is the champion to beat: a
fine-tuned model that loses to a prompt is no progress.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import polars as pl

from curation.rules import judge_values
from curation.tasks._base import Task

ENOUGH = 200
"""Paired cases below which a few points say nothing (400 see +5 points 86 % of the time)."""


@dataclass(frozen=True)
class Verdict:
    """Promoted or rejected, with each rule, whether it held, and the numbers it was judged on."""

    promote: bool
    rules: tuple[tuple[str, bool, str], ...]
    note: str = ""

    def line(self) -> str:
        """One line for people: the first broken rule, or that none was."""
        broken = [f"{rule} is not met ({detail})" for rule, ok, detail in self.rules if not ok]
        return "promoted" if self.promote else "rejected: " + "; ".join(broken)

    def to_dict(self) -> dict:
        """The verdict as plain values."""
        return asdict(self)


def gate_values(
    metrics: Mapping[str, Mapping[str, float | None]], *, leaks: int, n_cases: int
) -> dict[str, float | None]:
    """What gate rules may speak of: `exact_match` is the candidate's.

    `champion_exact_match`, `base_exact_match` and `few_shot_exact_match` are the others'. `metrics`
    maps arm to metric to value. Without a champion its place is taken by `few_shot`.
    """
    arms = {"champion": metrics.get("champion") or metrics.get("few_shot") or {}}
    arms |= {arm: metrics[arm] for arm in ("base", "few_shot") if arm in metrics}
    values: dict[str, float | None] = dict(metrics["candidate"])
    for arm, numbers in arms.items():
        values |= {f"{arm}_{name}": value for name, value in numbers.items()}
    return {**values, "leaks": leaks, "n_cases": n_cases}


def judge_candidate(rules: Iterable[str], values: Mapping[str, float | None]) -> Verdict:
    """The verdict on a candidate: promoted when every rule holds; a missing value breaks a rule."""
    judged = tuple(judge_values(list(rules), values))
    few = values.get("n_cases") or 0
    note = f"only {few} test cases: a few points say nothing" if few < ENOUGH else ""
    return Verdict(all(ok for _, ok, _ in judged), judged, note)


def mark_cases(cases: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The task cases with `exact`, whether the answer equals gold by the task's canonical form, and
    `signature`, the kind of error when it does not."""
    task_cases = cases.filter(pl.col("kind") == "task")
    pairs = list(task_cases.select("gold", "predicted").iter_rows())
    exact = [task.canonical(gold) == task.canonical(predicted) for gold, predicted in pairs]
    signs = [
        "" if right else task.signature(gold, predicted)
        for right, (gold, predicted) in zip(exact, pairs, strict=True)
    ]
    return task_cases.with_columns(
        exact=pl.Series(exact, dtype=pl.Boolean), signature=pl.Series(signs, dtype=pl.String)
    )


def count_fixed(marked: pl.DataFrame, ids: pl.Series) -> dict[str, int]:
    """Of the rows with these ids, how many the candidate was asked, and how many it got right."""
    asked = marked.filter((pl.col("arm") == "candidate") & pl.col("id").is_in(ids.implode()))
    return {"n": asked.height, "fixed": int(asked["exact"].sum())}


def compare_arms(
    marked: pl.DataFrame, *, split: str, old: str = "champion", new: str = "candidate"
) -> dict[str, int]:
    """On rows both arms answered: how many the old one failed, the new one fixed and broke."""
    sides = {
        arm: marked.filter((pl.col("arm") == arm) & (pl.col("split") == split)).select(
            "id", pl.col("exact").alias(arm)
        )
        for arm in (old, new)
    }
    both = sides[old].join(sides[new], on="id")
    return {
        "n": both.height,
        "failed": both.filter(~pl.col(old)).height,
        "fixed": both.filter(~pl.col(old) & pl.col(new)).height,
        "broken": both.filter(pl.col(old) & ~pl.col(new)).height,
    }
