"""Paired statistics: published numbers, exact enumerations, and what they must never do."""

from itertools import product
from math import comb

import polars as pl
import pytest

from evaluation.paired import (
    adjust_holm,
    bootstrap_mean,
    compare_pairs,
    compare_slices,
    detectable_gain,
    mcnemar,
    power,
)


def pairs(*gains: float, clusters: list[str] | None = None, **labels: list[str]) -> pl.DataFrame:
    ids = [f"{n:03d}" for n in range(len(gains))]
    return pl.DataFrame(
        {"id": ids, "cluster": clusters or ids, "old": [0.5] * len(gains),
         "new": [0.5 + gain for gain in gains], "gain": [float(gain) for gain in gains], **labels}
    )  # fmt: skip


def test_mcnemar_gives_the_published_numbers():
    # Fagerland, Lydersen & Laake (2013), table 1: airway hyper-responsiveness before and after
    # stem cell transplantation, 1 and 7 discordant pairs: exact .0703, mid-p .0391.
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx((0.0703125, 0.0390625))
    assert mcnemar(0, 0) == (1.0, 1.0)


@pytest.mark.parametrize("changed", [1, 2, 7, 8])
def test_mcnemar_is_the_sum_over_all_ways_the_changes_can_fall(changed):
    for fixed in range(changed + 1):
        as_odd = [k for k in range(changed + 1)
                  if comb(changed, k) <= comb(changed, fixed)]  # fmt: skip
        exact = sum(comb(changed, k) for k in as_odd) / 2**changed
        same = sum(comb(changed, k) for k in {fixed, changed - fixed}) / 2**changed
        assert mcnemar(fixed, changed - fixed) == pytest.approx((exact, exact - same / 2))


def test_mid_p_is_right_as_often_as_it_says():
    for changed in (10, 30, 60):
        wrong = sum(comb(changed, k) for k in range(changed + 1)
                    if mcnemar(k, changed - k)[1] < 0.05) / 2**changed  # fmt: skip
        assert 0.01 < wrong < 0.055


def test_power_is_that_of_the_test_by_enumeration():
    n, gain, discordant = 60, 0.2, 0.3
    better, worse = (discordant + gain) / 2, (discordant - gain) / 2
    seen = sum(
        comb(n, b) * comb(n - b, c) * better**b * worse**c * (1 - discordant) ** (n - b - c)
        for b, c in product(range(n + 1), repeat=2)
        if b + c <= n and b > c and mcnemar(b, c)[1] < 0.05
    )
    assert power(n, gain, discordant) == pytest.approx(seen, abs=0.03)


def test_the_detectable_gain_shrinks_with_cases_and_is_none_for_a_handful():
    gains = [detectable_gain(n, 0.2) or 1.0 for n in (50, 200, 800)]
    assert gains == sorted(gains, reverse=True) and gains[-1] < 0.05
    assert power(200, gains[1], 0.2) == pytest.approx(0.8, abs=0.01)
    assert detectable_gain(3, 0.5) is None


def test_the_interval_is_the_one_of_its_clusters():
    values = pl.Series([1.0, 1, 1, 1, 0, 0, 0, 0] * 10)
    alone = [str(n) for n in range(80)]
    in_tens = [str(n // 4) for n in range(80)]  # four that say the same are worth one
    free = bootstrap_mean(values, pl.Series(alone))
    bound = bootstrap_mean(values, pl.Series(in_tens))
    # 1.96 standard errors of a mean of .5: .11 of 80 cases, .22 of 20 clusters.
    assert free == pytest.approx((0.39, 0.61), abs=0.015)
    assert bound == pytest.approx((0.28, 0.72), abs=0.03)


def test_the_order_of_cases_does_not_matter_and_the_seed_does():
    values, names = pl.Series([1.0, 0, 0.25, -1, 0.5] * 20), pl.Series([*"甲乙丙丁戊"] * 20)
    one = bootstrap_mean(values, names)
    assert bootstrap_mean(values.reverse(), names.reverse()) == one
    few = [bootstrap_mean(values, names, rounds=30, seed=seed) for seed in (0, 1)]
    assert few[0] != few[1]


def test_clusters_of_unlike_size_weigh_by_their_cases():
    low, high = bootstrap_mean(pl.Series([0.2] * 7), pl.Series([*"aaaaabc"]))
    assert low == high == pytest.approx(0.2)


def test_a_comparison_says_what_it_saw():
    found = compare_pairs(pairs(*[1] * 12, *[-1] * 2, *[0] * 86))
    assert found is not None and found.verdict == "better"
    assert (found.n, found.fixed, found.broken, found.gain) == (100, 12, 2, 0.1)
    assert found.p == mcnemar(12, 2)[1] and 0 < found.low < 0.1 < found.high
    assert "12 better and 2 worse of 100" in found.line()
    mirrored = compare_pairs(pairs(*[-1] * 12, *[1] * 2, *[0] * 86))
    assert mirrored is not None and mirrored.verdict == "worse"
    assert compare_pairs(pairs()) is None


def test_what_repeats_in_one_cluster_is_no_evidence():
    gains = [1] * 12 + [0] * 28
    alone = compare_pairs(pairs(*gains))
    together = compare_pairs(pairs(*gains, clusters=["甲"] * 12 + [str(n) for n in range(28)]))
    assert alone is not None and alone.verdict == "better"
    assert together is not None and together.verdict == "unclear"


def test_a_slice_that_got_worse_is_seen_behind_a_better_mean():
    lang = ["zh"] * 60 + ["en"] * 40 + [""] * 5
    found = compare_slices(pairs(*[1] * 40, *[0] * 20, *[-1] * 15, *[0] * 30, lang=lang), ["lang"])
    assert [(s["value"], s["n"]) for s in found] == [("en", 40), ("zh", 60)]
    assert [s["worse"] for s in found] == [True, False]
    assert found[0]["gain"] == -15 / 40
    assert found[0]["p"] == mcnemar(0, 15)[1]  # the other is smaller, so only that one is doubled


def test_of_many_slices_one_that_is_off_by_chance_is_not_called_worse():
    groups = [f"g{n // 20:02d}" for n in range(400)]
    gains = [-1 if n < 6 else 0 for n in range(400)]
    assert mcnemar(0, 6)[1] < 0.05
    assert not any(s["worse"] for s in compare_slices(pairs(*gains, category=groups), ["category"]))
    small = compare_slices(pairs(*[-1] * 19, category=["甲"] * 19), ["category"])
    assert small == []


def test_holm_by_hand():
    assert adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_holm([0.5, 0.9]) == [1.0, 1.0] and adjust_holm([]) == []
