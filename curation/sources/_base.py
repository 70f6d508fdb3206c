"""What every source yields: one input record with its position, or the reason it could not be read.

A record is not a row yet. The ingest step turns `data` into rows and a filled `error` into a
quarantined occurrence, so one broken line costs one record and the rest goes on.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One delivered input record: where it stood, what it held, or why it could not be read.

    `position` is stable for the same input ("line 7", "grammar #12"); `data` is None exactly when
    `error` is filled; `raw` then keeps the unreadable text, cut by the source to a sane length.
    """

    position: str
    data: dict | None
    error: str = ""
    raw: str = ""
