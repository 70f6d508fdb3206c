"""Refusals: how often the model declines what gold answers, as the scorer `refusal` has it."""

import polars as pl

from curation.plugins import plugin
from curation.scorers.refusal import declines
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, general_pairs, share


@plugin(uses=("general_answers",), better="lower")
def refusal_rate():
    """A metric in 0..1 over answered cases whose gold is no refusal; None without any."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = [*answer_pairs(cases), *general_pairs(cases)]
        return share([declines(said) for gold, said in pairs if not declines(gold)])

    return metric
