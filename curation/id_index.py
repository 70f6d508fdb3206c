"""Which ids a slice holds, in a sixteenth of the room: enough to leave most slices unread.

Kept is the beginning of each id, 32 bits. Ids are digests, so among 65,536 rows that lie close
together one that is not there is taken for one that is about once in 4,000 times; a look-up of new
rows reads next to nothing.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from curation.frames import collect_many

IDS = "ids"
"""Kind of the objects that say which ids a slice holds."""

STARTS = "starts"
"""Column of the beginnings of ids in an index that is made for more than ids: a list in a line."""
LEAST = 8_192
"""A slice of fewer rows is read as quickly as its index."""
ROOM = 2**24
"""Beginnings of ids that are kept in memory, 4 bytes each."""
_DIGITS = pl.col("id").str.slice(0, 8)
_START = pl.when(_DIGITS.str.len_bytes() >= 8).then(
    _DIGITS.str.to_integer(base=16, strict=False, dtype=pl.UInt32).alias("start")
)


def index_ids(ids: pl.Series) -> pl.DataFrame | None:
    """The beginnings of ids in ascending order (`start`, UInt32), or None where they do not help.

    They do in a slice of `LEAST` rows and more whose ids all begin with eight hexadecimal digits.
    """
    if len(ids) < LEAST or ids.dtype != pl.String:
        return None
    starts = ids.to_frame("id").select(_START)
    return None if starts["start"].null_count() else starts.sort("start")


def ids_begin(ids: pl.Series) -> pl.Series:
    """The beginning of each id (UInt32), null for one that is no digest."""
    return ids.to_frame("id").select(_START)["start"]


def first_bits(ids: pl.Series) -> Any:
    """The beginning of each id as a number, -1 for one that is no digest; a numpy array."""
    return ids_begin(ids).cast(pl.Int64).fill_null(-1).to_numpy()


def may_hold(index: Any, bits: Any) -> Any:
    """Whether a slice may hold the ids that begin with these `first_bits`, a numpy array of bools.

    `index` is the slice's as `IdIndexes` gives it.
    """
    asked = bits.astype("uint32")
    places = index.searchsorted(asked).clip(max=len(index) - 1)
    return (index[places] == asked) & (bits >= 0)


class IdIndexes:
    """The indexes of slices, each read once; when they hold more than `ROOM` ids all are forgotten.

    Of a slice that is too small to have an index its ids are read.
    """

    def __init__(self) -> None:
        self._kept, self._size = dict[str, Any](), 0

    def read(
        self, keys: Iterable[str], locate: Callable[[list[str]], Iterable[Path]]
    ) -> dict[str, Any]:
        """For each object the beginnings of its ids in ascending order (numpy, UInt32).

        None where ids are no digests. `locate` gives the paths of objects.
        """
        wanted = list(dict.fromkeys(keys))
        new = [key for key in wanted if key not in self._kept]
        scans = [_scan(key, path) for key, path in zip(new, locate(new), strict=True)]
        for key, found in zip(new, collect_many(scans), strict=True):
            starts = found["start"]
            self._kept[key] = None if starts.null_count() else starts.to_numpy()
            self._size += 0 if starts.null_count() else len(starts)
        asked = {key: self._kept[key] for key in wanted}
        if self._size > ROOM:
            self._kept, self._size = {}, 0
        return asked


def _scan(key: str, path: Path) -> pl.LazyFrame:
    """What `start` says of an object's ids in ascending order, one null where it says nothing."""
    file = pl.scan_parquet(path, glob=False)
    if key.startswith(f"{IDS}/"):
        return file
    there = pl.read_parquet_schema(path)
    if STARTS in there:
        return file.select(pl.col(STARTS).explode().alias("start"))
    if "id" in there:
        return file.select(_START).sort("start")
    return pl.LazyFrame({"start": [None]}, schema={"start": pl.UInt32})
