"""Compiled look-ups of character n-grams, for many texts at a time (`scorers.perplexity`).

They share no function with the other kernels: numba's cache on disk looks at the file of a function
only.
"""

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

_U64 = np.uint64
KEY, COUNT, TOTAL, KINDS = range(4)
"""Columns of a table: a packed n-gram, how often it was seen, and what is known of it as a context.

A line without count and total is free.
"""


@njit(cache=True, nogil=True)
def put(
    table: NDArray[np.uint64],
    first: int,
    lines: int,
    keys: NDArray[np.uint64],
    column: int,
    values: Any,
) -> None:
    """Set a column (count, total or kinds) of n-grams in their part of the table."""
    for i in range(keys.shape[0]):
        slot = _slot(table, first, lines, keys[i])
        table[slot, KEY] = keys[i]
        table[slot, column] = values[i]


@njit(cache=True, nogil=True)
def chances(
    points: NDArray[np.uint32],
    ends: NDArray[np.int64],
    numbers: NDArray[np.uint16],
    bits: int,
    table: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    discounts: NDArray[np.float64],
    unseen: float,
    out: NDArray[np.float64],
) -> None:
    """P of each character and of the end of each text, which has the points up to its end.

    The n-grams of a size have the lines from its first on up to that of the next (a power of two
    of them), those of no character the first of all. `out` has a place for each point and one for
    each end. The context of a character is the n-gram before it, so each is looked up once.
    """
    order = firsts.shape[0] - 2
    total, kinds = np.empty(order + 1), np.empty(order + 1)
    start = done = 0
    for text in range(ends.shape[0]):
        packed = _U64(0)
        for size in range(order):
            slot = _slot(table, firsts[size], firsts[size + 1] - firsts[size], packed)
            total[size], kinds[size] = table[slot, TOTAL], table[slot, KINDS]
        for at in range(start, ends[text] + 1):
            code = _U64(numbers[points[at]]) if at < ends[text] else _U64(0)
            packed = (packed << _U64(bits)) | code
            chance, before_total, before_kinds = unseen, total[0], kinds[0]
            for size in range(1, order + 1):
                rest = _U64(64 - bits * size)
                gram = (packed << rest) >> rest
                slot = _slot(table, firsts[size], firsts[size + 1] - firsts[size], gram)
                if before_total > 0:
                    discount = discounts[size - 1]
                    seen = max(np.float64(table[slot, COUNT]) - discount, 0.0)
                    chance = (seen + discount * before_kinds * chance) / before_total
                before_total, before_kinds = total[size], kinds[size]
                total[size] = np.float64(table[slot, TOTAL])
                kinds[size] = np.float64(table[slot, KINDS])
            out[done] = chance
            done += 1
        start = ends[text]


@njit(cache=True, nogil=True, inline="always")
def _slot(table: Any, first: Any, lines: Any, key: Any) -> Any:
    """Where a key is in its part of the table, or the free line where it goes (splitmix64)."""
    x = key + _U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    at = np.int64((x ^ (x >> _U64(31))) & _U64(lines - 1))
    slot = first + at
    while table[slot, KEY] != key and (table[slot, COUNT] or table[slot, TOTAL]):
        at = (at + 1) & (lines - 1)
        slot = first + at
    return slot
