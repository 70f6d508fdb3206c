"""Length: how long the answers are beside gold; far from 1 the model rambles or breaks off."""

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs


@plugin(better="")
def length_ratio():
    """Characters of the answers over those of gold, of task cases; None when gold has none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = answer_pairs(cases)
        wanted, said = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
        return said / wanted if wanted else None

    return metric
