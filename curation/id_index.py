"""Which ids a slice holds, in a sixteenth of the room: enough to leave most slices unread.

Kept is the beginning of each id, 32 bits. Ids are digests, so among 65,536 rows that lie close
together one that is not there is taken for one that is about once in 4,000 times; a look-up of new
rows reads next to nothing.
"""

import polars as pl

LEAST = 8_192
"""A slice of fewer rows is read as quickly as its index."""
_DIGITS = 8


def index_ids(ids: pl.Series) -> pl.DataFrame | None:
    """The beginnings of ids in ascending order (`start`, UInt32), or None where they do not help.

    They do in a slice of `LEAST` rows and more whose ids all begin with eight hexadecimal digits.
    """
    if len(ids) < LEAST or ids.dtype != pl.String:
        return None
    starts = _starts(ids)
    return None if starts.null_count() else pl.DataFrame({"start": starts.sort()})


def held_ids(index: pl.DataFrame, ids: pl.Series) -> pl.Series:
    """Those of the ids that a slice with this index may hold."""
    return ids.filter(_starts(ids).is_in(index["start"].implode()))


def _starts(ids: pl.Series) -> pl.Series:
    digits = ids.str.slice(0, _DIGITS)
    digits = digits.set(digits.str.len_bytes() < _DIGITS, None)
    return digits.str.to_integer(base=16, strict=False, dtype=pl.UInt32)
