"""Compiled loops over the bands of many rows: which rows share a band with another of their block.

They share no function with the other kernels: numba's cache on disk looks at the file of a function
only.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U64 = np.uint64


@njit(cache=True, nogil=True)
def mark_shared(
    bands: NDArray[np.uint32],
    ends: NDArray[np.int64],
    block: NDArray[np.uint64],
    start: int,
    place: int,
    step: int,
    seen: Any,
    out: NDArray[np.bool_],
) -> None:
    """Set `out` for each row that shares the band of a place with one seen before, and for that.

    Row `start + i` has the bands up to `ends[i]`, one or two sets of `step`; a place is compared
    with itself and its twin in the other set. What was `seen` is a `table_for` all rows, in which
    the rows given are remembered.
    """
    keys, first = seen
    for i in range(ends.shape[0]):
        row = start + i
        for at in range((ends[i - 1] if i else 0) + place, ends[i], step):
            key = _stir(block[i] ^ _U64(bands[at]))
            slot = _slot(key, keys, first)
            if first[slot] < 0:
                first[slot], keys[slot] = row, key
            elif first[slot] != row:
                out[first[slot]] = out[row] = True


@njit(cache=True, nogil=True)
def name_buckets(
    bands: NDArray[np.uint32],
    ends: NDArray[np.int64],
    block: NDArray[np.uint64],
    step: int,
    out: NDArray[np.int32],
) -> int:
    """Number the bands that rows share in `out` (rows, places), each place with its twin.

    Row i has the bands up to `ends[i]`. Returns how many there are.
    """
    n, places = out.shape
    keys, entries, flat = np.empty(2 * n, np.uint64), np.empty(2 * n, np.int64), out.ravel()
    words = 1
    while 64 * words < 16 * n:
        words *= 2
    bits, named = np.empty((2, words), np.uint64), 0
    for place in range(step):
        count = _sift(bands, ends, block, place, step, places, keys, entries, bits)
        table, first = table_for(count // 2)
        for at in range(count):
            slot = _slot(keys[at], table, first)
            if first[slot] < 0:
                first[slot], table[slot] = entries[at], keys[at]
                continue
            if flat[first[slot]] < 0:
                flat[first[slot]] = named
                named += 1
            flat[entries[at]] = flat[first[slot]]
    return named


@njit(cache=True, nogil=True)
def _sift(
    bands: Any,
    ends: Any,
    block: Any,
    place: int,
    step: int,
    places: int,
    keys: Any,
    entries: Any,
    bits: Any,
) -> Any:
    """Write the keys of a place that may be there twice, and where each belongs; returns how many.

    Each key has a bit among many, which was set before where it is there twice. Most keys are there
    once: they are spared the table, which is much slower.
    """
    bits[:] = 0
    once, twice = bits[0], bits[1]
    last, met, count = _U64(once.shape[0] * 64 - 1), 0, 0
    for i in range(ends.shape[0]):
        start = ends[i - 1] if i else 0
        for here in range(place, ends[i] - start, step):
            key = _stir(block[i] ^ _U64(bands[start + here]))
            word, bit = (key & last) >> _U64(6), _U64(1) << (key & _U64(63))
            twice[word] |= once[word] & bit
            once[word] |= bit
            keys[met], entries[met] = key, i * places + here
            met += 1
    for at in range(met):
        key = keys[at]
        bit = twice[(key & last) >> _U64(6)] >> (key & _U64(63)) & _U64(1)
        keys[count], entries[count] = key, entries[at]
        count += np.int64(bit)
    return count


@njit(cache=True, nogil=True)
def unite(first: NDArray[np.int64], other: NDArray[np.int64], parents: NDArray[np.int64]) -> None:
    """Put the trees of each pair of rows together; the root of a tree is its first row.

    `parents` names a row nearer to the root for each row, and itself for a root.
    """
    for i in range(first.shape[0]):
        a, b = _root(first[i], parents), _root(other[i], parents)
        parents[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def name_roots(parents: NDArray[np.int64]) -> None:
    """Let `parents` name the root of each row."""
    for row in range(parents.shape[0]):
        parents[row] = parents[parents[row]]  # which stands before it and so is done


@njit(cache=True, nogil=True, inline="always")
def _root(row: Any, parents: Any) -> Any:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@njit(cache=True, nogil=True)
def table_for(rows: int) -> Any:
    """Room for the keys of so many rows, two each, and for where each was met first: -1."""
    size = 16
    while size < 4 * rows:
        size *= 2
    return np.empty(size, np.uint64), np.full(size, -1, np.int64)


@njit(cache=True, nogil=True, inline="always")
def _stir(key: Any) -> Any:
    """splitmix64, which gives no two keys the same number."""
    x = key + _U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


@njit(cache=True, nogil=True, inline="always")
def _slot(key: Any, keys: Any, first: Any) -> Any:
    """Where a key is, or the free place where it goes; the key is well stirred."""
    slot = np.int64((key >> _U64(32)) & _U64(keys.shape[0] - 1))
    while first[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & (keys.shape[0] - 1)
    return slot
