"""Quantiles: a score is placed among the frozen ones of its language, and drift is measured."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.quantiles import LEAST, MOVED, STABLE, measure_drift, rank_scores

NUMBERS = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def scores(lang: str, values) -> pl.DataFrame:
    schema = {"lang": pl.String, "value": pl.Float64}
    return pl.DataFrame([(lang, v) for v in values], schema=schema, orient="row")


@given(NUMBERS, NUMBERS)
def test_a_place_is_the_share_below_and_half_of_the_equal_ones(asked, frozen):
    found = rank_scores(scores("zh", asked), scores("zh", frozen))
    for value, share in zip(asked, found, strict=True):
        below, equal = sum(f < value for f in frozen), sum(f == value for f in frozen)
        assert share == pytest.approx((below + equal / 2) / len(frozen))


def test_a_language_is_compared_with_itself_where_enough_is_known_of_it():
    frozen = pl.concat(
        [scores("zh", range(LEAST)), scores("en", range(1000, 1000 + LEAST)), scores("other", [0])]
    )
    asked = pl.DataFrame({"lang": ["zh", "en", "other", "mixed"], "value": [2000.0, 999, 500, 500]})
    zh, en, other, mixed = rank_scores(asked, frozen)
    assert (zh, en) == (1.0, 0.0) and other == mixed == pytest.approx((LEAST + 1) / (2 * LEAST + 1))


def test_no_score_has_no_place_and_nothing_frozen_gives_none():
    asked = scores("zh", [1.0, None, 3.0])
    assert rank_scores(asked, scores("zh", [2.0])).to_list() == [0.0, None, 1.0]
    assert rank_scores(asked, scores("zh", [])).to_list() == [None] * 3
    assert rank_scores(asked.clear(), scores("zh", [2.0])).is_empty()


def test_rows_come_back_in_their_order():
    asked = pl.concat([scores("zh", [3.0]), scores("en", [1.0]), scores("zh", [1.0])])
    assert rank_scores(asked, scores("zh", [2.0])).to_list() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("shift", "low", "high"), [(0.0, 0, STABLE), (0.4, STABLE, MOVED), (1.0, MOVED, 9)]
)
def test_a_shifted_distribution_is_told_by_how_far(shift, low, high):
    draw = np.random.default_rng(3)
    frozen, now = draw.normal(size=4096), draw.normal(shift, size=4096)
    index = measure_drift(pl.Series(now), scores("zh", frozen.tolist()))
    assert index is not None and low <= index < high


def test_the_index_is_the_sum_of_its_formula_and_says_nothing_of_nothing():
    frozen = scores("zh", [*range(10)] * 10)
    now = pl.Series([0.0] * 50 + [float(i) for i in range(10)] * 5)
    p, q = [0.55, *([0.05] * 9)], [0.1] * 10
    wanted = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert measure_drift(now, frozen) == pytest.approx(wanted)
    assert measure_drift(pl.Series([None], dtype=pl.Float64), frozen) is None
    assert measure_drift(now, frozen.clear()) is None


def test_a_score_that_is_nearly_always_the_same_drifts_when_it_is_not():
    for rare in (0.0, 1.0):
        often = 1 - rare
        frozen = scores("zh", [often] * 990 + [rare] * 10)
        assert measure_drift(pl.Series([often] * 99 + [rare]), frozen) == pytest.approx(0)
        assert (measure_drift(pl.Series([rare, often] * 50), frozen) or 0) > MOVED
