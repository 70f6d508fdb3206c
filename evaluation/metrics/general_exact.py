"""General exact match: how many general questions are still answered as gold has it."""

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from curation.tasks._grounding import normal_text
from evaluation.metrics._cases import general_pairs, share


@plugin(uses=("general_answers",))
def general_exact():
    """A metric in 0..1 over answered general cases; None when there are none.

    Equal but for width, case and spaces.
    """

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        return share([normal_text(g) == normal_text(p) for g, p in general_pairs(cases)])

    return metric
