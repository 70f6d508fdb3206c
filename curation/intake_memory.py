"""What the intake has read before: files by name and content, and how far into a database.

One SQLite file in the folder of the inbox, so that both are lost or copied together. It spares
reading again and nothing else: what is read twice adds nothing to the inbox, so a process may be
killed before it wrote to this file.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "intake/taken.sqlite"
_SCHEMA = """
create table if not exists files (
    place text not null, name text not null, mark text not null, sha256 text not null,
    primary key (place, name, mark)
);
create index if not exists files_by_content on files (place, sha256);
create table if not exists cursors (name text primary key, value text not null);
"""


class Memory:
    """Files that were taken whole, and cursors."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db

    def marks(self, place: str) -> set[tuple[str, str]]:
        """(name, mark) of each file of a place that was read."""
        return {*self._db.execute("select name, mark from files where place = ?", (place,))}

    def has_content(self, place: str, sha256: str) -> bool:
        """Whether a file of the place with this content was read, whatever it was called."""
        found = self._db.execute(
            "select 1 from files where place = ? and sha256 = ?", (place, sha256)
        )
        return found.fetchone() is not None

    def take(self, place: str, name: str, mark: str, sha256: str) -> None:
        """Remember a file; its lines must be safe before."""
        self._write("insert or replace into files values (?, ?, ?, ?)", place, name, mark, sha256)

    def cursor(self, name: str) -> str | None:
        """Where a pull ended, None before the first."""
        found = self._db.execute("select value from cursors where name = ?", (name,)).fetchone()
        return found[0] if found else None

    def move(self, name: str, value: str) -> None:
        """Remember where a pull ended; its lines must be safe before."""
        self._write("insert or replace into cursors values (?, ?)", name, value)

    def _write(self, sql: str, *values: str) -> None:
        with self._db:
            self._db.execute(sql, values)


@contextmanager
def open_memory(root: Path) -> Iterator[Memory]:
    """The memory in a store's local folder, on disk after each write.

    Raises `OSError` when it cannot be read or written.
    """
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    db = sqlite3.connect(path, timeout=60)
    try:
        db.execute("pragma synchronous = full")
        db.executescript(_SCHEMA)
        yield Memory(db)
    except sqlite3.Error as error:
        raise OSError(f"{str(path)!r} cannot be used: {error}") from None
    finally:
        db.close()
