"""Which rows may hold a text: for each group of rows, all sequences of four characters in them.

A group that lacks one of the text's cannot hold it, so a search reads the few groups that may.
The sequences are kept as a Bloom filter of one hash function (Bloom, 1970), at most half full.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from curation.frames import ROW_GROUP
from curation.id_index import LEAST as LEAST_IDS
from curation.id_index import STARTS, ids_begin

LEAST = 4
"""A text of fewer characters is looked for everywhere."""
_SCHEMA = pl.Schema({"first": pl.UInt32, "bits": pl.Binary, STARTS: pl.List(pl.UInt32)})
SEARCHED = ("first", "bits")
"""The columns that a search for a text needs."""
_BITS = 22
_LEAST_BITS = 10


def index_texts(texts: pl.DataFrame) -> pl.DataFrame:
    """One line for each `ROW_GROUP` rows (`id`, `messages`): its `first` row and its `bits`.

    With them stand the beginnings of its ids (`id_index.STARTS`), as they help in many rows.
    """
    parts = [*texts.iter_slices(ROW_GROUP)]
    groups = [_filter(_contents(part)) for part in parts]
    firsts = range(0, texts.height, ROW_GROUP)
    many = texts.height >= LEAST_IDS
    starts = [ids_begin(part["id"]) if many else None for part in parts]
    columns = {"first": firsts, "bits": groups, STARTS: starts}
    return pl.DataFrame(columns, schema=_SCHEMA)


def groups_to_search(index: pl.DataFrame, wanted: str) -> Iterator[tuple[int, int]]:
    """(first row, number of rows) of each group that may hold a text in one of its turns."""
    import numpy as np

    hashes = _hashes(wanted)
    for first, bits in index.select(SEARCHED).iter_rows():
        at = hashes & (len(bits) * 8 - 1)
        held = np.frombuffer(bits, np.uint8)[at >> 3] >> (7 - (at & 7)) & 1
        if held.all():
            yield first, ROW_GROUP


def _contents(texts: pl.DataFrame) -> str:
    turns = texts["messages"].explode().struct.field("content").drop_nulls()
    return "\0".join(turns)


def _filter(text: str) -> bytes:
    """The filter of a text, folded in half while no more than half of the bits are set."""
    import numpy as np

    held = np.zeros(1 << _BITS, bool)
    held[_hashes(text)] = True
    while len(held) > 1 << _LEAST_BITS:
        folded = held[: len(held) // 2] | held[len(held) // 2 :]
        if 2 * folded.sum() > len(folded):
            break
        held = folded
    return np.packbits(held).tobytes()


def _hashes(text: str) -> Any:
    """`_BITS` bits for every four characters; splitmix64's finalizer (Steele et al., 2014)."""
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(points) < LEAST:
        return np.zeros(0, np.int64)
    mixed = points[:-3] << np.uint64(42) ^ points[1:-2] << np.uint64(21) ^ points[2:-1]
    mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + points[3:]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    return (mixed >> np.uint64(64 - _BITS)).astype(np.int64)
