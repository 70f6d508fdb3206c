"""Slot F1: micro-averaged over all slots of all answers, repeats counted.

F1 = 2·TP / (2·TP + FP + FN) (van Rijsbergen, Information Retrieval, 1979), with true positives
counted as the multiset overlap of gold and predicted slots. Slots are those of the task's canonical
form, so a value and its aliases are one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs

Item = frozenset[tuple[str, str]]


@plugin()
def slot_f1(*, paired: bool = False):
    """A metric in 0..1 over task cases; None when neither side has a slot.

    `paired` counts slots that stand together: each object of an answer is held against one object
    of gold, in lists whose order counts in that order. Without it 打开空调，关闭车窗 has all slots
    of 关闭空调，打开车窗.
    """
    count = _in_pairs if paired else _anywhere

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        found = expected = both = 0
        for gold, predicted in answer_pairs(cases):
            expected += len(task.slots(gold))
            found += len(task.slots(predicted))
            both += count(task, gold, predicted)
        return 2 * both / (found + expected) if found + expected else None

    return metric


def _anywhere(task: Task, gold: str, predicted: str) -> int:
    return (Counter(task.slots(gold)) & Counter(task.slots(predicted))).total()


def _in_pairs(task: Task, gold: str, predicted: str) -> int:
    ordered = getattr(task, "ordered", ())  # only tasks with lists of objects have it
    want, got = (_items(task, answer) for answer in (gold, predicted))
    return sum(
        (_shared_in_order if field in ordered else _shared)(items, got.get(field, []))
        for field, items in want.items()
    )


def _items(task: Task, answer: str) -> dict[str, list[Item]]:
    """The objects of each field in the canonical form; nothing of what is no such answer."""
    if not task.slots(answer):
        return {}
    fields: dict[str, Any] = json.loads(task.canonical(answer))
    return {name: [frozenset(item.items()) for item in items] for name, items in fields.items()}


def _shared_in_order(want: Sequence[Item], got: Sequence[Item]) -> int:
    """Most slots that pairs of objects can share whose lines do not cross (Needleman & Wunsch)."""
    best = [0] * (len(got) + 1)
    for item in want:
        before, best = best, [0]
        for place, other in enumerate(got):
            paired = before[place] + len(item & other)
            best.append(max(paired, before[place + 1], best[place]))
    return best[-1]


def _shared(want: Sequence[Item], got: Sequence[Item]) -> int:
    """Slots shared by pairs of objects, those that share most being paired first."""
    pairs = [(len(w & g), -i, -j) for i, w in enumerate(want) for j, g in enumerate(got)]
    taken, total = (set[int](), set[int]()), 0
    for n, i, j in sorted(pairs, reverse=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            total += n
    return total
