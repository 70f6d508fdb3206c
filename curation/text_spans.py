"""The bytes of texts where Polars has them, so that a kernel reads them in any order uncopied."""

from typing import Any, NamedTuple

import polars as pl

_VIEW = {"length": "<i4", "start": "<u4", "buffer": "<i4", "at": "<i4"}
"""Arrow's string view; one of up to 12 bytes holds them itself, from the second number on."""
_SHORT = 12


class TextSpans(NamedTuple):
    """Text i is `data[starts[i]:ends[i]]`: uint8, int64 and int64."""

    data: Any
    starts: Any
    ends: Any

    def gather(self, places: Any) -> "TextSpans":
        """The texts at these places."""
        return TextSpans(self.data, self.starts[places], self.ends[places])


class _Memory:
    """Memory from the first to the last byte that is read, with what keeps it."""

    def __init__(self, first: int, size: int, keeper: Any):
        self.keeper = keeper
        self.__array_interface__ = {
            "version": 3, "typestr": "|u1", "shape": (size,), "data": (first, True),
        }  # fmt: skip


def text_spans(texts: pl.Series) -> TextSpans:
    """The UTF-8 of texts, none of them null, of which nothing is copied.

    Texts lie in many buffers. `data` is all memory from the first of them to the last, of which
    nothing but the texts may be read; it keeps them where they are.
    """
    import numpy as np

    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    if len(array) == 0:
        none = np.empty(0, np.int64)
        return TextSpans(np.empty(0, np.uint8), none, none)
    _, own, *others = array.buffers()
    views = np.frombuffer(own, np.dtype([*_VIEW.items()]), len(array), array.offset * 16)
    starts = own.address + 16 * (array.offset + np.arange(len(array))) + 4
    long = np.flatnonzero(views["length"] > _SHORT)
    homes = np.array([other.address for other in others], np.int64)
    starts[long] = homes[views["buffer"][long]] + views["at"][long]
    ends = starts + views["length"]
    first, last = starts.min(), ends.max()
    data = np.asarray(_Memory(int(first), int(last - first), array))
    return TextSpans(data, starts - first, ends - first)
