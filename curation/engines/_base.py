"""What an engine is: it applies functions to parts of tables, and says nothing of what comes out.

Whatever works on rows one by one, or on groups of rows that have nothing to do with one another, is
written as a function of a part. Which engine applies it is no part of a result: every table and its
data version are the same with any of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl


class Engine(Protocol):
    """Applies functions to parts; what a function raises is raised here.

    Functions and parts are sent to other processes, so what they hold must bear that: a `Version`
    is opened anew there. A function is sent once for each call, and may keep what it loads.
    """

    @property
    def least(self) -> int:
        """Rows from which on it is worth asking."""
        ...

    @property
    def workers(self) -> int:
        """How many parts are worked on at a time."""
        ...

    def map(self, work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """`work` of each part, in the order of the parts, few of which are in hand at a time."""
        ...

    def exchange(
        self,
        split: Callable[[Any], Sequence[Any]],
        parts: Iterable[Any],
        join: Callable[[list[Any]], Any],
        pieces: int,
    ) -> Iterator[Any]:
        """What `split` makes of each part, `pieces` (2 or more) of it, put together by piece.

        `join` gets the first piece of every part, then the second of every part, and so on.
        """
        ...


@dataclass(frozen=True)
class Local:
    """This process, one part after another."""

    least: int = 0
    workers: int = 1

    def map(self, work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        return map(work, parts)

    def exchange(
        self,
        split: Callable[[Any], Sequence[Any]],
        parts: Iterable[Any],
        join: Callable[[list[Any]], Any],
        pieces: int,
    ) -> Iterator[Any]:
        by_part = [split(part) for part in parts]
        return (join([some[i] for some in by_part]) for i in range(pieces))


HERE = Local()


def slices(rows: pl.DataFrame, most: int, engine: Engine) -> Iterator[pl.DataFrame]:
    """Parts of at most so many rows, or of fewer, so that every worker gets one."""
    return rows.iter_slices(min(most, max(1, rows.height // engine.workers)))


def engine_for(engine: Engine, rows: int) -> Engine:
    """The engine, or this process for so few rows, or where it has no more than one worker."""
    return engine if rows >= engine.least and engine.workers > 1 else HERE
