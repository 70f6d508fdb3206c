"""The mix: how many general rows are trained on beside the domain rows.

Domain rows are few and all stay; general rows are chosen to an exact ratio, of rows, tokens or
trained tokens, each stratum in proportion. They stand in a line, and the first that can be trained
on are taken: the others are not even looked at. A row's place is a digest of its id, so a pool that
grows by a twentieth changes about a twentieth of the choice: an order drawn by a running generator
would change all of it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.fates import kept, make_fates

STRATA = ("category", "lang", "difficulty")
Unit = Literal["rows", "tokens", "loss_tokens"]
_ROOM = 2
"""So many times as many rows are put in order as are likely to be looked at."""
MORE = 256
"""Fewest rows that are looked at together after the first ones, to find soon what is missing."""

FIT_SCHEMA = pl.Schema(
    {"id": pl.String, "reason": pl.String, "value": pl.Float64, "size": pl.Int64}
)
Fit = Callable[[pl.Series], pl.DataFrame]
"""Ids, to a line of `FIT_SCHEMA` each in their order; the reason is "" where a row fits.

`size` is what the row counts in the unit of the mix: 1 where rows are counted.
"""


@dataclass(frozen=True)
class Mixed:
    """The training rows with how often each is trained on, and what became of the others.

    `rows` has the columns of the input and `repeats` (Int64, 1 or more), sorted by id. `unfit`
    (`FIT_SCHEMA`) holds the rows whose turn came and that do not fit. `note` says in one line what
    was short, "" when nothing was; `low` are the categories that stayed under their floor.
    """

    rows: pl.DataFrame
    unfit: pl.DataFrame
    note: str
    low: tuple[str, ...]

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The fates of rows that entered (id and source), all or some, sorted by id."""
        chosen = pl.col("id").is_in(self.rows["id"].implode())
        broken = rows.select("id", "source").join(self.unfit, on="id")
        others = rows.filter(~chosen & ~pl.col("id").is_in(self.unfit["id"].implode()))
        dropped = make_fates(broken, "dropped", reason=pl.col("reason"), value=pl.col("value"))
        left = make_fates(others, "not_sampled", reason="mix")
        return pl.concat([kept(rows.filter(chosen)), dropped, left]).sort("id")

    @property
    def counts(self) -> pl.DataFrame:
        """By track: rows (distinct), copies (with repeats) and chars (of all copies), Int64."""
        copies = pl.col("repeats")
        grouped = self.rows.group_by("track").agg(
            rows=pl.len().cast(pl.Int64),
            copies=copies.sum(),
            chars=(pl.col("n_chars") * copies).sum(),
        )
        return grouped.sort("track")

    @property
    def ratio(self) -> float:
        """General copies for each domain copy; the unit is rows."""
        copies = dict(self.counts.select("track", "copies").iter_rows())
        return copies.get("general", 0) / max(1, copies.get("domain", 0))


def all_fit(ids: pl.Series) -> pl.DataFrame:
    """Every row can be trained on."""
    fits = {"reason": pl.lit(""), "value": pl.lit(0.0), "size": pl.lit(1, pl.Int64)}
    return pl.DataFrame({"id": ids}).with_columns(**fits)


def mix_tracks(
    rows: pl.DataFrame,
    fit: Fit = all_fit,
    /,
    *,
    general: int = 7,
    domain: int = 1,
    unit: Unit = "rows",
    floors: Mapping[str, float] | None = None,
    salt: str = "",
    max_repeats: int = 2,
    min_share: float = 3 / 7,
) -> Mixed:
    """`general` for every `domain` in the `unit`, exactly, where the pool allows it.

    `rows` is the kept training pool (`ROW_SCHEMA`). General rows are drawn in proportion to their
    share of each stratum (`STRATA`) by the digest of id and `salt`, which is an Efraimidis-Spirakis
    draw (2006) of equal weights; one that does not fit leaves its turn to the next. A category in
    `floors` has at least that share (0..1) of the general rows while it has rows. Tokens come as
    near as the last row allows: to half of it. A general pool that is short is repeated, each row
    at most `max_repeats` times. Raises `ValueError` when even that leaves less than `min_share` of
    the wanted ratio (3:1 for 7:1), or when there is no domain row.
    """
    floors = floors or {}
    _check_ratio(general, domain, max_repeats, floors)
    ours, others = (rows.filter(pl.col("track") == track) for track in ("domain", "general"))
    ours, unfit = _first_fit(_Line(ours, salt), None, fit)
    size = int(ours["size"].sum())
    n_domain = size - size % domain if unit == "rows" else size
    if not n_domain:
        raise ValueError(f"the mix has {ours.height} domain rows; it needs at least {domain}")
    wanted = n_domain * general // domain
    line = _Line(others, salt, *_scales(others, floors))
    pool, more_unfit = _first_fit(line, wanted, fit, guess=size / ours.height)
    drawn = _draw(pool, wanted, max_repeats)
    chosen = pl.concat([_draw(ours, n_domain, 1), drawn])
    mixed = rows.join(chosen.select("id", "repeats"), on="id").sort("id")
    taken = int((drawn["size"] * drawn["repeats"]).sum())
    there = int(pool["size"].sum())
    name = unit.replace("_", " ")
    sizes = _Sizes(name, n_domain, wanted, there, there * max_repeats, taken)
    sizes.require(general / domain * min_share)
    low = _low_floors(mixed, floors)
    unfits = pl.concat([unfit, more_unfit])
    said = "; ".join(note for note in (sizes.note(), *low.values()) if note)
    return Mixed(mixed, unfits, said, (*low,))


def _check_ratio(general: int, domain: int, max_repeats: int, floors: Mapping[str, float]) -> None:
    if general < 0 or domain < 1 or max_repeats < 1:
        raise ValueError(
            f"a mix of {general!r} general to {domain!r} domain rows with {max_repeats!r} repeats "
            "is none; general is at least 0, the others at least 1"
        )
    for category, share in floors.items():
        if not isinstance(share, int | float) or not 0 < share < 1 or sum(floors.values()) >= 1:
            raise ValueError(
                f"the floor of {category!r} is {share!r}: floors are shares of the general rows, "
                "each between 0 and 1 and less than 1 together"
            )


@dataclass(frozen=True)
class _Sizes:
    """What the mix came to in its unit; `most` is the pool with all its repeats."""

    unit: str
    domain: int
    wanted: int
    pool: int
    most: int
    taken: int

    def require(self, floor: float) -> None:
        if self.wanted and self.taken < floor * self.domain:
            raise ValueError(
                f"{self.domain:,} domain {self.unit} want {self.wanted:,} general {self.unit} and "
                f"there are {self.taken:,}, repeats included: {self.taken / self.domain:.2f}:1 is "
                f"under {floor:.3g}:1; add general rows"
            )

    def note(self) -> str:
        """What was short in one line, "" for nothing."""
        if self.pool >= self.wanted:
            return ""
        pool = f"{self.pool:,} general {self.unit}"
        if self.most < self.wanted:
            return f"{pool}, all repeated, give {self.taken / self.domain:.2f}:1"
        return f"{pool} are short of {self.wanted:,}: {self.taken - self.pool:,} stand in twice"


def _places(ids: pl.Series, salt: str) -> pl.Series:
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


class _Line:
    """The rows of one track in line, such that every stratum has its share of any first rows.

    A row stands where its rank of place within its stratum has it; `scales` bring the rows of some
    categories closer together, and `rest` those of all others apart. Of a large pool only the front
    is put in order: rows beyond a place stand behind those before it, stratum by stratum.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        salt: str,
        scales: Mapping[str, float] | None = None,
        rest: float = 1.0,
    ):
        self._rows = rows.select("id", *STRATA)
        self._places = _places(rows["id"], salt)
        scale = pl.col("category").replace_strict(
            scales or {}, default=rest, return_dtype=pl.Float64
        )
        self._strata = self._rows.group_by(STRATA).agg(n=pl.len()).with_columns(scale=scale)
        self._front, self._share = rows["id"].clear(), 0.0

    def __len__(self) -> int:
        return self._rows.height

    def take(self, at: int, few: int) -> pl.Series:
        """So many ids from a place of the line on; fewer where it ends."""
        while len(self._front) < at + few and self._share < 1:
            share = max(4 * self._share, _ROOM * (at + few) / len(self))
            self._share = share if share < 0.5 else 1
            self._front = self._line_up()
        return self._front[at : at + few]

    def _line_up(self) -> pl.Series:
        placed = self._rows.with_columns(place=self._places)
        if self._share < 1:
            placed = placed.filter(pl.col("place") < int(self._share * 2**64))
        turn = pl.col("place").rank("ordinal").over(STRATA) - 0.5
        placed = placed.with_columns(turn=turn).join(self._strata, on=STRATA, nulls_equal=True)
        line = placed.select("id", "place", at=pl.col("turn") / pl.col("n") * pl.col("scale"))
        met = placed.group_by(STRATA).agg(met=pl.len())
        rest = self._strata.join(met, on=STRATA, how="left", nulls_equal=True)
        rest = rest.with_columns(pl.col("met").fill_null(0)).filter(pl.col("met") < pl.col("n"))
        behind = rest.select(((pl.col("met") + 0.5) / pl.col("n") * pl.col("scale")).min()).item()
        if behind is not None:
            line = line.filter(pl.col("at") < behind)
        return line.sort("at", "place")["id"]


def _scales(rows: pl.DataFrame, floors: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """What a category under its floor has its distances multiplied with, and what all others."""
    shares = _low_shares(rows, floors)
    rest = (1 - sum(shares.values())) / (1 - sum(floors[c] for c in shares))
    return {c: share / floors[c] for c, share in shares.items()}, rest


def _low_shares(rows: pl.DataFrame, floors: Mapping[str, float]) -> dict[str, float]:
    """The categories with a floor that have less of these rows, and what they have.

    A floor that lifts one category pushes others down, so all are looked at until none falls.
    """
    if not floors:
        return {}
    had = {c: int((rows["category"] == c).sum()) / max(1, rows.height) for c in floors}
    low = {c: share for c, share in had.items() if 0 < share < floors[c]}
    while True:
        rest = (1 - sum(floors[c] for c in low)) / max(1e-9, 1 - sum(low.values()))
        more = {c: had[c] for c in had if c not in low and 0 < had[c] * rest < floors[c]}
        if not more:
            return low
        low |= more


def _low_floors(mixed: pl.DataFrame, floors: Mapping[str, float]) -> dict[str, str]:
    """The categories that stayed under their floor by more than a row, and a line about each."""
    general = mixed.filter(pl.col("track") == "general")
    copies = int(general["repeats"].sum())
    lines = {}
    for category, floor in floors.items():
        there = int(general.filter(pl.col("category") == category)["repeats"].sum())
        if copies and there < floor * copies - 1:
            lines[category] = (
                f"{category!r} has {there:,} of {copies:,} general rows, under its floor of "
                f"{floor:.3g}; add rows of it that fit"
            )
    return lines


def _first_fit(
    line: _Line, wanted: int | None, fit: Fit, *, guess: float = 1.0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first in line that fit and together have the wanted size (id, size), None for all.

    The other frame has the lines of those passed over. `guess` is the size that a row may have.
    """
    seen, found, at = [pl.DataFrame(schema=FIT_SCHEMA)], 0, 0
    while at < len(line) and (wanted is None or found < wanted):
        few = len(line) if wanted is None else int((wanted - found) / max(1.0, guess))
        some = line.take(at, max(few, MORE if at else 1))
        seen.append(fit(some).select(FIT_SCHEMA.names()))
        found += int(seen[-1].filter(pl.col("reason") == "")["size"].sum())
        at += len(some)
    fits, size = pl.col("reason") == "", pl.col("size")
    told = pl.concat(seen)
    if wanted is not None:
        own = pl.when(fits).then(size).otherwise(0)
        told = told.filter(own.cum_sum() - own < wanted)
    return told.filter(fits).select("id", "size"), told.filter(~fits)


def _draw(line: pl.DataFrame, wanted: int, most: int) -> pl.DataFrame:
    """Copies of the rows that together come to the wanted size: id, size and repeats.

    All rows alike, at most so many times, and one more of the first; of the last of these as much
    as half may be too much.
    """
    size = pl.col("size")
    each = min(wanted // max(1, int(line["size"].sum())), most)
    rest = wanted - each * int(line["size"].sum()) if each < most else 0
    more = 2 * (size.cum_sum() - rest) <= size
    drawn = line.with_columns(repeats=each + more.cast(pl.Int64) if rest else pl.lit(each))
    return drawn.with_columns(pl.col("repeats").cast(pl.Int64)).filter(pl.col("repeats") > 0)
