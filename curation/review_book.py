"""The book of a review: who has which row before him, and what each reviewer may take back.

One SQLite file beside the inboxes, which several processes may use at once. It holds no verdict, so
it is not waited for until it is on the disk; one that a power cut damaged is begun anew.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

BOOK = "reviews.sqlite"
LEASE_S = 600.0
"""So long a row is kept for the reviewer that it was shown to."""
_SCHEMA = """
create table if not exists leases (
    row_id text primary key, reviewer text not null, until real not null
);
create table if not exists acts (
    seq integer primary key, reviewer text not null, row_ids text not null,
    seconds real not null, undone integer not null default 0
);
create index if not exists acts_by_reviewer on acts (reviewer, undone, seq);
"""


class ReviewBook:
    """Leases and acts; a lock of the caller's keeps threads apart, and SQLite processes."""

    def __init__(self, path: Path):
        self._db = _open(path)

    def lease(self, reviewer: str, row_ids: Iterable[str], *, seconds: float = LEASE_S) -> str:
        """The first of the rows that nobody else has now, kept for this reviewer; "" for none.

        What he had before him until now is free again.
        """
        now = time.time()
        with self._db:
            self._db.execute("begin immediate")
            self._db.execute("delete from leases where until < ? or reviewer = ?", (now, reviewer))
            taken = {row_id for (row_id,) in self._db.execute("select row_id from leases")}
            row_id = next((i for i in row_ids if i not in taken), "")
            if row_id:
                self._db.execute(
                    "insert into leases values (?, ?, ?)", (row_id, reviewer, now + seconds)
                )
        return row_id

    def note(self, reviewer: str, row_ids: Sequence[str], *, seconds: float) -> None:
        """Write down what a reviewer judged, the row before him first, and how long it took."""
        act = (reviewer, json.dumps([*row_ids]), seconds)
        with self._db:
            self._db.execute("delete from leases where row_id = ?", (row_ids[0],))
            self._db.execute("insert into acts (reviewer, row_ids, seconds) values (?, ?, ?)", act)

    def last_act(self, reviewer: str) -> tuple[int, list[str]] | None:
        """The number and the rows of what he did last and has not taken back."""
        found = self._db.execute(
            "select seq, row_ids from acts where reviewer = ? and not undone"
            " order by seq desc limit 1",
            (reviewer,),
        ).fetchone()
        return (found[0], json.loads(found[1])) if found else None

    def strike(self, number: int) -> None:
        """Mark an act as taken back."""
        with self._db:
            self._db.execute("update acts set undone = 1 where seq = ?", (number,))

    def pace(self, reviewer: str) -> tuple[int, float | None]:
        """How many rows he judged, and the median seconds of his last fifty; None before any."""
        kept = "from acts where reviewer = ? and not undone"
        (done,) = self._db.execute(f"select count(*) {kept}", (reviewer,)).fetchone()
        last = self._db.execute(f"select seconds {kept} order by seq desc limit 50", (reviewer,))
        times = sorted(seconds for (seconds,) in last)
        return done, times[len(times) // 2] if times else None

    def close(self) -> None:
        """Release the file."""
        self._db.close()


def _open(path: Path) -> sqlite3.Connection:
    """The book at a path, a new one in the place of one that is damaged."""
    db = sqlite3.connect(path, timeout=60, check_same_thread=False)
    if not _is_whole(db):
        db.close()
        path.unlink()
        return _open(path)
    db.execute("pragma synchronous = off")
    db.executescript(_SCHEMA)
    return db


def _is_whole(db: sqlite3.Connection) -> bool:
    try:
        return db.execute("pragma quick_check").fetchone() == ("ok",)
    except sqlite3.OperationalError:  # locked, or may not be read: that is no damage
        raise
    except sqlite3.DatabaseError:
        return False
