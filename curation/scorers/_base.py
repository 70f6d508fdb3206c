"""What a scorer is given and gives back.

A scorer measures rows and judges none: its number goes into a fact, and rules decide. A row it
cannot measure is null, and costs no other row its score.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from curation.progress import Report, silent
from curation.tasks._base import Task

Learned = TypeVar("Learned")


@dataclass(frozen=True)
class ScoreContext:
    """What scorers may read besides the rows; which of it one reads stands in its `uses`.

    `reference` holds the imported trusted rows (`ROW_SCHEMA`) that scorers learn from.
    """

    task: Task
    reference: pl.DataFrame
    base_model: Path | None = None
    reward_model: Path | None = None
    revision: str = ""  # commit of a base model that comes from a hub
    report: Report = silent
    cache: Path | None = None  # a folder for calls that were paid for
    templates: Sequence[str] = ()  # what many prompts share, for scorers that compare rows


Scorer = Callable[[pl.DataFrame, ScoreContext], pl.Series]
"""Rows (`ROW_SCHEMA`) to a series of the same length, Float64 or Boolean, null where unknown."""


class CannotScore(ValueError):
    """No row can be scored as things are, such as with a model of another kind."""


def score_each(
    values: Iterable[Any], measure: Callable[[Any], float | bool | None], *, dtype: Any = pl.Float64
) -> pl.Series:
    """`measure` of each value; null where it raises, so one odd row costs one score."""
    return pl.Series([_try(measure, value) for value in values], dtype=dtype)


def learn_once(learn: Callable[[pl.DataFrame], Learned]) -> Callable[[pl.DataFrame], Learned]:
    """`learn` of a reference, kept until it is asked for another: rows come in many batches."""
    last: list[tuple[pl.DataFrame, Learned]] = []

    def learned(reference: pl.DataFrame) -> Learned:
        if not last or last[0][0] is not reference:
            last[:] = [(reference, learn(reference))]
        return last[0][1]

    return learned


def full_text(rows: pl.DataFrame) -> pl.Series:
    """Everything that stands in each row: contents and tool calls, turns apart by newlines."""
    return _join_turns(rows, pl.element().struct.field("role").is_not_null(), calls=True)


def spoken_text(rows: pl.DataFrame) -> pl.Series:
    """What people and the model said in each row: the contents but for the system's."""
    return _join_turns(rows, pl.element().struct.field("role") != "system", calls=False)


def fold_of(row_id: str, folds: int) -> int:
    """The fold, 0 … folds - 1, of a row: by its id, so it is the same beside any other rows."""
    return int.from_bytes(hashlib.sha256(f"fold:{row_id}".encode()).digest()[:4], "big") % folds


def _join_turns(rows: pl.DataFrame, which: pl.Expr, *, calls: bool) -> pl.Series:
    field = pl.element().struct.field
    said = field("content") + field("tool_calls").fill_null("") if calls else field("content")
    turns = pl.col("messages").list.eval(said.filter(which)).list.join("\n")
    return rows.select(text=turns)["text"]


def _try(measure: Callable[[Any], float | bool | None], value: Any) -> float | bool | None:
    try:
        return measure(value)
    except Exception:  # whatever a text does to a scorer, the score of that row is unknown
        return None
