"""Text keys by a compiled loop: `text.text_key` of many texts, where tables can tell it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled, inlined

_U32 = np.uint32


@compiled
def fold(
    points: NDArray[np.uint32],
    stops: NDArray[np.int64],
    table: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    left: NDArray[np.bool_],
) -> None:
    """Write the text keys of all texts to `out`, one after another, and where each ends to `ends`.

    Text i is the code points up to `stops[i]`. `table` and `kinds` (`text_table.SLOW`, `RUN` and so
    on) say what becomes of a code point and what that is. Where they cannot tell, nothing is
    written and `left` says so. `out` has room for twice the bytes of the texts.
    """
    at = start = 0
    for i in range(stops.shape[0]):
        end = _fold_points(points[start : stops[i]], stops[i] - start, table, kinds, out, at)
        left[i] = end <= at
        at = max(at, end)
        ends[i], start = at, stops[i]


@compiled
def _fold_points(points: Any, n: int, table: Any, kinds: Any, out: Any, at: int) -> int:
    """Where the key of a text ends that starts at `at`; -1 where the tables cannot tell."""
    before, i = 0, 0
    while i < n:
        start = i
        while i < n and kinds[points[i]] & 3 == 2:
            i += 1
        if i == n:
            return at
        kind = kinds[points[i]]
        beside = i > start and before & 4 and kind & 4
        if kind & 1 or beside or (before & 8 and _may_be_unit(points, i, n, kinds)):
            return -1
        if i > start:
            at = _bridge(points, start, i, before, kind, table, kinds, out, at)
            if at < 0:
                return -1
        at = _encode(table[points[i]], out, at)
        before, i = kind, i + 1
    return at


@compiled
def _bridge(
    points: Any, start: int, end: int, before: int, after: int,
    table: Any, kinds: Any, out: Any, at: int,
) -> int:  # fmt: skip
    """What a run of punctuation and spaces leaves between its two neighbours."""
    if after & 16:
        return _keep_sign(points, start, end, table, kinds, out, at)
    if before & 32 and after & 32:
        alone = end - start == 1 and table[points[start]] == 0x27
        return _encode(_U32(0x27 if alone else 0x20), out, at)
    return at


@compiled
def _may_be_unit(points: Any, i: int, n: int, kinds: Any) -> bool:
    """Whether up to four letters from here on hold a capital, as units may after a number."""
    for j in range(i, min(i + 4, n)):
        if kinds[points[j]] & 128:
            return True
        if not kinds[points[j]] & 32:
            return False
    return False


@compiled
def _keep_sign(points: Any, start: int, end: int, table: Any, kinds: Any, out: Any, at: int) -> int:
    """Of a run before a number its sign and a point right before it; -1 for a folded `...`."""
    for i in range(start, end):
        if table[points[i]] == 0x2026:
            return -1
    point = table[points[end - 1]] == 0x2E
    i = end - 2 if point else end - 1
    while i >= start and kinds[points[i]] & 64:
        i -= 1
    if i >= start and (table[points[i]] == 0x2D or table[points[i]] == 0x2014):
        at = _encode(table[points[i]], out, at)
    return _encode(_U32(0x2E), out, at) if point else at


@inlined
def _encode(c: Any, out: Any, at: int) -> int:
    """Write a code point as UTF-8; returns where the next one goes."""
    if c < 0x80:
        out[at] = c
        return at + 1
    if c < 0x800:
        out[at] = 0xC0 | c >> _U32(6)
        out[at + 1] = 0x80 | c & _U32(0x3F)
        return at + 2
    if c < 0x10000:
        out[at] = 0xE0 | c >> _U32(12)
        out[at + 1] = 0x80 | c >> _U32(6) & _U32(0x3F)
        out[at + 2] = 0x80 | c & _U32(0x3F)
        return at + 3
    out[at] = 0xF0 | c >> _U32(18)
    out[at + 1] = 0x80 | c >> _U32(12) & _U32(0x3F)
    out[at + 2] = 0x80 | c >> _U32(6) & _U32(0x3F)
    out[at + 3] = 0x80 | c & _U32(0x3F)
    return at + 4
