"""Near-duplicates among many rows, compared in groups by an engine.

A row is only ever compared with rows of its block that share a band with it. Let those that do be
joined by an edge: then all that a row is compared with lies in its component of that graph, and no
row of another component has a say in where it goes. So the stars of groups of whole components,
each in the order of rank, are together those of all rows, however the components are grouped.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import polars as pl

from curation.engines._base import Engine
from curation.minhash import flat_bands
from curation.stars import STAR_SCHEMA, blocks

GROUP = 20_000
"""Rows of a group, if no component is larger."""

_SPREAD = 4
"""Pieces of the bands for each worker, so that none waits long for the last one."""


def merge_groups(
    rows: pl.DataFrame,
    bands: Iterable[pl.DataFrame],
    merge: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    engine: Engine,
    group: int = GROUP,
) -> pl.DataFrame:
    """What `merge` finds in all groups of `rows`, of `STAR_SCHEMA` and in the order of `rows`.

    `rows` are signatures with split and track, the best first; `bands` has those of each, by id in
    pieces. `merge` gets some rows in the same order and gives their stars.
    """
    parents = _components(rows, bands, engine)
    groups = (rows[places] for places in _pack(parents, group))
    found = pl.concat([STAR_SCHEMA.to_frame(), *engine.map(merge, groups)])
    return rows.select("id").join(found, on="id", maintain_order="left")


def _components(rows: pl.DataFrame, bands: Iterable[pl.DataFrame], engine: Engine) -> Any:
    """For each row the place of the first row of its component."""
    import numpy as np

    from curation.bucket_kernel import name_roots, unite

    pieces, parents = _SPREAD * max(engine.workers, 1), np.arange(rows.height)
    # The blocks are numbered here, for all tasks: the numbers hold within one process only.
    placed = rows.select("id", block=blocks(rows)).with_row_index("place").sort("id")
    parts = (placed.join(piece, on="id").drop("id") for piece in bands)

    def split(part: pl.DataFrame) -> list[pl.DataFrame]:
        return split_keys(part, pieces)

    for edges in engine.exchange(split, parts, find_edges, pieces):
        unite(edges["first"].to_numpy(), edges["place"].to_numpy(), parents)
    name_roots(parents)
    return parents


def split_keys(part: pl.DataFrame, pieces: int) -> list[pl.DataFrame]:
    """Every band mixed with its row's block, and the place of the row, apart by the key alone.

    `part` has the columns place, block and bands.
    """
    import numpy as np

    flat, ends = flat_bands(part["bands"])
    counts = np.diff(ends, prepend=0)
    keys = np.repeat(part["block"].to_numpy(), counts) ^ flat
    places = np.repeat(part["place"].to_numpy().astype(np.int64), counts)
    which = ((keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) % np.uint64(pieces)
    order = np.argsort(which.astype(np.uint16), kind="stable")
    keyed = pl.DataFrame({"key": keys[order], "place": places[order]})
    cuts = np.bincount(which.astype(np.int64), minlength=pieces).cumsum()
    return [keyed[end - n : end] for end, n in zip(cuts, np.diff(cuts, prepend=0), strict=True)]


def find_edges(keyed: list[pl.DataFrame]) -> pl.DataFrame:
    """The first row of each key with every other that has it: columns place and first."""
    first = pl.col("place").min().over("key")
    edges = pl.concat(keyed).lazy().select("place", first=first)
    return edges.filter(pl.col("first") < pl.col("place")).unique().collect()


def _pack(parents: Any, group: int) -> Iterator[Any]:
    """The places of the rows of each group in their order: whole components of two rows or more."""
    import numpy as np

    busy = np.flatnonzero(np.bincount(parents, minlength=len(parents))[parents] > 1)
    busy = busy[np.argsort(parents[busy], kind="stable")]
    starts = np.flatnonzero(np.diff(parents[busy], prepend=-1))
    cuts = starts[np.flatnonzero(np.diff(starts // group)) + 1]
    return (np.sort(places) for places in np.split(busy, cuts) if len(places))
