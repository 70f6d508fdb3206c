"""Acceptance sampling: how many rows of a kind to look at before the rest is taken unseen.

A plan looks at `rows` and allows so many bad ones. It is the shortest that a kind with just the
wanted share of good rows passes at most once in twenty: 29 without a bad one, 46 with one, 61 with
two. Who finds a bad row goes on to the next plan, which is another chance to pass: `confidence`
says what the way through all plans so far is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, isclose
from typing import Literal

GOOD_SHARE = 0.9
CONFIDENCE = 0.95
MOST_BAD = 2
"""A third bad row fails a kind: with one more plan the way would be worth less than .9."""


@dataclass(frozen=True)
class Plan:
    """So many rows, of which at most so many are bad."""

    rows: int
    bad: int


@dataclass(frozen=True)
class Sampled:
    """What the rows looked at come to, and how many more are needed, 0 where it is decided.

    `confidence` is 1 less the chance that a kind with just the wanted share of good rows passes one
    of the plans up to this one; 1 where every row of the kind was looked at.
    """

    state: Literal["passed", "failed", "more"]
    looked: int
    good: int
    needed: int
    plan: Plan
    confidence: float


@cache
def plan_sample(
    bad: int, *, good_share: float = GOOD_SHARE, confidence: float = CONFIDENCE
) -> Plan:
    """The fewest rows that show the share with this confidence although so many are bad.

    The smallest n with sum_{i <= bad} C(n, i) (1 - p)^i p^(n - i) <= 1 - confidence, p the share:
    the binomial chance that a kind which is only just good enough has no more bad ones among n.
    """
    rows = bad + 1
    while _chance(rows, bad, good_share) > 1 - confidence:
        rows += 1
    return Plan(rows, bad)


def judge_sample(looked: int, good: int, *, total: int) -> Sampled:
    """The state of a kind of `total` rows, of which `looked` were drawn and `good` found good.

    Raises `ValueError` for counts that do not fit.
    """
    if not 0 <= good <= looked <= total:
        raise ValueError(f"{good} good of {looked} looked at of {total} rows")
    plans = [plan_sample(bad) for bad in range(MOST_BAD + 1)]
    bad = looked - good
    plan = plans[min(bad, MOST_BAD)]
    if looked == total:  # nothing is left to be inferred
        enough = good > GOOD_SHARE * total or isclose(good, GOOD_SHARE * total)
        return Sampled("passed" if enough and total else "failed", looked, good, 0, plan, 1.0)
    worth = way_confidence(plans[: plan.bad + 1])
    if bad > MOST_BAD:
        return Sampled("failed", looked, good, 0, plan, worth)
    needed = min(max(0, plan.rows - looked), total - looked)
    return Sampled("more" if needed else "passed", looked, good, needed, plan, worth)


def way_confidence(plans: Sequence[Plan], *, good_share: float = GOOD_SHARE) -> float:
    """How surely a kind with just this share of good rows passes none of the plans, one by one.

    Whoever passes a plan stops, so what is counted are the ways to more bad rows than each plan
    allows at the moment when its rows are full; exact, by the binomial chances between the plans.
    """
    alive, looked = {0: 1.0}, 0  # number of bad rows -> chance, of those that have not passed
    for plan in plans:
        more = plan.rows - looked
        then: dict[int, float] = {}
        for bad, chance in alive.items():
            for found in range(more + 1):
                drawn = _exactly(more, found, good_share)
                then[bad + found] = then.get(bad + found, 0.0) + chance * drawn
        alive = {bad: chance for bad, chance in then.items() if bad > plan.bad}
        looked = plan.rows
    return sum(alive.values())


def _chance(rows: int, bad: int, good_share: float) -> float:
    """The chance of at most `bad` bad ones among so many rows."""
    return sum(_exactly(rows, i, good_share) for i in range(bad + 1))


def _exactly(rows: int, bad: int, good_share: float) -> float:
    return comb(rows, bad) * (1 - good_share) ** bad * good_share ** (rows - bad)
