"""Compiled loops over the bands of many rows: which share one with another row of their block."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled, inlined, uncounted

_U64 = np.uint64
_ROW = np.uint64(0xFFFFFFFF)
"""The half of a keyed row that says which row it is; the other is the key."""
_PIECE, _FEW = 32_768, 262_144
"""Keys that are looked at together: they and what is made of them fit the nearest cache of a core.
A few of them that fit the next one are not worth putting apart.
"""


@compiled
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


@compiled
def name_buckets(keys: NDArray[np.uint32], owners: NDArray[np.int32], n: int) -> Any:
    """Number the keys that rows share: rows and the buckets they are in (int32), and how many.

    `keys` has a line for each place of a set, in which the set `i` of a row of the `n`, which is
    `owners[i]`, has one; a key is compared with the others of its place. Near rows share many: a
    bucket of just the rows that the last one had is left out.

    Of many sets the keys of a place are put apart first, so that those that may be equal lie in the
    cache together however many there are: this lets the time grow no faster than the rows.
    """
    sets, room = owners.shape[0], owners.shape[0] * keys.shape[0]
    rows, names = np.empty(room, np.int32), np.empty(room, np.int32)
    pieces = 1 + sets // _PIECE if sets > _FEW else 1
    met, cuts, named, found = np.zeros(n, np.uint64), np.full(pieces, sets), 0, 0
    some_keys, some_owners = np.empty(sets, np.uint32), np.empty(sets, np.int32)
    keyed = np.empty(sets, np.uint64)
    for place in range(keys.shape[0]):
        if pieces > 1:
            _put_apart(keys[place], owners, some_keys, some_owners, cuts)
        else:
            some_keys, some_owners = keys[place], owners
        start = 0
        for end in cuts:
            some = keyed[: _sift(some_keys[start:end], some_owners[start:end], keyed)]
            count, named = _name(some, met, named, rows[found:], names[found:])
            start, found = end, found + count
    return rows[:found], names[:found], named


@uncounted
def _put_apart(keys: Any, owners: Any, apart: Any, owners_apart: Any, cuts: Any) -> None:
    """Write the keys and whose they are in pieces by what they begin with; a cut ends a piece."""
    number, start = _U64(cuts.shape[0]), 0
    for piece in range(cuts.shape[0]):
        cuts[piece] = 0
    for at in range(owners.shape[0]):
        cuts[(keys[at] * number) >> _U64(32)] += 1
    for piece in range(cuts.shape[0]):  # where each starts, until it has been filled
        start, cuts[piece] = start + cuts[piece], start
    for at in range(owners.shape[0]):
        piece = (keys[at] * number) >> _U64(32)
        apart[cuts[piece]], owners_apart[cuts[piece]] = keys[at], owners[at]
        cuts[piece] += 1


@compiled
def _sift(keys: Any, owners: Any, keyed: Any) -> Any:
    """Write the keys that may be there twice, each before whose it is; returns how many they are.

    Each key has a bit among many, which was set before where it is there twice. Most keys are there
    once: they are spared the table, which is much slower.
    """
    words = 1
    while 64 * words < 8 * keys.shape[0]:
        words *= 2
    bits = np.zeros((words, 2), np.uint64)
    last, count = _U64(words * 64 - 1), 0
    for one in keys:
        key = _U64(one)
        word, bit = (key & last) >> _U64(6), _U64(1) << (key & _U64(63))
        bits[word, 1] |= bits[word, 0] & bit
        bits[word, 0] |= bit
    for at in range(keys.shape[0]):
        key = _U64(keys[at])
        keyed[count] = key << _U64(32) | _U64(owners[at])
        count += np.int64(bits[(key & last) >> _U64(6), 1] >> (key & _U64(63)) & _U64(1))
    return count


@compiled
def _name(keyed: Any, met: Any, named: int, rows: Any, names: Any) -> Any:
    """Write the rows of the keys that are there twice and the names of their buckets.

    Returns how many are written and how many names there are. `met` holds for a row which rows were
    in the last bucket that ended with it. Nothing here branches on what a key is: every other guess
    would be wrong, which takes longer than the work.
    """
    n = keyed.shape[0]
    times, lasts, digests = np.zeros(n, np.int32), np.empty(n, np.int32), np.zeros(n, np.uint64)
    firsts, heads = _number(keyed)
    for at in range(n):
        first, row = _U64(firsts[at]), keyed[at] & _ROW
        times[first] += 1
        digests[first] += _stir(row)
        lasts[first] = row
    for first in heads:
        last = _U64(lasts[first])
        new = (times[first] > 1) & (met[last] != digests[first])
        met[last] = digests[first] if new else met[last]
        times[first] = -named if new else 1  # from here on its name
        named += new
    found = 0
    for at in range(n):
        name = times[_U64(firsts[at])]
        rows[found], names[found] = keyed[at] & _ROW, -name
        found += name <= 0
    return found, named


@compiled
def _number(keyed: Any) -> Any:
    """For each the place of the first that has its key, and the places of all that are first."""
    n, size = keyed.shape[0], 16
    while size < 2 * n:
        size *= 2
    table, firsts, heads = np.full(size, -1, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    last, found = _U64(size - 1), 0
    for at in range(n):
        key = keyed[at] >> _U64(32)
        slot = key & last
        while (table[slot] >= 0) & (keyed[_U64(max(table[slot], 0))] >> _U64(32) != key):
            slot = (slot + _U64(1)) & last
        new = table[slot] < 0
        table[slot] = at if new else table[slot]
        firsts[at], heads[found] = table[slot], at
        found += new
    return firsts, heads[:found]


@compiled
def unite(first: NDArray[np.int64], other: NDArray[np.int64], parents: NDArray[np.int64]) -> None:
    """Put the trees of each pair of rows together; the root of a tree is its first row.

    `parents` names a row nearer to the root for each row, and itself for a root.
    """
    for i in range(first.shape[0]):
        a, b = _root(first[i], parents), _root(other[i], parents)
        parents[max(a, b)] = min(a, b)


@compiled
def name_roots(parents: NDArray[np.int64]) -> None:
    """Let `parents` name the root of each row."""
    for row in range(parents.shape[0]):
        parents[row] = parents[parents[row]]  # which stands before it and so is done


@inlined
def _root(row: Any, parents: Any) -> Any:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@compiled
def table_for(rows: int) -> Any:
    """Room for the keys of so many rows, two each, and for where each was met first: -1."""
    size = 16
    while size < 4 * rows:
        size *= 2
    return np.empty(size, np.uint64), np.full(size, -1, np.int64)


@inlined
def _stir(key: Any) -> Any:
    """splitmix64, which gives no two keys the same number."""
    x = key + _U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


@inlined
def _slot(key: Any, keys: Any, first: Any) -> Any:
    """Where a key is, or the free place where it goes; the key is well stirred."""
    slot = np.int64(key & _U64(keys.shape[0] - 1))
    while first[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & (keys.shape[0] - 1)
    return slot
