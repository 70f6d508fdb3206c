"""What every source yields: one input record with its position, or the reason it could not be read.

A record is not a row yet. The ingest step turns `data` into rows and a filled `error` into a
quarantined occurrence, so one broken line costs one record and the rest goes on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """One delivered input record: where it stood, what it held, or why it could not be read.

    `position` is stable for the same input ("line 7", "grammar #12"); `data` is None exactly when
    `error` is filled; `raw` keeps what could not be read, or what `data` was made from, cut to
    a sane length.
    """

    position: str
    data: dict | None
    error: str = ""
    raw: str = ""


@dataclass(frozen=True)
class Block:
    """A stretch of a source that can be read alone; its `name` changes when anything in it does.

    `positions` are those its records may have, first and last line of `file`, counted from 1.
    """

    name: str
    file: str
    first: int
    last: int
    read: Callable[[], Iterable[Record]]

    def to_list(self) -> list[Any]:
        """What a manifest remembers of it."""
        return [self.name, self.file, self.first, self.last]


class SourceChanged(OSError):
    """A file became another one while it was read."""


def source_blocks(reader: Any) -> list[Block]:
    """The blocks of a source that has them, in reading order; none of one read in a piece."""
    return list(reader.blocks()) if hasattr(reader, "blocks") else []
