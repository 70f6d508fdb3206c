"""What became of a served model's answers, version by version, and whether two versions differ.

Two versions are compared over the time in which both answered, so that a quiet Sunday of one is not
held against a busy Monday of the other. Requests of one user are alike, and users were drawn into
the arms, so it is users that are dealt out anew to see what chance alone would do (Fisher, 1935).
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from evaluation.paired import ALPHA

BAD = ("down", "corrected")
"""Ratings that say that an answer was wrong."""
_ROUNDS = 10_000
_SHOWN_BY = 2.8  # standard errors that a difference is away from 0 to be seen four times of five


def report_served(answers: pl.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """`versions`, one each in order of number, and `against`, the comparisons of every two.

    `answers` are `curation.served.RATED_SCHEMA`. Latencies are seconds of whole answers, `failed`
    and `bad` counts, and `bad` those that somebody said were wrong.
    """
    marked = answers.with_columns(
        failed=pl.col("error") != "", bad=pl.col("rating").is_in(BAD).fill_null(False)
    )
    numbers = sorted(marked["version"].unique())
    return {
        "versions": [_describe(marked.filter(version=number)) for number in numbers],
        "against": [
            _compare(marked, old, new, seed)
            for place, old in enumerate(numbers)
            for new in numbers[place + 1 :]
        ],
    }


def chance_of_difference(
    sides: Sequence[pl.DataFrame], what: str, *, seed: int = 0
) -> dict[str, Any]:
    """How far the shares of `what` (Boolean) lie apart on two sides, and how often by chance.

    Units are dealt to the two sides at random, as many to each as it had. `p` is two-sided;
    `detectable` is the least difference that so many units show four times of five.
    """
    import numpy as np

    units = [
        side.group_by("unit").agg(n=pl.len(), k=pl.col(what).sum()).with_columns(new=number == 1)
        for number, side in enumerate(sides)
    ]
    kinds = pl.concat(units).group_by("n", "k").agg(pl.len(), pl.col("new").sum()).sort("n", "k")
    n, k, all_, mine = (kinds[c].to_numpy().astype(np.int64) for c in ("n", "k", "len", "new"))
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(
        all_, int(mine.sum()), size=_ROUNDS, method="marginals"
    )
    gaps = _gap(dealt, all_, n, k)
    seen = float(_gap(mine[None, :], all_, n, k)[0])
    as_far = int((np.abs(gaps) >= abs(seen) - 1e-12).sum())
    return {
        "old": float(sides[0][what].mean()),  # type: ignore[arg-type]
        "new": float(sides[1][what].mean()),  # type: ignore[arg-type]
        "p": (as_far + 1) / (_ROUNDS + 1),
        "detectable": _SHOWN_BY * float(gaps.std()),
    }


def _gap(dealt: Any, all_: Any, n: Any, k: Any) -> Any:
    """The share on the new side less that on the old one, for each row of `dealt`."""
    rest = all_ - dealt
    return (dealt @ k) / (dealt @ n) - (rest @ k) / (rest @ n)


def _describe(part: pl.DataFrame) -> dict[str, Any]:
    whole = part.filter(~pl.col("failed"))
    n, rated = whole.height, whole["rating"].drop_nulls().len()
    return {
        "version": part["version"][0],
        "arms": sorted(part["arm"].unique()),
        "requests": part.height,
        "units": part["unit"].n_unique(),
        "failed": part.height - n,
        "p50_s": whole["latency_s"].quantile(0.5, "nearest"),
        "p95_s": whole["latency_s"].quantile(0.95, "nearest"),
        "completion_tokens": whole["completion_tokens"].sum(),
        "rated": rated,
        "bad": int(whole["bad"].sum()),
        "bad_share": int(whole["bad"].sum()) / n if n else None,
    }


def _compare(marked: pl.DataFrame, old: int, new: int, seed: int) -> dict[str, Any]:
    sides = [marked.filter(version=number) for number in (old, new)]
    start = max(side["at"].min() for side in sides)  # type: ignore[type-var]
    stop = min(side["at"].max() for side in sides)  # type: ignore[type-var]
    both = [side.filter(pl.col("at").is_between(start, stop)) for side in sides]
    said = {"old": old, "new": new}
    if not all(side.height for side in both):
        return {**said, "lines": [f"v{old} and v{new} did not answer at the same time"]}
    tests, lines = {}, []
    for what, called in (("bad", "said to be wrong"), ("failed", "failed")):
        asked = [side.filter(~pl.col("failed")) if what == "bad" else side for side in both]
        if all(side.height for side in asked):
            tests[what] = chance_of_difference(asked, what, seed=seed)
            lines.append(_say(tests[what], asked, old, new, called))
    return {**said, "tests": tests, "lines": lines}


def _say(test: dict[str, Any], sides: list[pl.DataFrame], old: int, new: int, called: str) -> str:
    counts = " and ".join(
        f"{test[which]:.1%} of {side.height:,} by v{number} for {side['unit'].n_unique():,} users"
        for which, number, side in zip(("old", "new"), (old, new), sides, strict=True)
    )
    if test["p"] < ALPHA:
        word = "fewer" if test["new"] < test["old"] else "more"
        end = f"v{new} clearly has {word}"
    elif test["detectable"]:
        end = f"that can be chance; a gap of {test['detectable']:.1%} would mostly be seen"
    else:
        end = "nothing tells them apart"
    return f"{called}: {counts}, p {test['p']:.2g}: {end}"
