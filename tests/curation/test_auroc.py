"""AUROC: what a score is worth, counted by hand and by its laws."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.auroc import Auroc, measure_auroc

JUDGED = st.lists(st.tuples(st.integers(-4, 4).map(float), st.booleans()), min_size=2, max_size=40)
BOTH = JUDGED.filter(lambda rows: len({accept for _, accept in rows}) == 2)


def measure(scores, accepted) -> Auroc:
    return measure_auroc(pl.Series(scores), pl.Series(accepted, dtype=pl.Boolean))


def split(rows) -> tuple[list[float], list[bool]]:
    scores, accepted = zip(*rows, strict=True)
    return [*scores], [*accepted]


def test_it_is_the_share_of_pairs_in_which_the_accepted_row_has_the_higher_score():
    found = measure([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    assert found.auroc == 3 / 4 and found.n == 4


def test_equal_scores_count_half():
    assert measure([1.0, 1.0, 2.0], [True, False, True]).auroc == (0.5 + 1) / 2
    assert measure([5.0] * 6, [True, False] * 3).auroc == 0.5


@given(BOTH)
def test_it_is_what_all_pairs_say(rows):
    pairs = [(a, b) for a, yes in rows if yes for b, also in rows if not also]
    wins = sum((a > b) + (a == b) / 2 for a, b in pairs)
    assert measure(*split(rows)).auroc == pytest.approx(wins / len(pairs))


@given(BOTH)
def test_a_monotone_map_changes_nothing(rows):
    scores, accepted = split(rows)
    mapped = [math.exp(score) * 1e6 - 3 for score in scores]
    assert measure(mapped, accepted) == measure(scores, accepted)


@given(BOTH)
def test_flipped_labels_mirror_area_and_interval(rows):
    scores, accepted = split(rows)
    there = measure(scores, accepted)
    back = measure(scores, [not accept for accept in accepted])
    assert there.auroc is not None and there.low is not None and there.high is not None
    assert back.auroc == pytest.approx(1 - there.auroc)
    assert back.low == pytest.approx(1 - there.high) and back.high == pytest.approx(1 - there.low)


@given(BOTH)
def test_the_area_lies_in_its_interval_and_that_in_0_to_1(rows):
    found = measure(*split(rows))
    assert found.auroc is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.auroc <= found.high <= 1 and found.low < found.high


def test_rows_without_a_score_are_left_out_and_one_verdict_alone_has_no_area():
    scores, accepted = [3.0, None, 1.0, math.nan], [True, False, False, True]
    assert measure(scores, accepted) == measure([3.0, 1.0], [True, False])
    assert measure([1.0, 2.0], [True, True]) == (None, None, None, 2)
    assert measure([None, None], [True, False]) == (None, None, None, 0)


def test_flags_are_measured_like_numbers():
    assert measure([True, False, True], [True, False, False]).auroc == 0.75


@pytest.mark.parametrize(("area", "accepted"), [(0.7, 100), (0.95, 20), (0.95, 180)])
def test_nineteen_intervals_of_twenty_hold_the_true_area(area, accepted):
    from statistics import NormalDist

    draw, apart = np.random.default_rng(5), NormalDist().inv_cdf(area) * math.sqrt(2)
    labels, held = [True] * accepted + [False] * (200 - accepted), 0
    for _ in range(300):
        found = measure(draw.normal(size=200) + apart * np.array(labels), labels)
        held += (found.low or 0) <= area <= (found.high or 0)
    assert held / 300 >= 0.93
