"""Compiled loops over the bands of many rows: which rows share a band with another of their block.

They share no function with the other kernels: numba's cache on disk looks at the file of a function
only.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U64 = np.uint64
_ROW = np.uint64(0xFFFFFFFF)
"""The half of a keyed row that says which row it is; the other is the key."""
_PIECE = 32_768
"""Keys that are looked at together; they and what is made of them fit the cache of a core."""


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
def name_buckets(keys: NDArray[np.uint32], owners: NDArray[np.int32], n: int) -> Any:
    """Number the keys that rows share: rows and the buckets they are in (int32), and how many.

    `keys` has a line for each place of a set, in which the set `i` of a row of the `n`, which is
    `owners[i]`, has one; a key is compared with the others of its place. Near rows share many: a
    bucket of just the rows that the last one had is left out.

    The keys of a place are put apart first, so that those that may be equal lie in the cache
    together however many there are: this lets the time grow no faster than the rows.
    """
    sets, room = owners.shape[0], owners.shape[0] * keys.shape[0]
    rows, names = np.empty(room, np.int32), np.empty(room, np.int32)
    keyed, cuts = np.empty(sets, np.uint64), np.empty(1 + sets // _PIECE, np.int64)
    met, named, found = np.zeros(n, np.uint64), 0, 0
    for place in range(keys.shape[0]):
        _put_apart(keys[place], owners, keyed, cuts)
        start = 0
        for end in cuts:
            some = _sift(keyed[start:end])
            count, named = _name(some, met, named, rows[found:], names[found:])
            start, found = end, found + count
    return rows[:found], names[:found], named


@njit(cache=True, nogil=True)
def _put_apart(keys: Any, owners: Any, keyed: Any, cuts: Any) -> None:
    """Write the keys, each before whose it is, in pieces by what they begin with.

    `cuts` is where each piece ends.
    """
    number = _U64(cuts.shape[0])
    cuts[:] = 0
    for at in range(owners.shape[0]):
        cuts[(keys[at] * number) >> _U64(32)] += 1
    cuts[:] = cuts.cumsum() - cuts  # where each starts, until it has been filled
    for at in range(owners.shape[0]):
        piece = (keys[at] * number) >> _U64(32)
        keyed[cuts[piece]] = _U64(keys[at]) << _U64(32) | _U64(owners[at])
        cuts[piece] += 1


@njit(cache=True, nogil=True)
def _sift(keyed: Any) -> Any:
    """Those whose key may be there twice, which are moved to the start.

    Each key has a bit among many, which was set before where it is there twice. Most keys are there
    once: they are spared the table, which is much slower.
    """
    words = 1
    while 64 * words < 8 * keyed.shape[0]:
        words *= 2
    bits = np.zeros((words, 2), np.uint64)
    last, count = _U64(words * 64 - 1), 0
    for one in keyed:
        key = one >> _U64(32)
        word, bit = (key & last) >> _U64(6), _U64(1) << (key & _U64(63))
        bits[word, 1] |= bits[word, 0] & bit
        bits[word, 0] |= bit
    for one in keyed:
        key = one >> _U64(32)
        keyed[count] = one
        count += np.int64(bits[(key & last) >> _U64(6), 1] >> (key & _U64(63)) & _U64(1))
    return keyed[:count]


@njit(cache=True, nogil=True)
def _name(keyed: Any, met: Any, named: int, rows: Any, names: Any) -> Any:
    """Write the rows of the keys that are there twice and the names of their buckets.

    Returns how many are written and how many names there are. `met` holds for a row which rows were
    in the last bucket that ended with it.
    """
    n = keyed.shape[0]
    times, lasts, digests = np.zeros(n, np.int32), np.empty(n, np.int32), np.zeros(n, np.uint64)
    buckets = _number(keyed)
    for at in range(n):
        bucket, row = buckets[at], keyed[at] & _ROW
        times[bucket] += 1
        digests[bucket] += _stir(row)
        lasts[bucket] = row
    found = 0
    for at in range(n):
        bucket = buckets[at]
        if times[bucket] > 1:  # it has no name yet
            new = met[lasts[bucket]] != digests[bucket]
            met[lasts[bucket]], times[bucket] = digests[bucket], -named if new else 1
            named += new
        if times[bucket] <= 0:
            rows[found], names[found] = keyed[at] & _ROW, -times[bucket]
            found += 1
    return found, named


@njit(cache=True, nogil=True)
def _number(keyed: Any) -> Any:
    """For each the place of the first that has its key."""
    size = 16
    while size < 2 * keyed.shape[0]:
        size *= 2
    table, firsts = np.full(size, -1, np.int32), np.empty(keyed.shape[0], np.int32)
    for at in range(keyed.shape[0]):
        key = keyed[at] >> _U64(32)
        slot = key & _U64(size - 1)
        while table[slot] >= 0 and keyed[table[slot]] >> _U64(32) != key:
            slot = (slot + _U64(1)) & _U64(size - 1)
        if table[slot] < 0:
            table[slot] = at
        firsts[at] = table[slot]
    return firsts


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
    slot = np.int64(key & _U64(keys.shape[0] - 1))
    while first[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & (keys.shape[0] - 1)
    return slot
