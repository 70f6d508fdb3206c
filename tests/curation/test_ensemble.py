"""The ensemble: weights that are the best ones, places that know only order, rows on their own."""

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.auroc import measure_auroc
from curation.ensemble import ENSEMBLE, FOLDS, fit_ensemble, score_ensemble
from curation.logistic import fit_logistic
from curation.scorers._base import fold_of


def ids(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]


def drawn(n: int = 300, *, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores of three scorers and verdicts that follow the first two, one up and one down."""
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(n, 3))
    accept = draw.random(n) < 1 / (1 + np.exp(-(2 * z[:, 0] - z[:, 1])))
    scores = pl.DataFrame({"id": ids(n), "up": z[:, 0], "down": z[:, 1], "flag": z[:, 2] > 1})
    return scores, pl.DataFrame({"id": ids(n), "accept": accept})


@pytest.mark.parametrize("seed", range(5))
def test_no_small_step_from_the_weights_is_better(seed):
    draw = np.random.default_rng(seed)
    matrix = np.column_stack([np.ones(60), draw.normal(size=(60, 3)), draw.random(60) < 0.1])
    accept, penalty = (draw.random(60) < 0.3).astype(float), np.array([0.0, 1, 1, 1, 1])

    def loss(weights):
        z = matrix @ weights
        fit = -(accept * np.log(1 / (1 + np.exp(-z))) + (1 - accept) * np.log(1 / (1 + np.exp(z))))
        return fit.sum() + (penalty * weights**2).sum() / 2

    weights = fit_logistic(matrix, accept, penalty)
    for i in range(5):
        step = np.eye(5)[i] * 1e-4
        slope = (loss(weights + step) - loss(weights - step)) / 2e-4
        assert abs(slope) < 1e-5
        assert loss(weights + 100 * step) > loss(weights) < loss(weights - 100 * step)


def test_a_fit_that_comes_to_no_end_says_so():
    draw = np.random.default_rng(0)
    with pytest.raises(ValueError, match="does not converge in 100 steps"):
        fit_logistic(draw.normal(size=(40, 2)) * 1e12, draw.random(40) < 0.5, np.ones(2))


def test_weights_have_the_sign_of_what_they_say_and_noise_has_none():
    fitted = fit_ensemble(*drawn())
    weights = dict(fitted.weights.select("column", "weight").iter_rows())
    assert weights["up"] > 1 and weights["down"] < -0.5 and abs(weights["flag"]) < 0.5
    assert [*weights] == sorted(weights) and len(weights) == 4


def test_verdicts_the_other_way_round_turn_the_probability_round():
    scores, verdicts = drawn()
    there = fit_ensemble(scores, verdicts).predict(scores)
    back = fit_ensemble(scores, verdicts.with_columns(accept=~pl.col("accept"))).predict(scores)
    assert np.allclose(there.to_numpy(), 1 - back.to_numpy(), atol=1e-8)


def test_only_the_order_of_a_score_counts_so_a_heavy_tail_does_no_harm():
    scores, verdicts = drawn()
    heavy = scores.with_columns((pl.col("up") * 4).exp())
    there, here = fit_ensemble(scores, verdicts), fit_ensemble(heavy, verdicts)
    assert here.aurocs.equals(there.aurocs) and here.weights.equals(there.weights)
    assert here.predict(heavy).equals(there.predict(scores))


def test_a_row_is_scored_to_the_last_bit_as_beside_any_others():
    scores, verdicts = drawn()
    holes = pl.col("up") > 1
    scores = scores.with_columns(down=pl.when(holes).then(None).otherwise("down"))
    fitted = fit_ensemble(scores, verdicts)
    every = score_ensemble(scores, fitted)
    assert every["id"].is_sorted() and every["value"].is_between(0, 1).all()
    alone = pl.concat(score_ensemble(row, fitted) for row in scores.iter_slices(1)).sort("id")
    assert alone.equals(every)
    turned = fit_ensemble(scores.reverse(), verdicts.reverse())
    assert turned.weights.equals(fitted.weights) and turned.aurocs.equals(fitted.aurocs)


def test_what_is_missing_tells_by_itself_and_else_counts_as_the_mean():
    scores, verdicts = drawn()
    silent = pl.Series(verdicts["accept"]) & (scores["up"] < 0)
    gaps = scores.with_columns(flag=pl.when(~silent).then("flag"), none=pl.lit(None, pl.Float64))
    fitted = fit_ensemble(gaps, verdicts)
    weights = dict(fitted.weights.select("column", "weight").iter_rows())
    assert weights["flag (missing)"] > 1 and weights["none"] == 0
    assert "up (missing)" not in weights and "none (missing)" not in weights
    ns = dict(fitted.aurocs.select("scorer", "n").iter_rows())
    assert ns["flag"] == 300 - silent.sum() and ns["none"] == 0 and ns[ENSEMBLE] == 300
    one = gaps.head(1).with_columns(up=pl.lit(None, pl.Float64))
    assert fitted.predict(one)[0] is not None  # no judged row lacked it


def test_its_own_auroc_is_of_rows_it_was_not_fitted_on():
    draw = np.random.default_rng(1)
    noise = pl.DataFrame({"id": ids(240)} | {f"n{i}": draw.normal(size=240) for i in range(40)})
    verdicts = pl.DataFrame({"id": ids(240), "accept": draw.random(240) < 0.5})
    fitted = fit_ensemble(noise, verdicts)
    own = dict(fitted.aurocs.select("scorer", "auroc").iter_rows())[ENSEMBLE]
    assert 0.4 < own < 0.6
    learnt = measure_auroc(fitted.predict(noise), verdicts["accept"]).auroc
    assert learnt is not None and learnt > 0.65  # it knows those it was fitted on too well


def test_each_fold_is_judged_by_the_other_four():
    scores, verdicts = drawn()
    fold = pl.Series([fold_of(i, FOLDS) == 0 for i in scores["id"]])
    wrong = verdicts.with_columns(accept=pl.col("accept") ^ fold)
    own = dict(fit_ensemble(scores, wrong).aurocs.select("scorer", "auroc").iter_rows())[ENSEMBLE]
    right = dict(fit_ensemble(scores, verdicts).aurocs.select("scorer", "auroc").iter_rows())
    assert own < right[ENSEMBLE] - 0.1


@pytest.mark.parametrize(("accepted", "rejected", "fits"), [
    (100, 99, False), (100, 100, True), (181, 19, False), (19, 400, False), (20, 180, True),
])  # fmt: skip
def test_too_few_verdicts_fit_nothing(accepted, rejected, fits):
    scores, _ = drawn(accepted + rejected)
    accept = [True] * accepted + [False] * rejected
    fitted = fit_ensemble(scores, pl.DataFrame({"id": scores["id"], "accept": accept}))
    assert fitted.fitted is fits
    facts = score_ensemble(scores, fitted)
    assert facts["value"].null_count() == (0 if fits else facts.height)
    assert {*facts["status"]} == {"ok" if fits else "unfitted"}


def test_verdicts_on_other_rows_do_not_count():
    scores, verdicts = drawn(300)
    assert not fit_ensemble(scores.head(150), verdicts).fitted
    assert fit_ensemble(scores.head(150), verdicts, min_verdicts=150).fitted


def test_a_scorer_may_have_any_name():
    scores, verdicts = drawn()
    named = scores.rename({"up": "accept", "down": "fold", "flag": "intercept"})
    assert fit_ensemble(named, verdicts).predict(named).is_between(0, 1).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1e-9, 1.0]))
def test_whatever_is_judged_has_a_finite_fit(seed, spread):
    draw = np.random.default_rng(seed)
    score = draw.integers(0, 3, 60) * spread
    scores = pl.DataFrame({"id": ids(60), "a": score, "b": score, "c": draw.random(60) < 0.02})
    accept = pl.Series(score > spread / 2) if seed % 2 else pl.Series([True, False] * 30)
    verdicts = pl.DataFrame({"id": ids(60), "accept": accept})
    fitted = fit_ensemble(scores, verdicts, min_verdicts=1)
    assert fitted.predict(scores).is_finite().all() or not fitted.fitted
