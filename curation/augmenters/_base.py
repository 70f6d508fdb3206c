"""What an augmenter is given and what it hands back: rows that know their parents.

Whatever an augmenter makes carries an edge to the seed or bad case it came from, and whatever it
refused comes back with the reason, so nothing is made or lost without a trace.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curation.progress import Report
from curation.tasks._base import Task


@dataclass(frozen=True)
class AugmentWork:
    """The material of one augmentation: seeds, the learn half of the bad cases, and their types."""

    task: Task
    seeds: pl.DataFrame
    """`ROW_SCHEMA`, domain rows."""
    bad_cases: pl.DataFrame
    """id, prompt, gold, predicted, half, cluster, signature, row_id; only the learn half."""
    error_types: pl.DataFrame
    """signature, n, quota (Int64: rows wanted for this type), name."""
    report: Report
    cache: Path
    """Folder for what may be kept between runs, such as the ledger of paid calls."""


@dataclass(frozen=True)
class Augmented:
    """What came out: `make_row` rows, `EDGE_SCHEMA` edges, refusals, and what it used up."""

    rows: list[dict]
    edges: list[dict]
    rejected: list[dict]
    """text, reason, call."""
    usage: dict[str, float]
