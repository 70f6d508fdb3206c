"""The mix: how many general rows are trained on beside the domain rows.

Domain rows are few and all stay; general rows are chosen to an exact ratio, each stratum in
proportion. A row's place in line is a digest of its id, so a pool that grows by a twentieth changes
about a twentieth of the choice: an order drawn by a running generator would change all of it.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.fates import kept, make_fates

STRATA = ("category", "lang", "difficulty")


@dataclass(frozen=True)
class Mixed:
    """The training rows with how often each is trained on, and what became of the others.

    `rows` has the columns of the input and `repeats` (Int64, 1 or 2), sorted by id. `entered` holds
    id and source of the input. `note` says in one line what was short, "" when nothing was.
    """

    rows: pl.DataFrame
    entered: pl.DataFrame
    note: str

    @property
    def fates(self) -> pl.DataFrame:
        """A fate for every row that entered, sorted by id."""
        return self.judge(self.entered)

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The fates of some of the rows that entered, sorted by id."""
        chosen = pl.col("id").is_in(self.rows["id"].implode())
        left = make_fates(rows.filter(~chosen), "not_sampled", reason="mix")
        return pl.concat([kept(rows.filter(chosen)), left]).sort("id")

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


def mix_tracks(
    rows: pl.DataFrame,
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
    draw (2006) of equal weights. A general pool that is short is repeated, each row at most
    `max_repeats` times. Raises `ValueError` when even that leaves less than `min_share` of the
    wanted ratio (3:1 for 7:1), or when there is no domain row.
    """
    _check_ratio(general, domain, max_repeats)
    ordered = rows.select("id", "track", *STRATA, __place=_places(rows["id"], salt))
    ours = ordered.filter(pl.col("track") == "domain")
    pool = ordered.filter(pl.col("track") == "general")
    n_domain = ours.height - ours.height % domain
    wanted = n_domain // domain * general
    if not n_domain:
        raise ValueError(f"the mix has {ours.height} domain rows; it needs at least {domain}")
    taken = min(wanted, pool.height * max_repeats)
    _require_enough(taken, wanted, n_domain, general / domain * min_share)
    chosen = [_draw(ours, n_domain, 1), _draw(pool, taken, max_repeats)]
    mixed = rows.join(pl.concat(chosen), on="id").sort("id")
    return Mixed(mixed, rows.select("id", "source"), _note(pool.height, taken, wanted, n_domain))


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


def _draw(pool: pl.DataFrame, count: int, max_repeats: int) -> pl.DataFrame:
    """`count` copies of the rows as id and repeats: all rows alike, and one more of some."""
    if not pool.height or not count:
        return pl.DataFrame(schema={"id": pl.String, "repeats": pl.Int64})
    each, more = divmod(count, pool.height)
    if each >= max_repeats:
        each, more = max_repeats, 0
    extra = _first_of_strata(pool, more)
    drawn = pool.select("id", repeats=pl.lit(each) + pl.col("id").is_in(extra).cast(pl.Int64))
    return drawn.cast({"repeats": pl.Int64}).filter(pl.col("repeats") > 0)


def _first_of_strata(pool: pl.DataFrame, count: int) -> list[str]:
    """Ids of the first in line of each stratum, as many of each as is its share of `count`."""
    strata = pool.group_by(STRATA).agg(n=pl.len()).sort(STRATA)
    share = strata["n"] * count / pool.height
    quota = strata.with_columns(quota=share.floor().cast(pl.Int64), rest=share - share.floor())
    missing = count - int(quota["quota"].sum())
    # Largest remainder; equal remainders go to the stratum first by name.
    order = pl.col("rest").rank("ordinal", descending=True)
    quota = quota.with_columns(pl.col("quota") + (order <= missing).cast(pl.Int64))
    turn = pl.col("__place").rank("ordinal").over(STRATA)
    lined = pool.filter(turn <= quota["quota"].max()).with_columns(__turn=turn)
    lined = lined.join(quota, on=list(STRATA), nulls_equal=True)
    return lined.filter(pl.col("__turn") <= pl.col("quota"))["id"].to_list()


def _note(n_pool: int, taken: int, wanted: int, n_domain: int) -> str:
    if taken < wanted:
        return f"{n_pool:,} general rows, all repeated, give {taken / n_domain:.2f}:1"
    if taken > n_pool:
        return f"{n_pool:,} general rows are short of {wanted:,}: {taken - n_pool:,} stand in twice"
    return ""
