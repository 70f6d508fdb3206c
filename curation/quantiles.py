"""Quantiles of scores: where a score stands among those of the frozen reference, from 0 to 1.

A threshold on a quantile of the rows of today would judge a row by its neighbours: one bad source
moves it, and rows that nobody touched change sides. The reference stays as it is until its edition
is raised, so what a rule such as `perplexity_q < 0.98` asks of a row stays the same too.
"""

from typing import Any

import polars as pl

SUFFIX = "_q"
"""A rule names the quantile of a score by the scorer's name and this."""
QUANTILE_SCHEMA = pl.Schema({"lang": pl.String, "value": pl.Float64})
"""A score of a reference row, and the language it is compared within."""
MOST = 4_096
"""So many reference rows are scored to know where scores lie: a share is then within .016."""
LEAST = 200
"""A language with fewer reference rows is compared with all languages."""
STABLE, MOVED = 0.1, 0.25
"""Under the first a distribution counts as the same, from the second on as another one: the
customary bounds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006)."""
_BINS = 10


def rank_scores(scores: pl.DataFrame, frozen: pl.DataFrame) -> pl.Series:
    """The share, 0..1, of frozen scores (`QUANTILE_SCHEMA`) below each score of its language.

    `scores` has `lang` and `value`. Equal ones count half. Null where there is no score, and
    everywhere when nothing is frozen.
    """
    every = _sorted(frozen)
    by_lang = {str(lang): _sorted(part) for (lang,), part in frozen.group_by("lang")}
    asked = scores.select("lang", "value").with_row_index("place")
    found = [pl.DataFrame(schema={"place": pl.UInt32, "share": pl.Float64})]
    for (lang,), part in asked.drop_nulls("value").group_by("lang"):
        own = by_lang.get(str(lang), every)
        shares = _shares(part["value"], own if len(own) >= LEAST else every)
        found.append(part.select("place", share=shares))
    ranked = asked.select("place").join(pl.concat(found), on="place", how="left")
    return ranked.sort("place")["share"].alias("value")


def measure_drift(values: pl.Series, frozen: pl.DataFrame) -> float | None:
    """Population stability index of scores against the frozen ones, in nats; None without either.

    The sum over the tenths of the frozen scores of (p - q) ln(p / q), p and q being the shares of
    the two. A score that bounds tenths has a place of its own, since many rows may have it; a place
    where one of the two has no row counts as half a row.
    """
    import numpy as np

    now, then = values.drop_nulls(), _sorted(frozen)
    if not len(now) or not len(then):
        return None
    edges = np.unique(np.quantile(then, np.arange(1, _BINS) / _BINS))
    counts = np.stack([_placed(some, edges) for some in (now.to_numpy(), then)])
    counts = np.maximum(counts[:, counts.any(axis=0)], 0.5)
    p, q = counts / counts.sum(axis=1, keepdims=True)
    return float(((p - q) * np.log(p / q)).sum())


def _sorted(frozen: pl.DataFrame) -> Any:
    return frozen["value"].drop_nulls().sort().to_numpy()


def _shares(values: pl.Series, among: Any) -> pl.Series:
    asked = values.to_numpy()
    below, upto = (among.searchsorted(asked, side=side) for side in ("left", "right"))
    shares = pl.Series((below + upto) / 2 / max(1, len(among)), dtype=pl.Float64)
    return shares if len(among) else pl.repeat(None, len(values), dtype=pl.Float64, eager=True)


def _placed(values: Any, edges: Any) -> Any:
    """How many values lie below, on and between these edges."""
    import numpy as np

    places = sum(edges.searchsorted(values, side=side) for side in ("left", "right"))
    return np.bincount(places, minlength=2 * len(edges) + 1)
