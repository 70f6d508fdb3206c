"""Which ids a slice holds, in a sixteenth of the room: enough to leave most slices unread.

Kept is the beginning of each id, 32 bits. Ids are digests, so among 65,536 rows that lie close
together one that is not there is taken for one that is about once in 4,000 times; a look-up of new
rows reads next to nothing.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

IDS = "ids"
"""Kind of the objects that say which ids a slice holds."""

LEAST = 8_192
"""A slice of fewer rows is read as quickly as its index."""
ROOM = 2**24
"""Beginnings of ids that are kept in memory, 4 bytes each."""
_DIGITS = 8


def index_ids(ids: pl.Series) -> pl.DataFrame | None:
    """The beginnings of ids in ascending order (`start`, UInt32), or None where they do not help.

    They do in a slice of `LEAST` rows and more whose ids all begin with eight hexadecimal digits.
    """
    if len(ids) < LEAST or ids.dtype != pl.String:
        return None
    starts = _starts(ids)
    return None if starts.null_count() else pl.DataFrame({"start": starts.sort()})


def first_bits(ids: pl.Series) -> Any:
    """The beginning of each id as a number, -1 for one that is no digest; a numpy array."""
    return _starts(ids).cast(pl.Int64).fill_null(-1).to_numpy()


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
        for key, path in zip(new, locate(new), strict=True):
            self._kept[key] = found = _read(key, path)
            self._size += 0 if found is None else len(found)
        asked = {key: self._kept[key] for key in wanted}
        if self._size > ROOM:
            self._kept, self._size = {}, 0
        return asked


def _read(key: str, path: Path) -> Any:
    if key.startswith(f"{IDS}/"):
        return pl.read_parquet(path, glob=False)["start"].to_numpy()
    starts = _starts(pl.read_parquet(path, columns=["id"], glob=False)["id"])
    return None if starts.null_count() else starts.sort().to_numpy()


def _starts(ids: pl.Series) -> pl.Series:
    digits = ids.str.slice(0, _DIGITS)
    digits = digits.set(digits.str.len_bytes() < _DIGITS, None)
    return digits.str.to_integer(base=16, strict=False, dtype=pl.UInt32)
