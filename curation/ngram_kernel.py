"""Compiled look-ups of character n-grams, for many texts at a time (`scorers.perplexity`)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.compiled import compiled

_U64 = np.uint64


class Ngrams(NamedTuple):
    """The n-grams of a model size by size, from that of no character on, and where each is found.

    Those of a size take the lines from `lines[size]` on; the first of them is that of edges only.
    `slots` is a hash table for each size, from `parts[size]` on, a power of two in length: a line,
    or 0 where none is. Shares and totals are of the contexts only, so not of the largest size.
    """

    lines: NDArray[np.int64]
    keys: NDArray[np.uint64]
    chances: NDArray[np.float64]
    shares: NDArray[np.float64]
    totals: NDArray[np.float64]
    parts: NDArray[np.int64]
    slots: NDArray[np.int32]


@compiled
def enter(ngrams: Ngrams) -> None:
    """Fill the empty hash tables with all n-grams that were seen."""
    for size in range(1, ngrams.lines.shape[0] - 1):
        slots = ngrams.slots[ngrams.parts[size] : ngrams.parts[size + 1]]
        for line in range(ngrams.lines[size], ngrams.lines[size + 1]):
            if ngrams.chances[line]:
                slots[_slot(slots, ngrams.keys, ngrams.keys[line])] = line


@compiled
def chances(
    ngrams: Ngrams,
    points: NDArray[np.uint32],
    ends: NDArray[np.int64],
    numbers: NDArray[np.uint16],
    bits: int,
    out: NDArray[np.float64],
) -> None:
    """P of each character and of the end of each text, which has the points up to its end.

    `out` has a place for each point and one for each end. A text is looked up size by size: no look
    waits for what another one finds, and looking is most of the time.
    """
    longest, start = 1, 0
    for end in ends:
        longest, start = max(longest, end - start + 1), end
    packed, found = np.zeros(longest, np.uint64), np.zeros(longest, np.int64)
    before = np.zeros(longest + 1, np.int64)  # the n-gram, one shorter, that ends before each
    start = 0
    for text in range(ends.shape[0]):
        n = ends[text] - start + 1
        _pack(points[start : ends[text]], numbers, bits, packed)
        part = out[start + text : start + text + n]
        part[:], before[: n + 1] = ngrams.chances[0], 0
        for size in range(1, ngrams.lines.shape[0] - 1):
            slots = ngrams.slots[ngrams.parts[size] : ngrams.parts[size + 1]]
            _find(slots, ngrams.keys, _U64(64 - bits * size), packed[:n], before, found)
            _mix(ngrams, before, found, part)
            before[0], before[1 : n + 1] = ngrams.lines[size], found[:n]
        start = ends[text]


@compiled
def _pack(points: Any, numbers: Any, bits: int, packed: Any) -> None:
    """The last characters up to each one, and up to the end (an edge, number 0), as one number."""
    key = _U64(0)
    for i in range(points.shape[0]):
        key = (key << _U64(bits)) | _U64(numbers[points[i]])
        packed[i] = key
    packed[points.shape[0]] = key << _U64(bits)


@compiled
def _find(slots: Any, keys: Any, rest: Any, packed: Any, before: Any, found: Any) -> None:
    """The lines of the n-grams of a size that end in each character; -1 for one never seen.

    Where a shorter one was never seen, no longer one was.
    """
    for i in range(packed.shape[0]):
        line = 0
        if before[i + 1] >= 0:
            line = slots[_slot(slots, keys, (packed[i] << rest) >> rest)]
        found[i] = line if line else -1


@compiled
def _mix(ngrams: Ngrams, before: Any, found: Any, out: Any) -> None:
    """P by the n-grams found, where `out` has it by those one shorter."""
    for i in range(out.shape[0]):
        if found[i] >= 0:
            out[i] = ngrams.chances[found[i]]
        elif before[i] >= 0 and ngrams.totals[before[i]]:
            out[i] = ngrams.shares[before[i]] * out[i] / ngrams.totals[before[i]]


@compiled
def _slot(slots: Any, keys: Any, key: Any) -> int:
    """Where the line of an n-gram stands among those of its size, or the free place for it."""
    last = slots.shape[0] - 1
    mixed = (key ^ (key >> _U64(32))) * _U64(0x9E3779B97F4A7C15)  # 2 ** 64 / the golden ratio
    slot = np.int64(mixed >> _U64(32)) & last
    while slots[slot] and keys[slots[slot]] != key:
        slot = (slot + 1) & last
    return slot
