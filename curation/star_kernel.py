"""The compiled loop of the stars: each row goes into the nearest kept row that it is equal to.

`stars.RowIndex` is its slow twin in Python.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled, inlined, uncounted

_U32, _U64 = np.uint32, np.uint64
OWN, SMALLER, SHAPE, START, END, SAME, ALIKE, _KNOWN = range(8)
"""A card: what `kernels.outline` gives of a text, where it lies, two labels of its row, and of how
many distinct n-grams of what size it is, once that is known. It is as much as the cache takes of
memory at a time, for most cards are read once and at random.
"""
CARD = 8
_ROW = 3
"""Whose a kept outline is."""
_BYTE = np.uint64(0xFF)
_WIDE = 8
"""Numbers that the widest registers hold; short loops run over a multiple of it."""
ROW, SIZE, WINDOWS, ROUND = range(4)
"""What is known of n-grams at hand: of what text and size they are, how many there are, and how
often they were asked.
"""


@compiled
def merge_stars(
    prompts: tuple[Any, Any],
    answers: tuple[Any, Any],
    members: tuple[Any, Any, int],
    threshold: float,
    into: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Greedy stars: each row, the best first, goes into the nearest kept row it is equal to.

    `prompts` and `answers` are the bytes of all texts and a card (uint64) for each row. Compared
    are rows that share a bucket; `members` are those of `bucket_kernel.name_buckets`. Two are equal
    when the Jaccard index of their prompts is at least the threshold and their answers agree: on
    the cards of the prompts `SAME` is the same, or `ALIKE` is and is not 0, and the answers are as
    near. `into` is the row, -1 for a kept one, `similarity` the smaller of the two indices.
    """
    n, (rows, names, n_buckets) = into.shape[0], members
    buckets, ends = _group(rows, names, n)
    kept, limits = _room(names, n_buckets)
    stars = kept, limits, np.full(n, -1, np.int32)
    prompt, answer = (prompts, _space(prompts[1])), (answers, _space(answers[1]))
    cards = prompts[1]
    for i in range(n):
        mine = buckets[ends[i] : ends[i + 1]]
        into[i], similarity[i] = _find_star(i, prompt, answer, mine, stars, threshold)
        if into[i] < 0:
            for bucket in mine:
                last = limits[bucket, 1]
                kept[last, _ROW], kept[last, :_ROW] = i, cards[i, :_ROW]
                limits[bucket, 1] += 1


@compiled
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


@compiled
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


@uncounted
def _find_star(i: int, prompt: Any, answer: Any, buckets: Any, stars: Any, threshold: float) -> Any:
    """The nearest kept row that row i is equal to, the first of several, and how near; or -1."""
    (kept, limits, seen), cards = stars, prompt[0][1]
    mine, best, most, agreed = cards[i], -1, 0.0, 0.0
    for bucket in buckets:
        for at in range(limits[bucket, 0], limits[bucket, 1]):
            if _most_similar(mine, kept[at]) < max(threshold, most):
                continue
            j = np.int64(kept[at, _ROW])
            if seen[j] == i:
                continue
            seen[j] = i
            same = cards[j, SAME] == mine[SAME]
            if not same and (cards[j, ALIKE] != mine[ALIKE] or mine[ALIKE] == 0):
                continue
            found = _similar(prompt, i, j, max(threshold, most))
            if found == 0 or (found == most and j > best):
                continue
            least = found if same else min(found, _similar(answer, i, j, threshold))
            if least >= threshold:
                best, most, agreed = j, found, least
    return best, agreed


@inlined
def _most_similar(one: Any, other: Any) -> float:
    """What the Jaccard index of two texts is at most, by their outlines.

    Each bit that only one of them has is an n-gram that only it has. In a bucket that a common
    n-gram fills nearly all rows are told apart so, by what lies side by side in memory.
    """
    size = min(one[SHAPE] & _BYTE, other[SHAPE] & _BYTE)
    mine, theirs = _column(one, size), _column(other, size)
    if not (_is_known(one, mine, size) & _is_known(other, theirs, size)):
        return 1.0
    a, b = one[mine], other[theirs]
    lonely, others = _ones(a & ~b), _ones(b & ~a)
    shared = min(_windows(one, size) - lonely, _windows(other, size) - others)
    return shared / (shared + lonely + others)


@inlined
def _column(outline: Any, size: Any) -> Any:
    """Where an outline has the n-grams of a size, if it does; no branch, as none can be guessed."""
    return _U64(outline[SHAPE] & _BYTE != size)


@inlined
def _is_known(outline: Any, column: Any, size: Any) -> Any:
    return outline[SHAPE] >> (_U64(8) * column) & _BYTE == size


@inlined
def _windows(outline: Any, size: Any) -> Any:
    """How many n-grams of a size a text has, each as often as it is there."""
    return max(1, np.int64(outline[SHAPE] >> _U64(16)) - np.int64(size) + 1)


@compiled
def _space(cards: Any) -> Any:
    """The space in which texts are compared.

    The n-grams of one text are `loaded`, those of another `held` in the table, of each the ROW, the
    SIZE and the WINDOWS.
    """
    room = 1
    for i in range(cards.shape[0]):
        room = max(room, np.int64(cards[i, END] - cards[i, START]))
    slots = 1 << (64 - _shift(room))
    tables = np.empty(slots, np.uint64), np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    loaded, held = np.full(3, -1, np.int64), np.array([-1, -1, -1, 0])
    points, grams = np.empty(room + 2 * _WIDE, np.uint32), np.empty(room + _WIDE, np.uint64)
    return points, grams, tables, loaded, held


@uncounted
def _similar(texts: Any, i: int, j: Any, least: float) -> float:
    """The Jaccard index of two texts, or 0 where it is below the least that counts.

    The n-grams of text i stay in the table for the next one that it is compared with.
    """
    (data, cards), (points, grams, (table, other, asked), loaded, held) = texts
    if _is_same(data, cards[i], cards[j]):
        return 1.0
    size = min(cards[i, SHAPE] & _BYTE, cards[j, SHAPE] & _BYTE)
    if held[ROW] != i or held[SIZE] != size:
        held[ROW], held[SIZE] = i, size
        held[WINDOWS] = _load(data, cards, i, size, points, grams, loaded)
        cards[i, _KNOWN] = _U64(_fill(grams, held[WINDOWS], table)) << _U64(8) | size
    if cards[j, _KNOWN] & _BYTE != size:
        windows = _load(data, cards, j, size, points, grams, loaded)
        cards[j, _KNOWN] = _U64(_fill(grams, windows, other)) << _U64(8) | size
    mine, theirs = np.int64(cards[i, _KNOWN] >> _U64(8)), np.int64(cards[j, _KNOWN] >> _U64(8))
    total = mine + theirs
    need = max(0, int(least / (1 + least) * total) - 1)
    while need / (total - need) < least:
        need += 1
    if need > min(mine, theirs):
        return 0.0
    windows = _load(data, cards, j, size, points, grams, loaded)
    held[ROUND] += 1
    shift, now = _shift(held[WINDOWS]), held[ROUND]
    shared = _shared(grams, windows, table, shift, asked, now, windows - need)
    return shared / (total - shared) if shared >= need else 0.0


@uncounted
def _is_same(data: Any, one: Any, other: Any) -> bool:
    """Whether two texts are equal, byte for byte."""
    length = one[END] - one[START]
    if other[END] - other[START] != length:
        return False
    at = _U64(0)
    while at < length and data[one[START] + at] == data[other[START] + at]:
        at += _U64(1)
    return at == length


@uncounted
def _load(data: Any, cards: Any, row: int, size: Any, points: Any, grams: Any, loaded: Any) -> int:
    """Write the n-grams of a text; returns how many windows it has, so that many n-grams.

    An n-gram is a number but 0: itself up to three characters, beyond that a hash of 64 bits. A
    product by an odd number loses nothing and leaves the highest bits well mixed.
    """
    if loaded[ROW] == row and loaded[SIZE] == size:
        return loaded[WINDOWS]
    n = _decode(data, cards[row, START], cards[row, END], points)
    width = min(np.int64(size), n)
    windows = n - width + 1
    wide = -(-windows // _WIDE) * _WIDE
    for i in range(wide):
        grams[i] = 1
    for at in range(width):
        if at >= 3:
            for i in range(wide):
                x = grams[i] * _U64(0x9E3779B97F4A7C15)
                grams[i] = x ^ (x >> _U64(32))
        shift = _U64(21 if at < 3 else 0)
        for i in range(wide):
            grams[i] = (grams[i] << shift) + _U64(points[_U64(i + at)])
    for i in range(wide):
        grams[i] *= _U64(0x9E3779B97F4A7C15)
    loaded[ROW], loaded[SIZE], loaded[WINDOWS] = row, size, windows
    return windows


@uncounted
def _shift(windows: Any) -> Any:
    """What leaves of an n-gram its slot in a table for so many."""
    shift = 60
    while 1 << (64 - shift) < 2 * windows:
        shift -= 1
    return shift


@uncounted
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


@uncounted
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


@inlined
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


@inlined
def _ones(bits: Any) -> Any:
    """How many bits are set."""
    bits -= (bits >> _U64(1)) & _U64(0x5555555555555555)
    bits = (bits & _U64(0x3333333333333333)) + ((bits >> _U64(2)) & _U64(0x3333333333333333))
    bits = (bits + (bits >> _U64(4))) & _U64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * _U64(0x0101010101010101)) >> _U64(56))
