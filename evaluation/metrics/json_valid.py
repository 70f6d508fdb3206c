"""Valid answers: the share that the task accepts as well-formed and grounded in its utterance."""

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task


@plugin()
def json_valid():
    """A metric in 0..1 over task cases; None when there are none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        said = cases.filter(pl.col("kind") == "task").select("prompt", "gold", "predicted").rows()
        valid = [not task.part(p, gold)[1].check(p, predicted) for p, gold, predicted in said]
        return sum(valid) / len(valid) if valid else None

    return metric
