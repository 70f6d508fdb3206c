"""What a step made, and the version of it that a store holds: a manifest that names its objects.

A manifest names by content everything that it is made of and was made from, so that one key stands
for all of it.
"""

import hashlib
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curation.blobs import Corrupt
from curation.runs import SLICE, Run
from curation.store_format import FORMAT
from curation.table_parts import read_pieces
from curation.table_texts import Known, texts_of
from curation.tables import (
    Bare,
    Change,
    change_between,
    lookup,
    objects_of,
    read_table,
    scan_table,
    write_table,
)

if TYPE_CHECKING:
    from curation.store import Store

_KEPT = 64
"""So many small changes from version to version are kept in memory."""


@dataclass(frozen=True)
class Made:
    """What a step made: tables, folders (still outside the store), small values and checks.

    A table is a whole frame, or the `Change` that leads to it from the version `since`. A check is
    (passed, one line that says why). `memos` are keys of what it remembered for later runs, and
    `texts` are runs of texts that it wrote while it worked.
    """

    tables: Mapping[str, pl.DataFrame | Bare | Change] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, tuple[bool, str]] = field(default_factory=dict)
    since: "Version | None" = None
    memos: Sequence[str] = ()
    texts: Sequence[Run] = ()


@dataclass(frozen=True)
class Version:
    """One committed result of one step: its manifest, and its tables read when asked for."""

    store: "Store"
    key: str
    manifest: Mapping[str, Any]
    published_at: float | None = None
    """When it was published, in Unix seconds, where it was found by its name; a clock's word."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process it is opened anew there, from a store at the same place."""
        return _open_version, (self.store.place, self.key, self.published_at)

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def data_version(self) -> str:
        """Digest of what the tables, folders and values say, whatever made them."""
        return self.manifest["data_version"]

    @property
    def values(self) -> dict[str, Any]:
        return self.manifest["values"]

    @property
    def checks(self) -> dict[str, tuple[bool, str]]:
        return {name: (bool(ok), text) for name, (ok, text) in self.manifest["checks"].items()}

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Objects, number of rows and columns of each table, without reading them."""
        return self.manifest["tables"]

    def table(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """One table or some columns of it, its bytes verified against the digests that name them.

        Rows come in canonical order: by id, else by every plain column. With `where`, which may
        ask for any column but texts, only those come that it is true of.
        """
        return read_table(self.store, self.tables[name], columns, where=where)

    def scan(self, name: str) -> pl.LazyFrame:
        """One table but for its texts in no order, of which only what is asked for is read.

        Later parts of it are read at once. Takes half the time of `table`.
        """
        return scan_table(self.store, self.tables[name])

    def lookup(
        self,
        name: str,
        ids: Iterable[str],
        columns: Sequence[str] | None = None,
        *,
        texts: bool = True,
    ) -> pl.DataFrame:
        """The rows of a table with these ids, without reading all of it, or but for their texts.

        Of some columns comes the id too.
        """
        return lookup(self.store, self.tables[name], list(ids), columns, texts=texts)

    def first(self, name: str, rows: int, columns: Sequence[str]) -> pl.DataFrame:
        """At least so many of the first rows of a table in canonical order, if it has as many.

        They are read for their plain `columns`, and the rest is not.
        """
        read: list[pl.DataFrame] = []
        for piece, _ in read_pieces(self.store, self.tables[name], columns):
            read.append(piece)
            if sum(part.height for part in read) >= rows:
                break
        return pl.concat(read).select(columns)

    def changes(self, name: str, since: "Version", *, texts: bool = True) -> Change:
        """What leads to this version of a table from an earlier one; costs only the difference.

        Rows come with their texts, or without `texts` with the other columns. A small change is
        kept: what one step asks the next will ask too.
        """
        old, new, kept = since.tables[name], self.tables[name], self.store.kept_changes
        key = old["digest"], new["digest"], texts
        if key in kept:
            return kept[key]
        change = change_between(self.store, old, new, texts=texts)
        if change.upserts.height + change.gone.height <= SLICE:
            kept[key] = change
            if len(kept) > _KEPT:
                del kept[next(iter(kept))]
        return change

    def folder(self, name: str) -> Path:
        """One folder, such as a model, to read and never to write in."""
        return self.store.folder(self.manifest["folders"][name])

    def input(self, name: str) -> "Version":
        """The very version of an upstream step this one was made from."""
        return self.store.version(self.manifest["inputs"][name])

    def upstream(self, read: "dict[str, Version] | None" = None) -> dict[str, "Version"]:
        """Everything it was made from, by the name of its step, nearest first.

        Of two versions of a step, such as one that an older judge was fitted on, the nearest.
        `read` holds versions by their keys: those there are not read again, and new ones added.
        """
        read = {} if read is None else read
        found: dict[str, Version] = {}
        todo: list[Version] = [self]
        for known in todo:
            for name, key in known.manifest["inputs"].items():
                if name not in found:
                    found[name] = read[key] = read.get(key) or self.store.version(key)
                    todo.append(found[name])
        return found

    @property
    def objects(self) -> list[str]:
        """Keys of all objects this version is made of: manifest, tables and folders."""
        tables = [key for entry in self.tables.values() for key in objects_of(entry)]
        return [self.key, *tables, *self.manifest["folders"].values()]

    @property
    def needs(self) -> list[str]:
        """Its objects and the manifests of the versions it was made from."""
        return [*self.objects, *self.manifest["inputs"].values()]


def _open_version(place: str, key: str, published_at: float | None) -> Version:
    version = _open_store(place).version(key)
    return Version(version.store, key, version.manifest, published_at)


@cache
def _open_store(place: str) -> "Store":
    """The store for reading in this process; `FileNotFoundError` where its folder is not."""
    from curation.store import Store

    if "://" in place:
        name = hashlib.sha256(place.encode()).hexdigest()[:16]
        return Store(place, local=Path.home() / ".cache" / "winnow" / name)
    if not (Path(place) / "format.json").is_file():
        raise FileNotFoundError(
            f"the store {place!r} cannot be reached from {socket.gethostname()}: where several "
            "machines work, it is in a bucket or in a folder that all of them share"
        )
    return Store(place)


def make_manifest(
    store: "Store",
    name: str,
    made: Made,
    *,
    since: Version | None,
    inputs: Mapping[str, Version],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the tables and folders of a version, and say in a manifest what it is made of.

    Of each table only what differs from the version `since` is written.
    """
    handed_on = {
        run
        for version in inputs.values()
        for entry in version.tables.values()
        for run in texts_of(entry)
    }
    texts = Known(frozenset(handed_on.union(made.texts)), handed_on=bool(handed_on))
    before = since.tables if since else {}
    tables = {
        table: _write_table(store, name, content, before.get(table), texts)
        for table, content in sorted(made.tables.items())
    }
    folders = {part: store.put_folder(path) for part, path in sorted(made.folders.items())}
    said = {
        "tables": {table: entry["digest"] for table, entry in tables.items()},
        "folders": folders,
        "values": made.values,
    }
    return {
        "format": FORMAT,
        "name": name,
        "data_version": hashlib.sha256(_sorted_json(said)).hexdigest()[:32],
        "tables": tables,
        "folders": folders,
        "values": made.values,
        "checks": {check: list(result) for check, result in made.checks.items()},
        "inputs": {upstream: version.key for upstream, version in sorted(inputs.items())},
        "memos": sorted(made.memos),
        "how": how,
    }


def _write_table(
    store: "Store", name: str, content: pl.DataFrame | Bare | Change, previous: Any, texts: Known
) -> dict[str, Any]:
    kind = name.split("/")[-1]
    if previous and not all(store.has(key) for key in objects_of(previous)):
        if isinstance(content, Change):
            raise Corrupt(f"a part of {name} is missing, so that it cannot be changed")
        previous = None
    try:
        return write_table(store, kind, content, previous=previous, texts=texts)
    except Corrupt:  # what it would share parts with is damaged, so it shares none
        if previous is None or isinstance(content, Change):
            raise
        return write_table(store, kind, content, texts=texts)


def _sorted_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
