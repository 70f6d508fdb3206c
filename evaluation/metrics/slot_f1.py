"""Slot F1: micro-averaged over all slots of all answers, repeats counted.

F1 = 2·TP / (2·TP + FP + FN) (van Rijsbergen, Information Retrieval, 1979), with true positives
counted as the multiset overlap of gold and predicted slots.
"""

from collections import Counter

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task


@plugin()
def slot_f1():
    """A metric in 0..1 over task cases; None when neither side has a slot."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        found = expected = both = 0
        for gold, predicted in (
            cases.filter(pl.col("kind") == "task").select("gold", "predicted").rows()
        ):
            want, got = Counter(task.slots(gold)), Counter(task.slots(predicted))
            expected += want.total()
            found += got.total()
            both += (want & got).total()
        return 2 * both / (found + expected) if found + expected else None

    return metric
