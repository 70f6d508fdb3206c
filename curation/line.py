"""Rows in line: any first rows of it hold each stratum in its share.

A row stands at a depth: its rank within its stratum, as a share of the stratum, times the stratum's
scale. Where all scales are 1 strata are drawn in proportion; one of scale 2 is drawn half as fast,
and out of rows at depth 2.
"""

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl

STRATA = ("category", "lang", "difficulty")
TOPIC = "topic"
_ROOM = 2
"""So many times as many rows are put in order as are likely to be looked at."""
_SPARE = 8
"""So many more of each stratum, for digests fall a little nearer and farther."""


class Line:
    """The rows of one track in line, by the digest of their ids.

    With a `spread` the rows have a `topic` (null where unknown, which is as good as one more), and
    a topic of n rows is drawn in proportion to n^(1 - spread). Of any first rows categories in
    `floors` are at least that share, while they have rows: one that falls under it is next.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        salt: str,
        *,
        spread: float = 0.0,
        floors: Mapping[str, float] | None = None,
    ):
        by = [*STRATA, TOPIC] if spread else [*STRATA]
        placed = rows.select("id", *by, place=draw_places(rows["id"], salt))
        scale = pl.col("n").sum().over(TOPIC) ** spread if spread else pl.lit(1.0)
        strata = placed.group_by(by).agg(n=pl.len()).with_columns(scale=scale)
        there = strata["category"].unique().to_list()
        self._floors = {c: floor for c, floor in (floors or {}).items() if c in there}
        others = ~pl.col("category").is_in([*self._floors]).fill_null(False)
        parts = [others, *(pl.col("category") == category for category in self._floors)]
        self._parts = [_Part(placed.filter(part), strata.filter(part), by) for part in parts]
        self._rows = rows.height

    def __len__(self) -> int:
        return self._rows

    def take(self, at: int, few: int) -> pl.Series:
        """So many ids from a place of the line on; fewer where it ends."""
        fronts = [part.first(at + few) for part in self._parts]
        depths = [front["at"].to_list() for front in fronts]
        turns = _merge(depths, [0.0, *self._floors.values()], at + few)
        ids = pl.concat(front["id"] for front in fronts)
        return ids.gather(turns[at : at + few])


class _Part:
    """Rows (id, place and columns `by`) whose strata alone say where they stand.

    Of many only the front is put in order: those beyond a depth stand behind those before it.
    """

    def __init__(self, rows: pl.DataFrame, strata: pl.DataFrame, by: Sequence[str]):
        self._rows, self._strata, self._by = rows, strata, by
        self._front = pl.DataFrame(schema={"id": pl.String, "at": pl.Float64})
        self._depth, self._end = 0.0, strata.select(pl.col("scale").max()).item() or 0.0

    def first(self, few: int) -> pl.DataFrame:
        """So many rows from the start, or all: id and the depth they are `at`, in order."""
        while self._front.height < few and self._depth < self._end:
            self._depth = max(4 * self._depth, _depth_of(self._strata, _ROOM * few))
            self._front = self._line_up()
        return self._front.head(few)

    def _line_up(self) -> pl.DataFrame:
        n, scale = pl.col("n"), pl.col("scale")
        near = pl.col("place") / 2.0**64 < self._depth / scale + _SPARE / n
        placed = self._rows.join(self._strata, on=self._by, nulls_equal=True).filter(near)
        # Strata by topic are many and small: what all of them rounded alike would add up.
        start = pl.col("place") % 2**32 / 2**32 if TOPIC in self._by else 0.5
        turn = pl.col("place").rank("ordinal").over(self._by) - 1 + start
        line = placed.select("id", "place", at=turn / n * scale)
        met = placed.group_by(self._by).agg(met=pl.len())
        rest = self._strata.join(met, on=self._by, how="left", nulls_equal=True)
        rest = rest.with_columns(pl.col("met").fill_null(0)).filter(pl.col("met") < n)
        behind = rest.select((pl.col("met") / n * scale).min()).item()
        if behind is not None:
            line = line.filter(pl.col("at") < behind)
        return line.sort("at", "place").select("id", "at")


def draw_places(ids: pl.Series, salt: str) -> pl.Series:
    """A row's place in line: a number that depends on its id and the salt alone.

    Ids are digests, so the mixing step of SplitMix64 (Steele, Lea and Flood, 2014) is enough to
    have every salt draw other rows.
    """
    import numpy as np

    x = ids.str.slice(0, 15).str.to_integer(base=16).cast(pl.UInt64).to_numpy()
    x = x ^ np.uint64(int(hashlib.sha256(salt.encode()).hexdigest()[:16], 16))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return pl.Series(x ^ (x >> np.uint64(31)), dtype=pl.UInt64)


def _depth_of(strata: pl.DataFrame, rows: float) -> float:
    """How deep strata (n, scale) are drawn for so many rows; their end where they have fewer.

    Each gives n / scale rows for a step of depth till it is out of rows, so together they give the
    least of as many straight lines, and the depth is the largest that one of these asks for.
    """
    n, scale = pl.col("n"), pl.col("scale")
    before, rates = n.cum_sum() - n, (n / scale).cum_sum(reverse=True)
    depth = ((pl.lit(float(rows)) - before) / rates).max()
    return strata.sort("scale").select(pl.min_horizontal(depth, scale.max())).item()


def _merge(fronts: Sequence[Sequence[float]], floors: Sequence[float], rows: int) -> list[int]:
    """Places in the fronts, one front after the other, of so many rows as their turn comes.

    Next is the nearest row, unless one more would leave a front over half a row under its floor. So
    floors hold wherever the line is cut, also where small topics are out of rows by then.
    """
    starts = [sum(len(front) for front in fronts[:i]) for i in range(len(fronts))]
    taken, turns, left = [0] * len(fronts), list[int](), [i for i, f in enumerate(fronts) if f]
    while left and len(turns) < rows:
        short = {i: floors[i] * (len(turns) + 1) - taken[i] for i in left}
        chosen = max(left, key=lambda i: short[i])
        if short[chosen] <= 0.5:
            chosen = min(left, key=lambda i: fronts[i][taken[i]])
        turns.append(starts[chosen] + taken[chosen])
        taken[chosen] += 1
        if taken[chosen] == len(fronts[chosen]):
            left.remove(chosen)
    return turns
