"""Validity: whether a domain row's answer is one the task allows for its utterance.

On structured answers this tells right from wrong where perplexity and classifiers only guess.
"""

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer
from curation.tasks._base import Task


@plugin(uses=("task",))
def task_valid() -> Scorer:
    """True where `task.check` finds nothing, and for general rows, which have no task."""

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        return find_reasons(rows, context.task) == ""

    return score


def find_reasons(rows: pl.DataFrame, task: Task) -> pl.Series:
    """Why each row is not valid (String), "" where it is, null where the task could not say."""
    texts = rows.select("track", utterance=UTTERANCE, answer=ANSWER).iter_rows()
    reasons = [_reason(task, u, a) if track == "domain" else "" for track, u, a in texts]
    return pl.Series("reason", reasons, dtype=pl.String)


def _reason(task: Task, utterance: str, answer: str) -> str | None:
    try:
        return task.check(utterance, answer)
    except Exception:  # whatever a text does to a check, the validity of that row is unknown
        return None
