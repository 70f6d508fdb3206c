"""Beginnings that many sequences of token ids have in common, so that a model reads each once.

Sorted, sequences that begin alike stand side by side. Neighbours make a group where the tokens that
all of it begins with, read once, save more reading than smaller groups of longer beginnings do.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


def shared_prefixes(heads: Sequence[list[int]], *, cost: int) -> list[tuple[int, list[int]]]:
    """(tokens, indices) of groups whose sequences begin with the same so many tokens.

    `heads` are ids of tokens. Each index is in one group. A group costs as much as reading `cost`
    tokens and is made only if it saves more; what is in none of them comes last, with 0 tokens.
    """
    groups: list[tuple[int, list[int]]] = []
    left = sorted(range(len(heads)), key=heads.__getitem__)
    # Once a long beginning is taken out, a shorter one may pay for those that it left over.
    while found := _best_groups([heads[i] for i in left], cost):
        groups += [(group.tokens, left[group.start : group.stop]) for group in found]
        taken = {i for _, indices in groups for i in indices}
        left = [i for i in left if i not in taken]
    return [*groups, (0, left)] if left else groups


class _Group(NamedTuple):
    tokens: int
    start: int
    stop: int


class _Part(NamedTuple):
    """Neighbours, from start to stop, and the groups in them that save the most."""

    start: int
    stop: int
    common: int  # tokens that its first has in common with the neighbour before
    saved: int
    groups: list[_Group]


def _best_groups(heads: Iterable[Sequence[int]], cost: int) -> list[_Group]:
    """Groups of sorted sequences: of all that their common beginnings nest, those that save most.

    Parts wait while the next may have more in common with the last one than that has with the part
    before it; so those with the most in common are joined first.
    """
    parts: list[_Part] = []
    before: Sequence[int] = ()
    for place, head in enumerate(heads):
        common = _count_common(before, head)
        while len(parts) > 1 and parts[-1].common >= common:
            _join_last(parts, cost)
        parts.append(_Part(place, place + 1, common, 0, []))
        before = head
    while len(parts) > 1:
        _join_last(parts, cost)
    return parts[0].groups if parts else []


def _join_last(parts: list[_Part], cost: int) -> None:
    """Make one part of the last two: as a single group, or with the groups that they have."""
    right, left = parts.pop(), parts.pop()
    saved = (right.stop - left.start - 1) * right.common - cost
    if saved > left.saved + right.saved:
        groups = [_Group(right.common, left.start, right.stop)]
    else:
        saved, groups = left.saved + right.saved, left.groups + right.groups
    parts.append(_Part(left.start, right.stop, left.common, saved, groups))


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
