"""The order in which a run meets its rows (Bengio et al. 2009): by levels, drawn within a level."""

from typing import Literal

import polars as pl

from curation.rows import digest
from training.tokens import pack_rows

Order = Literal["shuffled", "short_first", "general_first"]
LEVELS = 10


def order_bins(
    tokens: pl.DataFrame, general: pl.Series, *, order: Order, block: int | None, seed: int = 0
) -> pl.DataFrame:
    """The bins of `pack_rows`, level after level, so that no bin holds rows of two levels.

    `short_first` has ten levels of as many rows each, by tokens; `general_first` has two, the rows
    with these ids and the others. Every pass goes through the levels anew.
    """
    usable = tokens.filter(pl.col("reason") == "")
    if order == "short_first":
        rank = pl.struct("n_tokens", "id").rank("ordinal") - 1
        levels = usable.with_columns(level=rank * LEVELS // max(usable.height, 1))
    else:
        levels = usable.with_columns(level=(~pl.col("id").is_in(general.implode())).cast(pl.Int64))
    parts = levels.sort("level", maintain_order=True).partition_by("level", maintain_order=True)
    packed = [_drawn(pack_rows(part.drop("level"), block=block), seed) for part in parts]
    bins = pl.concat(packed) if packed else pack_rows(usable, block=block)
    return bins.with_columns(bin=pl.int_range(pl.len(), dtype=pl.Int32))


def _drawn(bins: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The bins in an order that follows from their rows and the seed, not longest first."""
    draws = [digest(["order", seed, number, *ids]) for number, ids in enumerate(bins["ids"])]
    return bins.with_columns(draw=pl.Series(draws, dtype=pl.String)).sort("draw").drop("draw")
