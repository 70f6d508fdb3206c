"""The mix: how many general rows are trained on beside the domain rows.

Domain rows are few and all stay; general rows are chosen to an exact ratio, each stratum in
proportion. They stand in a line, and the first that can be trained on are taken: the others are not
even looked at. A row's place is a digest of its id, so a pool that grows by a twentieth changes
about a twentieth of the choice: an order drawn by a running generator would change all of it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.fates import kept, make_fates

STRATA = ("category", "lang", "difficulty")
MORE = 256
"""Fewest rows that are looked at together after the first ones, to find soon what is missing."""

FIT_SCHEMA = pl.Schema({"id": pl.String, "reason": pl.String, "value": pl.Float64})
Fit = Callable[[pl.Series], pl.DataFrame]
"""Ids, to a line of `FIT_SCHEMA` each in their order; the reason is "" where a row fits."""


@dataclass(frozen=True)
class Mixed:
    """The training rows with how often each is trained on, and what became of the others.

    `rows` has the columns of the input and `repeats` (Int64, 1 or more), sorted by id. `unfit`
    (`FIT_SCHEMA`) holds the rows whose turn came and that do not fit, `entered` id and source of
    the input. `note` says in one line what was short, "" when nothing was.
    """

    rows: pl.DataFrame
    unfit: pl.DataFrame
    entered: pl.DataFrame
    note: str

    @property
    def fates(self) -> pl.DataFrame:
        """A fate for every row that entered, sorted by id."""
        return self.judge(self.entered)

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The fates of some of the rows that entered, sorted by id."""
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
    return pl.DataFrame({"id": ids}).with_columns(reason=pl.lit(""), value=pl.lit(0.0))


def mix_tracks(
    rows: pl.DataFrame,
    fit: Fit = all_fit,
    /,
    *,
    general: int = 7,
    domain: int = 1,
    unit: Literal["rows"] = "rows",
    salt: str = "",
    max_repeats: int = 2,
    min_share: float = 3 / 7,
) -> Mixed:
    """`general` rows for every `domain` rows, exactly, where the pool allows it.

    `rows` is the kept training pool (`ROW_SCHEMA`). General rows are drawn in proportion to their
    share of each stratum (`STRATA`) by the digest of id and `salt`, which is an Efraimidis-Spirakis
    draw (2006) of equal weights; one that does not fit leaves its turn to the next. A general pool
    that is short is repeated, each row at most `max_repeats` times. Raises `ValueError` when even
    that leaves less than `min_share` of the wanted ratio (3:1 for 7:1), or when there is no domain
    row.
    """
    _check_ratio(general, domain, max_repeats)
    line = _line_up(rows, salt)
    ours = line.filter(pl.col("track") == "domain")["id"]
    others = line.filter(pl.col("track") == "general")["id"]
    ours, unfit = _first_fit(ours, len(ours), fit)
    n_domain = len(ours) - len(ours) % domain
    wanted = n_domain // domain * general
    if not n_domain:
        raise ValueError(f"the mix has {len(ours)} domain rows; it needs at least {domain}")
    pool, more_unfit = _first_fit(others, wanted, fit)
    taken = min(wanted, len(pool) * max_repeats)
    _require_enough(taken, wanted, n_domain, general / domain * min_share)
    chosen = pl.concat([_draw(ours, n_domain), _draw(pool, taken)])
    mixed = rows.join(chosen, on="id").sort("id")
    note = _note(len(pool), taken, wanted, n_domain)
    return Mixed(mixed, pl.concat([unfit, more_unfit]), rows.select("id", "source"), note)


def _check_ratio(general: int, domain: int, max_repeats: int) -> None:
    if general < 0 or domain < 1 or max_repeats < 1:
        raise ValueError(
            f"a mix of {general!r} general to {domain!r} domain rows with {max_repeats!r} repeats "
            "is none; general is at least 0, the others at least 1"
        )


def _require_enough(taken: int, wanted: int, n_domain: int, floor: float) -> None:
    if wanted and taken < floor * n_domain:
        raise ValueError(
            f"{n_domain:,} domain rows want {wanted:,} general rows and there are {taken:,}, "
            f"repeats included: {taken / n_domain:.2f}:1 is under {floor:.3g}:1; add general rows"
        )


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


def _line_up(rows: pl.DataFrame, salt: str) -> pl.DataFrame:
    """Id and track, such that every stratum has its share of the first so many of its track."""
    stratum = ("track", *STRATA)
    placed = rows.select("id", *stratum, place=_places(rows["id"], salt))
    turn = pl.col("place").rank("ordinal").over(stratum)
    placed = placed.select("id", "track", "place", at=(turn - 0.5) / pl.len().over(stratum))
    return placed.sort("at", "place").select("id", "track")


def _first_fit(line: pl.Series, count: int, fit: Fit) -> tuple[pl.Series, pl.DataFrame]:
    """Ids of the first `count` in line that fit, and the lines of those passed over."""
    seen, found, at = [pl.DataFrame(schema=FIT_SCHEMA)], 0, 0
    while found < count and at < len(line):
        some = line.slice(at, max(count - found, MORE if at else 0))
        seen.append(fit(some))
        found += int((seen[-1]["reason"] == "").sum())
        at += len(some)
    fits = pl.col("reason") == ""
    told = pl.concat(seen).filter(fits.cum_sum() - fits < count)
    return told.filter(fits)["id"], told.filter(~fits)


def _draw(line: pl.Series, count: int) -> pl.DataFrame:
    """`count` copies of the rows as id and repeats: all rows alike, and one more of the first."""
    each, more = divmod(count, max(1, len(line)))
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    drawn = line.to_frame("id").with_columns(repeats=each + (place < more).cast(pl.Int64))
    return drawn.filter(pl.col("repeats") > 0)


def _note(n_pool: int, taken: int, wanted: int, n_domain: int) -> str:
    if taken < wanted:
        return f"{n_pool:,} general rows, all repeated, give {taken / n_domain:.2f}:1"
    if taken > n_pool:
        return f"{n_pool:,} general rows are short of {wanted:,}: {taken - n_pool:,} stand in twice"
    return ""
