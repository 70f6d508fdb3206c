"""What an augmenter is given and what it hands back: rows that know their parents.

Whatever an augmenter makes carries an edge to the seed or bad case it came from, and whatever it
refused comes back with the reason, so nothing is made or lost without a trace.
"""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from curation.exam_signs import ExamSigns
from curation.llm_ledger import CALL_SCHEMA
from curation.progress import Report
from curation.reviews import DECIDED_SCHEMA
from curation.rows import ROW_SCHEMA
from curation.tasks._base import Task

BOUGHT_SCHEMA = pl.Schema(
    {"kind": pl.String, "signature": pl.String, "cases": pl.List(pl.String),
     "examples": pl.List(pl.String), "call": pl.String}
)  # fmt: skip
"""A call as it was made: what for (rows, vote, judge, name, answer, translation), of which error
type, and the bad cases and examples it showed."""
TYPES_SCHEMA = pl.Schema(
    {"signature": pl.String, "name": pl.String, "name_zh": pl.String, "cause": pl.String,
     "trigger": pl.String, "rule": pl.String, "quota": pl.Int64, "calls": pl.Int64,
     "proposed": pl.Int64, "repeated": pl.Int64, "made": pl.Int64, "stopped": pl.String}
)  # fmt: skip
"""What became of an error type: what is known of it, calls, rows, and why there are no more."""


@dataclass(frozen=True)
class Bought:
    """The calls that an earlier version was made by, to be read again and not bought again."""

    calls: pl.DataFrame = field(default_factory=BOUGHT_SCHEMA.to_frame)
    """`BOUGHT_SCHEMA`, in the order in which they were made."""
    answers: pl.DataFrame = field(default_factory=CALL_SCHEMA.to_frame)
    """`CALL_SCHEMA`; of one key in the order in which they came."""
    known: frozenset[str] = frozenset()
    """Ids of the bad cases, or seeds, that there were."""


@dataclass(frozen=True)
class AugmentWork:
    """The material of one augmentation: seeds, the learn half of the bad cases, and their types."""

    task: Task
    seeds: pl.DataFrame
    """`ROW_SCHEMA`, domain rows."""
    bad_cases: pl.DataFrame
    """id, prompt, gold, predicted, half, cluster, signature (of its error type), row_id; only the
    learn half."""
    error_types: pl.DataFrame
    """signature, n, quota (Int64: rows wanted for this type), name, name_zh, stopped."""
    report: Report
    cache: Path
    """Folder for what may be kept between runs, such as the ledger of paid calls."""
    bought: Bought = field(default_factory=Bought)
    exam: ExamSigns = field(default_factory=ExamSigns)
    """Tells which rows would give the exam away, without its text."""
    verdicts: pl.DataFrame = field(default_factory=DECIDED_SCHEMA.to_frame)
    """What people said of rows: id, verdict, reason."""
    reference: pl.DataFrame = field(default_factory=ROW_SCHEMA.to_frame)
    """`ROW_SCHEMA`: the frozen trusted rows, for augmenters that ask for them."""


@dataclass(frozen=True)
class Augmented:
    """What came out: `make_row` rows, `EDGE_SCHEMA` edges, refusals, and what it used up.

    `proposed` counts what was looked at as it came, so that each is made, waits or is refused.
    """

    rows: list[dict]
    edges: list[dict]
    rejected: list[dict]
    """text, reason, call."""
    usage: dict[str, float]
    proposed: int
    bought: list[dict] = field(default_factory=list)
    """`BOUGHT_SCHEMA`: the calls that all this was read from."""
    types: list[dict] = field(default_factory=list)
    """`TYPES_SCHEMA`: what became of each error type."""
    waiting: list[dict] = field(default_factory=list)
    """Rows that people have to accept one by one, as the sample of their error type failed."""
    known: list[str] = field(default_factory=list)
    """Ids of all that could be shown in a call, so that the next version sees what is new."""
