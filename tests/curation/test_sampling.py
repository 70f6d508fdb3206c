"""Acceptance sampling: the plans come out of the binomial, and what a way through them is worth."""

import random

import pytest

from curation.sampling import Plan, judge_sample, plan_sample, way_confidence


def test_the_plans_are_the_shortest_that_show_nine_tenths_with_95_percent():
    plans = [plan_sample(bad) for bad in range(3)]
    assert [(plan.rows - plan.bad, plan.rows) for plan in plans] == [(29, 29), (45, 46), (59, 61)]
    assert plan_sample(0, good_share=0.95, confidence=0.95) == Plan(59, 0)


@pytest.mark.parametrize(
    ("looked", "good", "state", "needed"),
    [
        (0, 0, "more", 29), (28, 28, "more", 1), (29, 29, "passed", 0), (20, 19, "more", 26),
        (45, 44, "more", 1), (46, 45, "passed", 0), (46, 44, "more", 15), (61, 59, "passed", 0),
        (3, 0, "failed", 0), (61, 58, "failed", 0),
    ],
)  # fmt: skip
def test_a_kind_passes_fails_or_needs_the_rest_of_the_next_plan(looked, good, state, needed):
    found = judge_sample(looked, good, total=1000)
    assert (found.state, found.needed) == (state, needed)


@pytest.mark.parametrize(
    ("total", "good", "state"),
    [(12, 12, "passed"), (10, 9, "passed"), (12, 10, "failed"), (0, 0, "failed")],
)
def test_of_a_small_kind_all_rows_are_looked_at_and_nothing_is_inferred(total, good, state):
    found = judge_sample(total, good, total=total)
    assert (found.state, found.needed, found.confidence) == (state, 0, 1.0)
    assert judge_sample(total - 3, total - 3, total=total).needed == 3 if total else True


def test_each_further_plan_is_another_chance_and_is_said_to_be_one():
    plans = [plan_sample(bad) for bad in range(3)]
    exact = [way_confidence(plans[: n + 1]) for n in range(3)]
    assert exact[0] == pytest.approx(1 - 0.9**29)
    passed = [0, 0, 0]
    draw = random.Random(7)
    for _ in range(tries := 20_000):
        bad = [draw.random() < 0.1 for _ in range(61)]
        way = [sum(bad[: plan.rows]) <= plan.bad for plan in plans]
        if True in way:
            passed[way.index(True)] += 1
    drawn = [1 - sum(passed[: n + 1]) / tries for n in range(3)]
    assert drawn == pytest.approx(exact, abs=0.008)
    assert [round(value, 3) for value in exact] == [0.953, 0.928, 0.91]
    assert judge_sample(61, 59, total=999).confidence == exact[2]


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 good of 4 looked at of 9 rows"):
        judge_sample(4, 5, total=9)
