"""The ledger of paid calls: every answer is on disk before anything is done with it.

One SQLite file. Answers are written in groups with a flush to disk for each group, so a run that
was killed goes on where it stood and pays for nothing twice.
"""

import asyncio
import json
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

import polars as pl

LEDGER = "calls.sqlite"
_GROUP = 256
_COLUMNS = "key, request, body, prompt_tokens, completion_tokens, cost_usd"
_FIND = f"select {_COLUMNS} from calls where key = ? order by seq"
_SCHEMA = """
create table if not exists calls (
    seq integer primary key, key text not null, request text not null, body text not null,
    prompt_tokens integer not null, completion_tokens integer not null, cost_usd real not null
);
create index if not exists calls_by_key on calls (key, seq);
create table if not exists batches (
    token text primary key, endpoint text not null, keys text not null, id text not null
);
"""


@dataclass(frozen=True)
class Call:
    """One paid answer: the request's key and JSON, the body as received, tokens and cost."""

    key: str
    request: str
    body: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


@dataclass(frozen=True)
class Batch:
    """Requests handed in together: our token, their keys, the endpoint's id ("" until known)."""

    token: str
    keys: tuple[str, ...]
    id: str = ""


CALL_SCHEMA = pl.Schema(
    {"key": pl.String, "request": pl.String, "body": pl.String, "prompt_tokens": pl.Int64,
     "completion_tokens": pl.Int64, "cost_usd": pl.Float64}
)  # fmt: skip
"""A call in a table: what is kept with the rows that it wrote."""


def read_calls(path: Path, keys: Collection[str]) -> pl.DataFrame:
    """Every answer to these keys in a ledger, oldest first, as `CALL_SCHEMA`; none without one."""
    if not path.is_file() or not keys:
        return CALL_SCHEMA.to_frame()
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
    ) as db:
        found = [row for key in sorted(keys) for row in db.execute(_FIND, (key,))]
    return pl.DataFrame(found, schema=CALL_SCHEMA, orient="row")


class Ledger:
    """Paid answers by key; several answers to one key mean that earlier ones were unusable."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # SQLite before 3.51.3 can damage a database that has a write-ahead log.
        journal = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "truncate"
        self._db.execute(f"pragma journal_mode = {journal}")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)
        self._waiting: list[tuple[Call, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def find(self, key: str) -> list[Call]:
        """Answers to a key, oldest first."""
        return [Call(*row) for row in self._db.execute(_FIND, (key,))]

    async def put(self, call: Call) -> None:
        """Return when the answer is on disk; raises `sqlite3.Error` when it cannot be."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((call, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            error: Exception | None = None
            try:
                await asyncio.to_thread(self._write, [call for call, _ in group])
            except sqlite3.Error as found:
                error = found
            for _, done in group:
                if not done.done():
                    done.set_exception(error) if error else done.set_result(None)

    def _write(self, calls: Sequence[Call]) -> None:
        with self._db:
            self._db.executemany(
                f"insert into calls ({_COLUMNS}) values (?, ?, ?, ?, ?, ?)", map(astuple, calls)
            )

    def open_batches(self, endpoint: str) -> list[Batch]:
        """Batches that were handed in there, or were about to be, and are not collected yet."""
        find = "select token, keys, id from batches where endpoint = ? order by rowid"
        found = self._db.execute(find, (endpoint,))
        return [Batch(token, tuple(json.loads(keys)), id) for token, keys, id in found]

    def put_batch(self, endpoint: str, batch: Batch) -> None:
        """Write down a batch, before it is handed in and again once its id is known."""
        with self._db:
            line = (batch.token, endpoint, json.dumps(batch.keys), batch.id)
            self._db.execute("insert or replace into batches values (?, ?, ?, ?)", line)

    def drop_batch(self, batch: Batch) -> None:
        """Forget a batch: its answers are in the ledger, or it was never handed in."""
        with self._db:
            self._db.execute("delete from batches where token = ?", (batch.token,))

    def close(self) -> None:
        """Release the file."""
        self._db.close()
