"""Exact match: the share of answers that equal gold in the task's canonical form."""

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task


@plugin()
def exact_match():
    """A metric in 0..1 over task cases; None when there are none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = cases.filter(pl.col("kind") == "task").select("gold", "predicted").rows()
        right = [task.canonical(gold) == task.canonical(predicted) for gold, predicted in pairs]
        return sum(right) / len(right) if right else None

    return metric
