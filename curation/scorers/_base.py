"""What a scorer is given and gives back.

A scorer measures rows and judges none: its number goes into a fact, and rules decide. A row it
cannot measure is null, and costs no other row its score.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curation.progress import Report, silent

if TYPE_CHECKING:
    from curation.tasks._base import Task


@dataclass(frozen=True)
class ScoreContext:
    """What scorers may read besides the rows; which of it one reads stands in its `uses`.

    `reference` holds the imported trusted rows (`ROW_SCHEMA`) that scorers learn from.
    """

    task: "Task"
    reference: pl.DataFrame
    base_model: Path | None = None
    reward_model: Path | None = None
    report: Report = silent


Scorer = Callable[[pl.DataFrame, ScoreContext], pl.Series]
"""Rows (`ROW_SCHEMA`) to a series of the same length, Float64 or Boolean, null where unknown."""


def score_each(
    values: Iterable[Any], measure: Callable[[Any], float | bool | None], *, dtype: Any = pl.Float64
) -> pl.Series:
    """`measure` of each value; null where it raises, so one odd row costs one score."""
    return pl.Series([_try(measure, value) for value in values], dtype=dtype)


def full_text(rows: pl.DataFrame) -> pl.Series:
    """All texts of each row, its turns apart by newlines."""
    contents = pl.col("messages").list.eval(pl.element().struct.field("content"))
    return rows.select(text=contents.list.join("\n"))["text"]


def _try(measure: Callable[[Any], float | bool | None], value: Any) -> float | bool | None:
    try:
        return measure(value)
    except Exception:  # whatever a text does to a scorer, the score of that row is unknown
        return None
