"""Bits per byte of held-out general answers: how much general ability is left.

bpb = Σ loss in nats / (ln 2 · Σ UTF-8 bytes). Unlike perplexity by word or token it can be compared
between tokenizers and between Chinese and English (Gao et al., The Pile, 2020, §3.1).
"""

from math import log

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import nats_per


@plugin(better="lower")
def general_bpb():
    """A metric in bits per byte over general cases, lower is better; None when there are none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        nats = nats_per(cases, "general", "n_bytes")
        return None if nats is None else nats / log(2)

    return metric
