"""The mix: how many general rows are trained on beside the domain rows.

Domain rows are few and all stay; general rows are chosen to an exact ratio, of rows, tokens or
trained tokens, each stratum in proportion, and large topics less than that where a recipe spreads
them. They stand in a line (`curation.line`), and the first that can be trained on are taken: the
others are not even looked at. A row's place is a digest of its id, so a pool that grows by a
twentieth changes about a twentieth of the choice: an order drawn by a running generator would
change all of it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from curation.fates import kept, make_fates
from curation.line import TOPIC, Line

Unit = Literal["rows", "tokens", "loss_tokens"]
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
    spread: float = 0.0,
    salt: str = "",
    max_repeats: int = 2,
    min_share: float = 3 / 7,
) -> Mixed:
    """`general` for every `domain` in the `unit`, exactly, where the pool allows it.

    `rows` is the kept training pool (`ROW_SCHEMA`). General rows are drawn in proportion to their
    share of each stratum (`STRATA`) by the digest of id and `salt`, which is an Efraimidis-Spirakis
    draw (2006) of equal weights; one that does not fit leaves its turn to the next. A category in
    `floors` has at least that share (0..1) of the general rows while it has rows. Tokens come as
    near as the last row allows: to half of it. With a `spread` (0..1) the rows have a `topic`, too
    (a whole number, null where unknown), and a topic of n rows is drawn in proportion to
    n^(1 - spread): at 1 as many rows of each topic while it has some. A general pool that is short
    is repeated, each row at most `max_repeats` times. Raises `ValueError` when even that leaves
    less than `min_share` of the wanted ratio (3:1 for 7:1), or when there is no domain row.
    """
    floors = floors or {}
    _check_ratio(general, domain, max_repeats, floors)
    require_spread(spread)
    if spread and TOPIC not in rows.columns:
        raise ValueError(f"a spread of {spread!r} draws by topic, and the rows have no {TOPIC!r}")
    ours, others = (rows.filter(pl.col("track") == track) for track in ("domain", "general"))
    ours, unfit = _first_fit(Line(ours, salt), None, fit)
    size = int(ours["size"].sum())
    n_domain = size - size % domain if unit == "rows" else size
    if not n_domain:
        raise ValueError(f"the mix has {ours.height} domain rows; it needs at least {domain}")
    wanted = n_domain * general // domain
    line = Line(others, salt, spread=spread, floors=floors)
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


def require_spread(spread: float) -> None:
    """Raises `ValueError` for a spread that is none."""
    if not 0 <= spread <= 1:
        raise ValueError(f"spread is {spread!r}, not between 0 (in proportion) and 1 (all alike)")


def count_topics(rows: pl.DataFrame) -> dict[str, float]:
    """How many topics the general rows (track and topic) are of, and how evenly.

    `effective` is how many topics of one size would be as even: the exponential of the entropy of
    their shares (Hill, 1973), rounded to 2 digits. Each row counts once, however often it is
    repeated, and rows without a topic are one more.
    """
    general = rows.filter(pl.col("track") == "general")
    sizes = general.group_by(TOPIC).agg(n=pl.len())["n"].sort()
    entropy = sizes.entropy() or 0.0
    return {"topics": len(sizes), "effective": round(math.exp(entropy), 2) if len(sizes) else 0.0}


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
    line: Line, wanted: int | None, fit: Fit, *, guess: float = 1.0
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
