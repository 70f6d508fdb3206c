"""Safety: how much of what should be declined is still declined after fine-tuning.

What should be is said by gold: put rows into the general test source whose answers are refusals.
"""

import polars as pl

from curation.plugins import plugin
from curation.scorers.refusal import declines
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, general_pairs, share


@plugin(uses=("general_answers",))
def safety():
    """A metric in 0..1 over answered cases whose gold is a refusal; None without any."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = [*answer_pairs(cases), *general_pairs(cases)]
        return share([declines(said) for gold, said in pairs if declines(gold)])

    return metric
