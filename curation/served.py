"""The log of a served model: every question and answer, and what people said of the answers.

One SQLite file beside the inboxes. One thread writes it: while it waits for the disk the next
answers gather, and all of them are one transaction. Several servers may use one file.
"""

import queue
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

import polars as pl

SERVED = "answers.sqlite"
_GROUP = 256
_SCHEMA = """
create table if not exists answers (
    id text primary key, at real not null, arm text not null, version integer not null,
    version_id text not null, unit text not null, status integer not null, error text not null,
    latency_s real not null, prompt_tokens integer, completion_tokens integer,
    messages text not null, answer text not null
);
create index if not exists answers_by_time on answers (at);
create table if not exists feedback (
    id text primary key, at real not null, rating text not null, corrected text not null
);
"""


@dataclass(frozen=True)
class Answer:
    """A request and what came of it: `error` is "" for an answer that is whole.

    `at` is when the question came (Unix seconds), `unit` the digest of whom the arm was drawn for,
    `messages` JSON as the model was asked. Tokens are None where the model's server told none.
    """

    id: str
    at: float
    arm: str
    version: int
    version_id: str
    unit: str
    status: int
    error: str
    latency_s: float
    prompt_tokens: int | None
    completion_tokens: int | None
    messages: str
    answer: str


@dataclass(frozen=True)
class Feedback:
    """What somebody said of an answer: `up`, `down`, or `corrected` with the right answer."""

    id: str
    at: float
    rating: str
    corrected: str = ""


RATED_SCHEMA = pl.Schema(
    {"id": pl.String, "at": pl.Float64, "arm": pl.String, "version": pl.Int64, "unit": pl.String,
     "error": pl.String, "latency_s": pl.Float64, "prompt_tokens": pl.Int64,
     "completion_tokens": pl.Int64, "rating": pl.String}
)  # fmt: skip
"""An answer without its texts; `rating` is null where nobody said anything."""


def read_rated(path: Path) -> pl.DataFrame:
    """Every answer of a log in order of time as `RATED_SCHEMA`; none without a log."""
    if not path.is_file():
        return RATED_SCHEMA.to_frame()
    columns = ", ".join(f"feedback.{c}" if c == "rating" else f"answers.{c}" for c in RATED_SCHEMA)
    sql = f"select {columns} from answers left join feedback using (id) order by answers.at, id"
    with closing(_reader(path)) as db:
        return pl.DataFrame(db.execute(sql).fetchall(), schema=RATED_SCHEMA, orient="row")


def find_answer(path: Path, id: str) -> Answer | None:
    """The answer with an id, None for none."""
    with closing(_reader(path)) as db:
        found = db.execute("select * from answers where id = ?", (id,)).fetchone()
    return Answer(*found) if found else None


class ServedLog:
    """Writes answers and feedback until it is closed.

    What the last group failed with stands in `failed`, "" when it went well. Raises `OSError` for a
    file that cannot be used.
    """

    def __init__(self, path: Path):
        self.path, self.failed = path, ""
        self._db = _writer(path)
        self._waiting: queue.SimpleQueue[tuple[Answer | Feedback, Future[None]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="served log", daemon=True)
        self._thread.start()

    def put(self, line: Answer | Feedback) -> "Future[None]":
        """Done once the line is on disk, or raises; later feedback takes the place of earlier."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # who waited may go, and the line is written
        self._waiting.put((line, done))
        return done

    def close(self) -> None:
        """Return once all that was put is on disk."""
        self._waiting.put(None)
        self._thread.join()
        self._db.close()

    def _work(self) -> None:
        while group := self._next_group():
            error: Exception | None = None
            try:
                self._write([line for line, _ in group])
            except Exception as found:  # theirs to be told; the next group may fare better
                error = found
            self.failed = str(error or "")
            for _, done in group:
                done.set_exception(error) if error else done.set_result(None)

    def _next_group(self) -> list[tuple[Answer | Feedback, "Future[None]"]]:
        """Lines that wait, of one transaction together; none once the log is closed."""
        group = []
        while len(group) < _GROUP and not (group and self._waiting.empty()):
            one = self._waiting.get()
            if one is None:
                if group:
                    self._waiting.put(None)  # to be found when this group is written
                break
            group.append(one)
        return group

    def _write(self, lines: Sequence[Answer | Feedback]) -> None:
        with self._db:
            for line in lines:
                values = astuple(line)
                table = "answers" if isinstance(line, Answer) else "feedback"
                marks = ", ".join("?" * len(values))
                self._db.execute(f"insert or replace into {table} values ({marks})", values)


def _writer(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60, check_same_thread=False)
    try:
        # SQLite before 3.51.3 can damage a database that has a write-ahead log.
        journal = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "truncate"
        db.execute(f"pragma journal_mode = {journal}")
        db.execute("pragma synchronous = full")
        db.executescript(_SCHEMA)
    except sqlite3.Error as error:
        db.close()
        raise OSError(f"{str(path)!r} cannot be used: {error}") from None
    return db


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
