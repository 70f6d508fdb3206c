"""Compiled loops over the UTF-8 of many texts: numbers out, and no Python object for an n-gram.

What calls one another stands in one file because numba's cache on disk looks at the file of a
function only, and takes what others define (scripts, bands, thresholds) as arguments for the same
reason. Each has a slow twin in Python that says what it means: `similarity.gram_size`,
`minhash.hash_gram`, `datasketch.MinHash`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled, inlined, uncounted

_U32, _U64 = np.uint32, np.uint64
_MOST = np.uint32(0xFFFFFFFF)
_WIDE = 16
"""Numbers that the widest registers hold. Short loops run over a multiple of it, as the rest would
be taken one by one; what lies beyond is nobody's.
"""
_STEP = 4
"""N-grams that are signed at a time: more cost the short texts, which have few, and fewer cost the
long ones, since the least numbers so far are read and written anew each time.
"""


@compiled
def sign(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    threshold: float,
    scripts: tuple[int, ...],
    a: NDArray[np.uint32],
    b: NDArray[np.uint32],
    shape: tuple[int, int],
    out: NDArray[np.uint32],
    steps: tuple[int, int],
    owner: NDArray[np.int32],
) -> int:
    """Write the bands of each text to `out`, and whose they are to `owner`; returns how many sets.

    Text i is `data[offsets[i]:offsets[i + 1]]`. It has one set of bands or two, and so there is
    room for two; from one set to the next, and from one band of a set to the next, it is so many
    `steps` in `out`. The `shape` is how many bands there are and how many lanes of the signature
    each has, of permutations `a`, `b`, which stand as `minhash._lanes_by_place` gives them.
    `scripts` is `similarity.SIGNED`.
    """
    longest = 1
    for i in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    mixed, hashes = np.empty(longest + 2 * _WIDE, np.uint32), np.empty(longest + _WIDE, np.uint32)
    best, state = np.empty(a.shape[0] + _WIDE, np.uint32), np.empty(_wide(shape[0]), np.uint32)
    found = 0
    for i in range(offsets.shape[0] - 1):
        n = _decode(data, offsets[i], offsets[i + 1], mixed)
        sizes = _sizes(mixed, n, threshold, scripts)
        _mix(mixed, n)
        for size in sizes:
            if size:
                count = _hash_grams(mixed, n, size, hashes)
                _sign_hashes(hashes, count, a, b, best)
                _fold(best, size, shape, state)
                for band in range(shape[0]):
                    out[_U64(found * steps[0] + band * steps[1])] = state[band]
                owner[found] = i
                found += 1
    return found


@compiled
def outline(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    threshold: float,
    scripts: tuple[int, ...],
    out: NDArray[np.uint64],
) -> None:
    """Write for each text (`text_spans`) what tells most that are not near it, in three numbers.

    They are the n-grams in the size that the text is compared in by `similarity.SCRIPTS`, each a
    bit of 64; the same in the smaller size that a near text may have, if there is one; and the
    number of its characters, the smaller size and its own, of which the sizes take the last two
    bytes.
    """
    longest = 1
    for i in range(starts.shape[0]):
        longest = max(longest, ends[i] - starts[i])
    mixed, hashes = np.empty(longest + 2 * _WIDE, np.uint32), np.empty(longest + _WIDE, np.uint32)
    for i in range(starts.shape[0]):
        n = _decode(data, starts[i], ends[i], mixed)
        smaller, own = _sizes(mixed, n, threshold, scripts)
        _mix(mixed, n)
        out[i, 0] = _mark(mixed, n, own, hashes)
        out[i, 1] = _mark(mixed, n, smaller, hashes) if smaller else _U64(0)
        out[i, 2] = _U64(n) << _U64(16) | _U64(smaller) << _U64(8) | _U64(own)


@uncounted
def _mark(mixed: Any, n: int, size: int, hashes: Any) -> Any:
    bits = _U64(0)
    for i in range(_hash_grams(mixed, n, size, hashes)):
        bits |= _U64(1) << _U64(hashes[i] >> _U32(26))
    return bits


@compiled
def decode(data: NDArray[np.uint8], offsets: NDArray[np.int64], points: Any, ends: Any) -> None:
    """Write the code points of all texts to `points`, and where each text ends to `ends`."""
    at = 0
    for i in range(offsets.shape[0] - 1):
        at += _decode(data, offsets[i], offsets[i + 1], points[at:])
        ends[i] = at


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


@uncounted
def _sizes(points: Any, n: int, threshold: float, scripts: Any) -> tuple[int, int]:
    """`similarity.signed_sizes` of n code points by these scripts; the first may be 0, for none."""
    share, room = _han_share(points, n), 1 - threshold
    own, smaller = _size(n, share >= 0.5, scripts), 0
    for length in (n, max(0, int(threshold * n) - 4)):
        for han in (True, False):
            size = _size(length, han, scripts)
            likely = share >= 0.5 - room if han else share < 0.5 + room
            if likely and smaller < size < own:
                smaller = size
    return smaller, own


@uncounted
def _han_share(points: Any, n: int) -> float:
    start, han = min(n, 200), 0
    for i in range(start):
        c = points[i]
        han += (0x3040 <= c <= 0x9FFF) or (0x20000 <= c <= 0x3FFFF)
    return han / start if start else 1.0


@uncounted
def _size(n: int, han: bool, scripts: Any) -> int:
    below, limit, beyond = scripts[:3] if han else scripts[3:]
    return below if n < limit else beyond


@uncounted
def _mix(points: Any, n: int) -> None:
    """Make the code points what `minhash.hash_gram` adds up of them."""
    for i in range(_wide(n)):
        x = _U32(points[i] * _U32(0x9E3779B1))
        points[i] = x ^ (x >> _U32(15))


@uncounted
def _hash_grams(mixed: Any, n: int, size: int, hashes: Any) -> int:
    """Write datasketch's hashes (`affine32`) of the n-grams of a text of n mixed code points.

    Returns how many there are, each as often as it is there.
    """
    width = min(size, n)
    count = n - width + 1
    hashes[0] = 0
    for at in range(width):
        for i in range(_wide(count)):
            hashes[i] = _U32((hashes[i] if at else _U32(0)) * _U32(0x85EBCA77)) + mixed[i + at]
    for i in range(_wide(count)):
        h = hashes[i]
        h = _U32((h ^ (h >> _U32(16))) * _U32(0x85EBCA6B))
        h = _U32((h ^ (h >> _U32(13))) * _U32(0xC2B2AE35))
        hashes[i] = h ^ (h >> _U32(16))
    return count


@uncounted
def _sign_hashes(hashes: Any, count: int, a: Any, b: Any, best: Any) -> None:
    """The least number of each lane: datasketch's signature (`affine32`)."""
    whole = -(-count // _STEP) * _STEP
    hashes[count:whole] = hashes[0]  # what is there twice changes no minimum
    best[:] = _MOST
    for i in range(0, whole, _STEP):
        h0, h1, h2, h3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
        for lane in range(a.shape[0]):
            by, plus = a[lane], b[lane]
            least = min(_U32(by * h0 + plus), _U32(by * h1 + plus))
            least = min(least, _U32(by * h2 + plus), _U32(by * h3 + plus))
            best[lane] = min(best[lane], least)


@uncounted
def _fold(best: Any, size: int, shape: Any, state: Any) -> None:
    """One number for each band, of its lanes and what its place starts from (`minhash.stir`).

    All bands take their next lane at once: one after another would wait for each other's numbers.
    """
    bands, rows = shape
    for band in range(state.shape[0]):
        state[band] = _U32(size) * _U32(0x85EBCA77) + _U32(band) * _U32(0xC2B2AE35)
    for first in range(0, rows * bands, bands):
        for band in range(state.shape[0]):
            x = _U32((state[band] ^ best[_U64(first + band)]) * _U32(0x9E3779B1))
            state[band] = x ^ (x >> _U32(15))


@inlined
def _wide(n: int) -> int:
    return -(-n // _WIDE) * _WIDE
