"""Two models on the same cases: how far apart they are, and whether that can be chance.

A pair is one case with the value of the old and of the new model and the `gain` between them, above
0 where the new one is better. Cases of one cluster say nearly the same, so the interval is drawn
over clusters and not over cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import Any, Literal

import polars as pl

ENOUGH = 200
"""Paired cases below which a few points say nothing (400 see +5 points 86 % of the time)."""
LEAST = 20
"""Pairs of a slice below which it is not judged."""
ALPHA = 0.05
PAIR_SCHEMA = pl.Schema(
    {"id": pl.String, "cluster": pl.String, "old": pl.Float64, "new": pl.Float64,
     "gain": pl.Float64}
)  # fmt: skip
_ROUNDS, _AT_ONCE = 2_000, 100
_DISCORDANT = 0.1
"""The least share of cases that are taken to differ, where fewer were seen to."""


@dataclass(frozen=True)
class Comparison:
    """What the pairs come to.

    `low` and `high` are the 95 % interval of the mean gain; `fixed` and `broken` count cases that
    got better and worse; `p` is McNemar's mid-p of the two; `detectable` is the least mean gain
    that so many cases show four times of five, None where none is.
    """

    n: int
    clusters: int
    old: float
    new: float
    gain: float
    low: float
    high: float
    fixed: int
    broken: int
    p: float
    detectable: float | None

    @property
    def verdict(self) -> Literal["better", "worse", "unclear"]:
        """`better` or `worse` where the interval and the test both say so."""
        if self.p < ALPHA and (self.low > 0 or self.high < 0):
            return "better" if self.low > 0 else "worse"
        return "unclear"

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.old:.3f} -> {self.new:.3f}, gain {self.gain:+.3f} "
            f"({self.low:+.3f} to {self.high:+.3f}), {self.fixed:,} better and {self.broken:,} "
            f"worse of {self.n:,} cases, p {self.p:.2g}"
        )


def compare_pairs(pairs: pl.DataFrame, *, seed: int = 0) -> Comparison | None:
    """What pairs (`PAIR_SCHEMA`) come to; None when there are none."""
    if not pairs.height:
        return None
    gains = pairs["gain"]
    fixed, broken = int((gains > 0).sum()), int((gains < 0).sum())
    low, high = bootstrap_mean(gains, pairs["cluster"], seed=seed)
    discordant = (fixed + broken) / pairs.height
    old, new, gain = (round(float(pairs[c].mean()), 6) for c in ("old", "new", "gain"))  # type: ignore[arg-type]
    return Comparison(
        n=pairs.height,
        clusters=pairs["cluster"].n_unique(),
        old=old,
        new=new,
        gain=gain,
        low=low,
        high=high,
        fixed=fixed,
        broken=broken,
        p=mcnemar(fixed, broken)[1],
        detectable=detectable_gain(pairs.height, discordant),
    )


def mcnemar(fixed: int, broken: int) -> tuple[float, float]:
    """The exact p and the mid-p that so unequal counts are chance, two-sided.

    The exact test is the binomial one on cases that changed (McNemar, 1947). Mid-p counts what was
    seen by half; it is less timid and as safe (Fagerland, Lydersen & Laake, 2013).
    """
    changed, fewer = fixed + broken, min(fixed, broken)
    if not changed:
        return 1.0, 1.0
    tail = sum(comb(changed, k) for k in range(fewer + 1))
    seen = comb(changed, fewer)
    whole = 1 << changed
    exact = min(1.0, 2 * tail / whole)
    # With equal counts both tails hold what was seen, so that it is counted by half but once.
    return exact, exact - seen / whole if 2 * fewer < changed else 1.0 - seen / whole / 2


def bootstrap_mean(
    values: pl.Series, clusters: pl.Series, *, rounds: int = _ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a mean, drawn over clusters (Field & Welsh, 2007)."""
    import numpy as np

    held = pl.DataFrame({"value": values, "cluster": clusters}).group_by("cluster")
    sums = held.agg(pl.col("value").sum(), n=pl.len()).sort("cluster")
    totals, sizes = (sums[c].cast(pl.Float64).to_numpy() for c in ("value", "n"))
    generator, means = np.random.default_rng(seed), []
    chances = np.full(len(sums), 1 / len(sums))
    for start in range(0, rounds, _AT_ONCE):  # few at a time: each is as long as the clusters
        drawn = generator.multinomial(len(sums), chances, size=min(_AT_ONCE, rounds - start))
        means.append((drawn @ totals) / (drawn @ sizes))
    low, high = np.percentile(np.concatenate(means), [50 * ALPHA, 100 - 50 * ALPHA])
    return round(float(low), 6), round(float(high), 6)


def power(n: int, gain: float, discordant: float) -> float:
    """How often McNemar's test sees a gain in n pairs of which a share differs (Connor, 1987)."""
    if gain <= 0:
        return ALPHA / 2
    discordant = max(discordant, gain)
    spread = sqrt(max(discordant - gain * gain, 1e-12))
    reach = gain * sqrt(n) - NormalDist().inv_cdf(1 - ALPHA / 2) * sqrt(discordant)
    return NormalDist().cdf(reach / spread)


def detectable_gain(n: int, discordant: float, *, wanted: float = 0.8) -> float | None:
    """The least gain, in steps of .001, that n pairs show with the `wanted` power; None for none.

    `discordant` is the share of pairs that differ; at least a tenth are taken to.
    """
    share = max(discordant, _DISCORDANT)
    steps = range(1, 1001)
    return next((step / 1000 for step in steps if power(n, step / 1000, share) >= wanted), None)


def compare_slices(pairs: pl.DataFrame, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The parts of the pairs that share a label: `label`, `value`, n, old, new, gain, p, `worse`.

    Pairs have a column of text for each label; "" and parts of fewer than `LEAST` pairs are left
    out. Many parts are looked at, and of twenty one is off by chance: `p` is Holm's (1979), and
    `worse` is said where it is below .05.
    """
    found = [
        {"label": label, "value": value, **_describe(part)}
        for label in labels
        for (value,), part in sorted(pairs.group_by(label), key=lambda item: str(item[0][0]))
        if value and part.height >= LEAST
    ]
    for slice_, p in zip(found, adjust_holm([slice_["p"] for slice_ in found]), strict=True):
        slice_ |= {"p": p, "worse": p < ALPHA and slice_["gain"] < 0}
    return found


def adjust_holm(ps: Sequence[float]) -> list[float]:
    """Each p as it is when all are looked at (Holm, 1979)."""
    adjusted, least = [1.0] * len(ps), 0.0
    for turn, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - turn) * ps[place]))
        adjusted[place] = least
    return adjusted


def _describe(part: pl.DataFrame) -> dict[str, Any]:
    means = {c: round(float(part[c].mean()), 6) for c in ("old", "new", "gain")}  # type: ignore[arg-type]
    changed = [int((part["gain"] > 0).sum()), int((part["gain"] < 0).sum())]
    return {"n": part.height, **means, "p": mcnemar(*changed)[1]}
