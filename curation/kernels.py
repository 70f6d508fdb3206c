"""Compiled loops over the UTF-8 of many texts: numbers out, and no Python object for an n-gram.

What calls one another stands in one file because numba's cache on disk looks at the file of a
function only, and takes what others define (scripts, bands, thresholds) as arguments for the same
reason. Each has a slow twin in Python that says what it means: `similarity.gram_size`,
`minhash.hash_gram`, `datasketch.MinHash`, `stars.RowIndex`.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U32, _U64 = np.uint32, np.uint64
_MOST = np.uint32(0xFFFFFFFF)
_WIDE, _STEP = 64, 16
"""From so many n-grams on a lane is a loop over n-grams, in steps of a vector register or two; else
an n-gram is a loop over lanes: the inner one wants to be long."""
OWN, SIZE, DISTINCT = range(3)
"""What is known of a text: the size of its n-grams, and of one size how many distinct ones."""
ROW, WINDOWS, ROUND = 0, 2, 3
"""What a space holds beside the SIZE: whose n-grams, how many, and how often it was asked."""


@njit(cache=True, nogil=True)
def sign(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    threshold: float,
    scripts: tuple[int, ...],
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
    rows: int,
    out: NDArray[np.uint32],
    owner: NDArray[np.int64],
) -> int:
    """Write the bands of each text to `out`, and whose they are to `owner`; returns how many sets.

    Text i is `data[offsets[i]:offsets[i + 1]]`. `out` (sets, bands) has room for two sets a text.
    A band is `rows` lanes of the signature of permutations `a`, `b`. `scripts` is
    `similarity.SCRIPTS`.
    """
    longest = 1
    for i in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    points, mixed = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    hashes, best = np.empty(longest + _STEP, np.uint32), np.empty(a.shape[0], np.uint32)
    found = 0
    for i in range(offsets.shape[0] - 1):
        n = _decode(data, offsets[i], offsets[i + 1], points)
        for j in range(n):
            x = _U32(points[j] * _U32(0x9E3779B1))
            mixed[j] = x ^ (x >> _U32(15))
        for size in _signed_sizes(points, n, threshold, scripts):
            if size:
                _least(mixed, n, size, a, b, hashes, best)
                _fold(best, size, rows, out[found])
                owner[found] = i
                found += 1
    return found


@njit(cache=True, nogil=True)
def decode(data: NDArray[np.uint8], offsets: NDArray[np.int64], points: Any, ends: Any) -> None:
    """Write the code points of all texts to `points`, and where each text ends to `ends`."""
    at = 0
    for i in range(offsets.shape[0] - 1):
        at += _decode(data, offsets[i], offsets[i + 1], points[at:])
        ends[i] = at


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


@njit(cache=True, nogil=True)
def _gram_size(points: Any, n: int, scripts: Any) -> int:
    """`similarity.gram_size` of n code points."""
    return _size(n, _han_share(points, n) >= 0.5, scripts)


@njit(cache=True, nogil=True)
def _signed_sizes(points: Any, n: int, threshold: float, scripts: Any) -> tuple[int, int]:
    """`minhash.signed_sizes` of n code points; the first is 0 where there is only one."""
    share, room = _han_share(points, n), 1 - threshold
    own, smaller = _size(n, share >= 0.5, scripts), 0
    for length in (n, max(0, int(threshold * n) - 4)):
        for han in (True, False):
            size = _size(length, han, scripts)
            likely = share >= 0.5 - room if han else share < 0.5 + room
            if likely and smaller < size < own:
                smaller = size
    return smaller, own


@njit(cache=True, nogil=True)
def _han_share(points: Any, n: int) -> float:
    start, han = min(n, 200), 0
    for i in range(start):
        c = points[i]
        han += (0x3040 <= c <= 0x9FFF) or (0x20000 <= c <= 0x3FFFF)
    return han / start if start else 1.0


@njit(cache=True, nogil=True)
def _size(n: int, han: bool, scripts: Any) -> int:
    below, limit, beyond = scripts[:3] if han else scripts[3:]
    return below if n < limit else beyond


@njit(cache=True, nogil=True)
def _least(mixed: Any, n: int, size: int, a: Any, b: Any, hashes: Any, best: Any) -> None:
    """datasketch's signature (`affine32`) of the n-grams of a text of n mixed code points."""
    width = min(size, n)
    count = n - width + 1
    hashes[0] = 0
    for at in range(width):
        for i in range(count):
            hashes[i] = _U32((hashes[i] if at else _U32(0)) * _U32(0x85EBCA77)) + mixed[i + at]
    for i in range(count):
        h = hashes[i]
        h = _U32((h ^ (h >> _U32(16))) * _U32(0x85EBCA6B))
        h = _U32((h ^ (h >> _U32(13))) * _U32(0xC2B2AE35))
        hashes[i] = h ^ (h >> _U32(16))
    _sign_hashes(hashes, count, a, b, best)


@njit(cache=True, nogil=True)
def _sign_hashes(hashes: Any, count: int, a: Any, b: Any, best: Any) -> None:
    """The least number of each lane."""
    if count < _WIDE:
        best[:] = _MOST
        for i in range(count):
            h = hashes[i]
            for lane in range(a.shape[0]):
                best[lane] = min(best[lane], _U32(a[lane] * h + b[lane]))
        return
    whole = -(-count // _STEP) * _STEP
    hashes[count:whole] = hashes[0]  # what is there twice changes no minimum
    for lane in range(a.shape[0]):
        least, by, plus = _MOST, a[lane], b[lane]
        for i in range(whole):
            least = min(least, _U32(by * hashes[i] + plus))
        best[lane] = least


@njit(cache=True, nogil=True)
def _fold(best: Any, size: int, rows: int, out: Any) -> None:
    """One number for each band, of its lanes and what its place starts from (splitmix64)."""
    for band in range(out.shape[0]):
        x = _U64(size) * _U64(0x9E3779B97F4A7C15) + _U64(band)
        for lane in range(band * rows, (band + 1) * rows):
            x = _stir(x ^ _U64(best[lane]))
        out[band] = _U32(x)


@njit(cache=True, nogil=True, inline="always")
def _stir(x: Any) -> Any:
    x = x + _U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


@njit(cache=True, nogil=True)
def merge_stars(
    prompts: tuple[Any, Any],
    answers: tuple[Any, Any],
    labels: tuple[Any, Any, Any],
    members: tuple[Any, Any, int],
    threshold: float,
    scripts: tuple[int, ...],
    into: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Greedy stars: each row, the best first, goes into the nearest kept row it is equal to.

    `prompts` and `answers` are data and offsets as `sign` takes them, `labels` three numbers
    (uint64) for each row. Compared are rows with the same first label that share a bucket;
    `members` are those of `bucket_kernel.name_buckets`. Two are equal when the Jaccard index of
    their prompts is at least the threshold and their answers agree: the second label is the same,
    or the third is, is not 0, and the answers are as near. `into` is the row, -1 for a kept one,
    `similarity` the smaller of the two indices.
    """
    n, (rows, names, n_buckets) = into.shape[0], members
    buckets, ends = _group(rows, names, n)
    kept, firsts = _group(names, rows, n_buckets)
    last, seen = firsts[:-1].copy(), np.full(n, -1, np.int32)
    stars = kept, firsts, last, seen
    prompt, answer = _compared(prompts, scripts), _compared(answers, scripts)
    for i in range(n):
        mine = buckets[ends[i] : ends[i + 1]]
        into[i], similarity[i] = _find_star(i, prompt, answer, labels, mine, stars, threshold)
        if into[i] < 0:
            for bucket in mine:
                kept[last[bucket]] = i
                last[bucket] += 1


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
def _find_star(
    i: int, prompt: Any, answer: Any, labels: Any, buckets: Any, stars: Any, threshold: float
) -> Any:
    """The nearest kept row that row i is equal to, the first of several, and how near; or -1."""
    block, same, alike = labels
    kept, firsts, last, seen = stars
    best, most, agreed = -1, 0.0, 0.0
    for bucket in buckets:
        for at in range(firsts[bucket], last[bucket]):
            j = np.int64(kept[at])
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


@njit(cache=True, nogil=True)
def _compared(texts: Any, scripts: Any) -> Any:
    """Texts to compare, what becomes known of each, and the space in which it is done.

    `known` has the columns OWN, SIZE and DISTINCT. The n-grams of one text are `loaded`, those of
    another `held` in the table, of each the ROW, the SIZE and the WINDOWS.
    """
    data, ends = texts
    n, room = ends.shape[0] - 1, 1
    for i in range(n):
        room = max(room, ends[i + 1] - ends[i])
    space, slots = (np.empty(room, np.uint32), np.empty(room, np.uint64)), 1 << (64 - _shift(room))
    tables = np.empty(slots, np.uint64), np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    loaded, held = np.full(3, -1, np.int64), np.array([-1, -1, -1, 0])
    known = np.zeros((n, 3), np.int32)
    return data, ends, scripts, known, space, tables, loaded, held


@njit(cache=True, nogil=True)
def _similar(texts: Any, i: int, j: Any, least: float) -> float:
    """The Jaccard index of two texts, or 0 where it is below the least that counts.

    The n-grams of text i stay in the table for the next one that it is compared with.
    """
    data, ends, scripts, known, (points, grams), (table, other, asked), loaded, held = texts
    if _is_same(data, ends, i, j):
        return 1.0
    for row in (i, j):
        if known[row, OWN] == 0:
            n = _decode(data, ends[row], ends[row + 1], points)
            known[row, OWN] = _gram_size(points, n, scripts)
    size = min(known[i, OWN], known[j, OWN])
    if held[ROW] != i or held[SIZE] != size:
        held[ROW], held[SIZE] = i, size
        held[WINDOWS] = _load(data, ends, i, size, points, grams, loaded)
        known[i, SIZE], known[i, DISTINCT] = size, _fill(grams, held[WINDOWS], table)
    if known[j, SIZE] != size:
        windows = _load(data, ends, j, size, points, grams, loaded)
        known[j, SIZE], known[j, DISTINCT] = size, _fill(grams, windows, other)
    total = known[i, DISTINCT] + known[j, DISTINCT]
    need = max(0, int(least / (1 + least) * total) - 1)
    while need / (total - need) < least:
        need += 1
    if need > min(known[i, DISTINCT], known[j, DISTINCT]):
        return 0.0
    windows = _load(data, ends, j, size, points, grams, loaded)
    held[ROUND] += 1
    shift, now = _shift(held[WINDOWS]), held[ROUND]
    shared = _shared(grams, windows, table, shift, asked, now, windows - need)
    return shared / (total - shared) if shared >= need else 0.0


@njit(cache=True, nogil=True)
def _is_same(data: Any, ends: Any, i: int, j: int) -> bool:
    """Whether two texts are equal, byte for byte."""
    length = ends[i + 1] - ends[i]
    if ends[j + 1] - ends[j] != length:
        return False
    at = 0
    while at < length and data[ends[i] + at] == data[ends[j] + at]:
        at += 1
    return at == length


@njit(cache=True, nogil=True)
def _load(data: Any, ends: Any, row: int, size: int, points: Any, grams: Any, loaded: Any) -> int:
    """Write the n-grams of a text; returns how many windows it has, so that many n-grams.

    An n-gram is a number but 0: itself up to three characters, beyond that a hash of 64 bits. A
    product by an odd number loses nothing and leaves the highest bits well mixed.
    """
    if loaded[ROW] == row and loaded[SIZE] == size:
        return loaded[WINDOWS]
    n = _decode(data, ends[row], ends[row + 1], points)
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
def _shift(windows: int) -> Any:
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
