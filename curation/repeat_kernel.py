"""Compiled counts of the different n-grams in each of many texts (`scorers.repetition`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled

_U64 = np.uint64


@compiled
def count_different(
    points: NDArray[np.uint32], ends: NDArray[np.int64], n: int, out: NDArray[np.int64]
) -> None:
    """How many different runs of `n` points each text has, which has the points up to its end."""
    longest, start = 1, 0
    for end in ends:
        longest, start = max(longest, end - start), end
    slots = np.zeros(_places(longest), np.int64)
    start = 0
    for text in range(ends.shape[0]):
        out[text] = _count(points[start : ends[text]], n, slots)
        start = ends[text]


@compiled
def _places(length: int) -> int:
    """Twice as many as runs at the least, in a power of two."""
    places = 1
    while places < 2 * length:
        places *= 2
    return places


@compiled
def _count(points: Any, n: int, slots: Any) -> int:
    """How many different runs there are, by a hash table of where each began (counted from 1)."""
    found, last = 0, _places(points.shape[0]) - 1
    for slot in range(last + 1):
        slots[slot] = 0
    for at in range(points.shape[0] - n + 1):
        mixed = _U64(0)
        for i in range(n):
            mixed = (mixed ^ _U64(points[at + i])) * _U64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> _U64(32)) & last
        while slots[slot] and not _same(points, slots[slot] - 1, at, n):
            slot = (slot + 1) & last
        if not slots[slot]:
            slots[slot] = at + 1
            found += 1
    return found


@compiled
def _same(points: Any, one: int, other: int, n: int) -> bool:
    i = 0
    while i < n and points[one + i] == points[other + i]:
        i += 1
    return i == n
