"""Bits per byte of the task's gold answers: how likely the model finds what it should have said.

Computed as `general_bpb`. It moves before any answer changes, so it tells sooner than a share of
right answers whether training goes the right way.
"""

from math import log

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import nats_per


@plugin(better="lower")
def task_bpb():
    """A metric in bits per byte over task cases, lower is better; None when there are none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        nats = nats_per(cases, "task", "n_bytes")
        return None if nats is None else nats / log(2)

    return metric
