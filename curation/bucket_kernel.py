"""Compiled loops over the bands of many rows: which rows share a band with another of their block.

They share no function with the other kernels: numba's cache on disk looks at the file of a function
only.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U64 = np.uint64
_ABREAST = 4
"""Places of the bands that are read at a time."""


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
    bands: NDArray[np.uint32], ends: NDArray[np.int64], block: NDArray[np.uint64], step: int
) -> Any:
    """Number the bands that rows share: rows and the buckets they are in (int32), and how many.

    Row i has the bands up to `ends[i]`, one or two sets of `step`; a place is compared with itself
    and its twin in the other set.
    """
    sets, room = bands.shape[0] // step, bands.shape[0]
    rows, names = np.empty(room, np.int32), np.empty(room, np.int32)
    owner, start = np.empty(sets, np.int32), 0
    for i in range(ends.shape[0]):
        owner[start : ends[i] // step] = i
        start = ends[i] // step
    columns = np.empty((_ABREAST, sets), np.uint32)
    keys, whose = np.empty(sets, np.uint64), np.empty(sets, np.int32)
    words = 1
    while 64 * words < 8 * sets:
        words *= 2
    bits, named, found = np.empty((words, 2), np.uint64), 0, 0
    for place in range(step):
        if place % _ABREAST == 0:
            _turn(bands, place, step, columns)
        count = _sift(columns[place % _ABREAST], owner, block, keys, whose, bits)
        table, first = table_for(count // 2)
        for at in range(count):
            slot = _slot(keys[at], table, first)
            if first[slot] == -1:
                first[slot], table[slot] = whose[at], keys[at]
                continue
            if first[slot] >= 0:  # the second of a bucket gives it a number, kept below -1
                rows[found], names[found] = first[slot], named
                first[slot] = -2 - named
                named, found = named + 1, found + 1
            rows[found], names[found] = whose[at], -2 - first[slot]
            found += 1
    return rows[:found], names[:found], named


@njit(cache=True, nogil=True)
def _turn(bands: Any, place: int, step: int, columns: Any) -> None:
    """Write the bands of some places, each in a line: a place at a time would read all memory."""
    for at in range(columns.shape[1]):
        for column in range(min(columns.shape[0], step - place)):
            columns[column, at] = bands[at * step + place + column]


@njit(cache=True, nogil=True)
def _sift(column: Any, owner: Any, block: Any, keys: Any, whose: Any, bits: Any) -> Any:
    """Write the keys of a place that may be there twice, and whose they are; returns how many.

    Each key has a bit among many, which was set before where it is there twice. Most keys are there
    once: they are spared the table, which is much slower.
    """
    bits[:] = 0
    last, count = _U64(bits.shape[0] * 64 - 1), 0
    for at in range(column.shape[0]):
        key = _stir(block[owner[at]] ^ _U64(column[at]))
        word, bit = (key & last) >> _U64(6), _U64(1) << (key & _U64(63))
        bits[word, 1] |= bits[word, 0] & bit
        bits[word, 0] |= bit
        keys[at] = key
    for at in range(column.shape[0]):
        key = keys[at]
        bit = bits[(key & last) >> _U64(6), 1] >> (key & _U64(63)) & _U64(1)
        keys[count], whose[count] = key, owner[at]
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
    while first[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & (keys.shape[0] - 1)
    return slot
