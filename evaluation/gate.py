"""The gate: a pure function from measured values to a verdict, in the recipe's own rules.

Rules say what a candidate must reach. Beside them it is held against the champion case by case: a
rule on two shares cannot tell a gain from chance, nor see what got worse in one part of the cases.

Until a version has been promoted, the base model shown a few examples is the champion to beat: a
fine-tuned model that loses to a prompt is no progress.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from curation.rules import judge_values
from curation.tasks._base import Task, sign_error
from evaluation.paired import ENOUGH, Comparison


@dataclass(frozen=True)
class Verdict:
    """What is to become of a candidate, and why.

    `rules` are those of the recipe with whether each held and the numbers it was judged on,
    `reasons` is what speaks against a promotion, `note` how far the numbers can be trusted.
    """

    decision: Literal["promote", "reject", "needs_people"]
    rules: tuple[tuple[str, bool, str], ...]
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def promote(self) -> bool:
        """Whether it is promoted without anybody being asked."""
        return self.decision == "promote"

    def line(self) -> str:
        """One line for people: the verdict and its reasons."""
        words = {"promote": "promoted", "reject": "rejected", "needs_people": "needs people"}
        return ": ".join(filter(None, [words[self.decision], "; ".join(self.reasons)]))

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return {**asdict(self), "promote": self.promote}


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


def judge_candidate(
    rules: Iterable[str],
    values: Mapping[str, float | None],
    *,
    paired: Comparison | None = None,
    slices: Sequence[Mapping[str, Any]] = (),
    min_cases: int = ENOUGH,
) -> Verdict:
    """The verdict on a candidate; a missing value breaks a rule.

    It is rejected when it breaks a rule or is clearly worse than the champion on the main metric
    (`paired`, from `compare_pairs`). It needs people when one of `slices` (from `compare_slices`)
    is clearly worse, or when it cannot be told from the champion on fewer than `min_cases`. Else
    it is promoted.
    """
    judged = tuple(judge_values(list(rules), values))
    broken = [f"{rule} is not met ({detail})" for rule, ok, detail in judged if not ok]
    verdict = paired.verdict if paired else "unclear"
    if verdict == "worse":
        broken.append(f"clearly worse than the champion: {paired.line()}")  # type: ignore[union-attr]
    n = paired.n if paired else 0
    doubts = [_worse_line(part) for part in slices if part["worse"]]
    if verdict == "unclear" and n < min_cases:
        unknown = "no test case of which the main metric has a value for both models"
        few = f"cannot be told from the champion on {n} cases; {min_cases} are wanted"
        doubts.append(few if paired else unknown)
    decision = "reject" if broken else "needs_people" if doubts else "promote"
    return Verdict(decision, judged, (*broken, *doubts), _note(paired))


def _worse_line(part: Mapping[str, Any]) -> str:
    return (
        f"clearly worse where {part['label']} is {part['value']}: {part['old']:.3f} -> "
        f"{part['new']:.3f} on {part['n']} cases, p {part['p']:.2g}"
    )


def _note(paired: Comparison | None) -> str:
    """What so few cases can show, "" for enough."""
    if paired is None or paired.n >= ENOUGH:
        return "" if paired else "no test cases that both models answered"
    least = paired.detectable
    said = "no difference" if least is None else f"a difference of {least:.2f} or more"
    return f"only {paired.n} test cases, which show {said} four times of five"


def mark_cases(cases: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The task cases with `exact`, whether the answer equals gold by the task's canonical form, and
    `signature`, the kind of error when it does not."""
    task_cases = cases.filter(pl.col("kind") == "task")
    pairs = list(task_cases.select("prompt", "gold", "predicted").iter_rows())
    exact = [task.canonical(gold) == task.canonical(predicted) for _, gold, predicted in pairs]
    signs = [
        "" if right else sign_error(task, *said) for right, said in zip(exact, pairs, strict=True)
    ]
    return task_cases.with_columns(
        exact=pl.Series(exact, dtype=pl.Boolean), signature=pl.Series(signs, dtype=pl.String)
    )


def count_fixed(marked: pl.DataFrame, ids: pl.Series, *, arm: str = "candidate") -> dict[str, int]:
    """Of the rows with these ids, how many an arm was asked, and how many it got right."""
    asked = marked.filter((pl.col("arm") == arm) & pl.col("id").is_in(ids.implode()))
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
