"""Perplexity of gold answers: exp of the mean nats of a token, the end of turn counted as one.

By token and not by word, because Chinese has no words to count. Tokens are those of the model's
own tokenizer, so it compares a model with its fine-tuned self, and no two models with different
tokenizers: `general_bpb` and `task_bpb` do that.
"""

from math import exp
from typing import Literal

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import nats_per


@plugin(better="lower")
def perplexity(*, of: Literal["task", "general"] = "general"):
    """A metric from 1 up, lower is better; None when there are no such cases."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        nats = nats_per(cases, of, "n_tokens")
        return None if nats is None else exp(min(nats, 700.0))  # beyond it is no number

    return metric
