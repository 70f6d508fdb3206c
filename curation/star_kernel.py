"""The compiled loop of the stars: each row goes into the nearest kept row that it is equal to.

`stars.RowIndex` is its slow twin in Python. It shares no function with the other kernels: numba's
cache on disk looks at the file of a function only.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U32, _U64 = np.uint32, np.uint64
_OWN, _SMALLER, _SHAPE, _ROW = range(4)
"""What `kernels.outline` gives of a text, and, beside it, whose it is."""
_BYTE = np.uint64(0xFF)
DISTINCT, SIZE = range(2)
"""What is known of a text: how many distinct n-grams it has, and of what size."""
ROW, WINDOWS, ROUND = 0, 2, 3
"""What a space holds beside the SIZE: whose n-grams, how many, and how often it was asked."""


@njit(cache=True, nogil=True)
def merge_stars(
    prompts: tuple[Any, Any, Any, Any],
    answers: tuple[Any, Any, Any, Any],
    labels: tuple[Any, Any, Any],
    members: tuple[Any, Any, int],
    threshold: float,
    into: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Greedy stars: each row, the best first, goes into the nearest kept row it is equal to.

    `prompts` and `answers` are `text_spans` and their `kernels.outline`, `labels` three numbers
    (uint64) for each row. Compared are rows with the same first label that share a bucket;
    `members` are those of `bucket_kernel.name_buckets`. Two are equal when the Jaccard index of
    their prompts is at least the threshold and their answers agree: the second label is the same,
    or the third is, is not 0, and the answers are as near. `into` is the row, -1 for a kept one,
    `similarity` the smaller of the two indices.
    """
    n, (rows, names, n_buckets) = into.shape[0], members
    buckets, ends = _group(rows, names, n)
    kept, limits = _room(names, n_buckets)
    stars = kept, limits, np.full(n, -1, np.int32)
    prompt, answer = _compared(prompts), _compared(answers)
    for i in range(n):
        mine = buckets[ends[i] : ends[i + 1]]
        into[i], similarity[i] = _find_star(i, prompt, answer, labels, mine, stars, threshold)
        if into[i] < 0:
            for bucket in mine:
                last = limits[bucket, 1]
                kept[last, _ROW], kept[last, :_ROW] = i, prompts[3][i]
                limits[bucket, 1] += 1


@njit(cache=True, nogil=True)
def _group(keys: Any, values: Any, n: int) -> Any:
    """The values (int32) in the order of their keys, those below n, and where each key starts."""
    starts, out = np.zeros(n + 1, np.int64), np.empty(keys.shape[0], np.int32)
    for key in keys:
        starts[key] += 1
    starts = starts.cumsum()  # where each ends, until it has been filled from its end on
    for at in range(keys.shape[0] - 1, -1, -1):
        starts[keys[at]] -= 1
        out[starts[keys[at]]] = values[at]
    return out, starts


@njit(cache=True, nogil=True)
def _room(names: Any, n_buckets: int) -> Any:
    """Room for the kept rows of each bucket with their outlines, and where it starts and ends now.

    They lie side by side, since of a bucket in many the reading of memory takes the time.
    """
    limits = np.zeros((n_buckets, 2), np.int64)
    for name in names:
        limits[name, 1] += 1
    start = 0
    for bucket in range(n_buckets):
        limits[bucket, 0], start = start, start + limits[bucket, 1]
        limits[bucket, 1] = limits[bucket, 0]
    return np.empty((names.shape[0], _ROW + 1), np.uint64), limits


@njit(cache=True, nogil=True)
def _find_star(
    i: int, prompt: Any, answer: Any, labels: Any, buckets: Any, stars: Any, threshold: float
) -> Any:
    """The nearest kept row that row i is equal to, the first of several, and how near; or -1."""
    block, same, alike = labels
    kept, limits, seen = stars
    mine, best, most, agreed = prompt[3][i], -1, 0.0, 0.0
    for bucket in buckets:
        for at in range(limits[bucket, 0], limits[bucket, 1]):
            if _most_similar(mine, kept[at]) < max(threshold, most):
                continue
            j = np.int64(kept[at, _ROW])
            agree = same[j] == same[i] or (alike[j] == alike[i] and alike[i] != 0)
            if seen[j] == i or block[j] != block[i] or not agree:
                continue
            seen[j] = i
            found = _similar(prompt, i, j, max(threshold, most))
            if found == 0 or (found == most and j > best):
                continue
            least = found
            if same[j] != same[i]:
                least = min(found, _similar(answer, i, j, threshold))
            if least >= threshold:
                best, most, agreed = j, found, least
    return best, agreed


@njit(cache=True, nogil=True, inline="always")
def _most_similar(one: Any, other: Any) -> float:
    """What the Jaccard index of two texts is at most, by their outlines.

    Each bit that only one of them has is an n-gram that only it has. In a bucket that a common
    n-gram fills nearly all rows are told apart so, by what lies side by side in memory.
    """
    size = min(one[_SHAPE] & _BYTE, other[_SHAPE] & _BYTE)
    mine, theirs = _column(one, size), _column(other, size)
    if not (_is_known(one, mine, size) & _is_known(other, theirs, size)):
        return 1.0
    a, b = one[mine], other[theirs]
    lonely, others = _ones(a & ~b), _ones(b & ~a)
    shared = min(_windows(one, size) - lonely, _windows(other, size) - others)
    return shared / (shared + lonely + others)


@njit(cache=True, nogil=True, inline="always")
def _column(outline: Any, size: Any) -> Any:
    """Where an outline has the n-grams of a size, if it does; no branch, as none can be guessed."""
    return _U64(outline[_SHAPE] & _BYTE != size)


@njit(cache=True, nogil=True, inline="always")
def _is_known(outline: Any, column: Any, size: Any) -> Any:
    return outline[_SHAPE] >> (_U64(8) * column) & _BYTE == size


@njit(cache=True, nogil=True, inline="always")
def _windows(outline: Any, size: Any) -> Any:
    """How many n-grams of a size a text has, each as often as it is there."""
    return max(1, np.int64(outline[_SHAPE] >> _U64(16)) - np.int64(size) + 1)


@njit(cache=True, nogil=True)
def _compared(texts: Any) -> Any:
    """Texts to compare, what becomes known of each, and the space in which it is done.

    `known` has the columns DISTINCT and SIZE. The n-grams of one text are `loaded`, those of
    another `held` in the table, of each the ROW, the SIZE and the WINDOWS.
    """
    data, starts, ends, outlines = texts
    n, room = starts.shape[0], 1
    for i in range(n):
        room = max(room, ends[i] - starts[i])
    space, slots = (np.empty(room, np.uint32), np.empty(room, np.uint64)), 1 << (64 - _shift(room))
    tables = np.empty(slots, np.uint64), np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    loaded, held = np.full(3, -1, np.int64), np.array([-1, -1, -1, 0])
    known = np.zeros((n, 2), np.int32)
    return (data, starts, ends), known, space, outlines, tables, loaded, held


@njit(cache=True, nogil=True)
def _similar(texts: Any, i: int, j: Any, least: float) -> float:
    """The Jaccard index of two texts, or 0 where it is below the least that counts.

    The n-grams of text i stay in the table for the next one that it is compared with.
    """
    spans, known, (points, grams), outlines, (table, other, asked), loaded, held = texts
    if _is_same(spans, i, j):
        return 1.0
    size = np.int64(min(outlines[i, _SHAPE] & _BYTE, outlines[j, _SHAPE] & _BYTE))
    if held[ROW] != i or held[SIZE] != size:
        held[ROW], held[SIZE] = i, size
        held[WINDOWS] = _load(spans, i, size, points, grams, loaded)
        known[i, SIZE], known[i, DISTINCT] = size, _fill(grams, held[WINDOWS], table)
    if known[j, SIZE] != size:
        windows = _load(spans, j, size, points, grams, loaded)
        known[j, SIZE], known[j, DISTINCT] = size, _fill(grams, windows, other)
    total = known[i, DISTINCT] + known[j, DISTINCT]
    need = max(0, int(least / (1 + least) * total) - 1)
    while need / (total - need) < least:
        need += 1
    if need > min(known[i, DISTINCT], known[j, DISTINCT]):
        return 0.0
    windows = _load(spans, j, size, points, grams, loaded)
    held[ROUND] += 1
    shift, now = _shift(held[WINDOWS]), held[ROUND]
    shared = _shared(grams, windows, table, shift, asked, now, windows - need)
    return shared / (total - shared) if shared >= need else 0.0


@njit(cache=True, nogil=True)
def _is_same(spans: Any, i: int, j: Any) -> bool:
    """Whether two texts are equal, byte for byte."""
    data, starts, ends = spans
    length = ends[i] - starts[i]
    if ends[j] - starts[j] != length:
        return False
    at = 0
    while at < length and data[starts[i] + at] == data[starts[j] + at]:
        at += 1
    return at == length


@njit(cache=True, nogil=True)
def _load(spans: Any, row: int, size: Any, points: Any, grams: Any, loaded: Any) -> int:
    """Write the n-grams of a text; returns how many windows it has, so that many n-grams.

    An n-gram is a number but 0: itself up to three characters, beyond that a hash of 64 bits. A
    product by an odd number loses nothing and leaves the highest bits well mixed.
    """
    if loaded[ROW] == row and loaded[SIZE] == size:
        return loaded[WINDOWS]
    data, starts, ends = spans
    n = _decode(data, starts[row], ends[row], points)
    width = min(size, n)
    windows = n - width + 1
    grams[:windows] = 1
    for at in range(width):
        if at >= 3:
            for i in range(windows):
                x = grams[i] * _U64(0x9E3779B97F4A7C15)
                grams[i] = x ^ (x >> _U64(32))
        shift = _U64(21 if at < 3 else 0)
        for i in range(windows):
            grams[i] = (grams[i] << shift) + _U64(points[i + at])
    for i in range(windows):
        grams[i] *= _U64(0x9E3779B97F4A7C15)
    loaded[ROW], loaded[SIZE], loaded[WINDOWS] = row, size, windows
    return windows


@njit(cache=True, nogil=True)
def _shift(windows: Any) -> Any:
    """What leaves of an n-gram its slot in a table for so many."""
    shift = 60
    while 1 << (64 - shift) < 2 * windows:
        shift -= 1
    return shift


@njit(cache=True, nogil=True)
def _fill(grams: Any, windows: int, table: Any) -> int:
    """Make the table these n-grams; returns how many there are, each counted once."""
    shift = _shift(windows)
    last, count = _U64((1 << (64 - shift)) - 1), 0
    table[: last + _U64(1)] = 0
    for at in range(windows):
        gram = grams[at]
        slot = gram >> _U64(shift)
        while table[slot] != 0 and table[slot] != gram:
            slot = (slot + _U64(1)) & last
        count += table[slot] == 0
        table[slot] = gram
    return count


@njit(cache=True, nogil=True)
def _shared(
    grams: Any, windows: int, table: Any, shift: int, asked: Any, now: int, spare: int
) -> int:
    """How many n-grams are in the table, each counted once; fewer when more than `spare` are not.

    What was counted in this round (`now`) is marked in `asked`.
    """
    last, shared = _U64((1 << (64 - shift)) - 1), 0
    for at in range(windows):
        gram = grams[at]
        slot = gram >> _U64(shift)
        while table[slot] != 0 and table[slot] != gram:
            slot = (slot + _U64(1)) & last
        if table[slot] != 0 and asked[slot] != now:
            asked[slot] = now
            shared += 1
        elif at - shared >= spare:
            return shared
    return shared


@njit(cache=True, nogil=True, inline="always")
def _decode(data: Any, start: int, end: int, points: Any) -> Any:
    """The code points of valid UTF-8; returns how many.

    What the marks of the bytes add up to is taken off at the end. Places are unsigned, since for
    others numba asks each time whether they count from the end.
    """
    n, i, last = _U64(0), _U64(start), _U64(end)
    while i < last:
        c = _U32(data[i])
        if 0xE0 <= c < 0xF0:
            c = (c << _U32(6)) + _U32(data[i + _U64(1)])
            c = (c << _U32(6)) + _U32(data[i + _U64(2)]) - _U32(0xE2080)
            i += _U64(3)
        elif c < 0x80:
            i += _U64(1)
        elif c < 0xE0:
            c = (c << _U32(6)) + _U32(data[i + _U64(1)]) - _U32(0x3080)
            i += _U64(2)
        else:
            c = (c << _U32(6)) + _U32(data[i + _U64(1)])
            c = (c << _U32(6)) + _U32(data[i + _U64(2)])
            c = (c << _U32(6)) + _U32(data[i + _U64(3)]) - _U32(0x3C82080)
            i += _U64(4)
        points[n] = c
        n += _U64(1)
    return np.int64(n)


@njit(cache=True, nogil=True, inline="always")
def _ones(bits: Any) -> Any:
    """How many bits are set."""
    bits -= (bits >> _U64(1)) & _U64(0x5555555555555555)
    bits = (bits & _U64(0x3333333333333333)) + ((bits >> _U64(2)) & _U64(0x3333333333333333))
    bits = (bits + (bits >> _U64(4))) & _U64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * _U64(0x0101010101010101)) >> _U64(56))
