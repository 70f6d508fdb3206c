"""The store: immutable objects named by their content, and refs that make a step visible at once.

A step writes its tables and folders as objects, then a manifest that names them, then one ref that
names the manifest. Nothing can be seen before the ref exists and everything after it, so a process
may be killed at any moment: what it left behind is either whole or unreferenced.

    objects/<kind>/<hh>/<sha256>.parquet | .json      objects/folders/<hh>/<sha256>/
    refs/<name>/<seq>.json      memo/<key>.json      tmp/      intake/      .lock
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import polars as pl

from curation.rows import canonical_json

FORMAT = 1
ROW_GROUP = 65_536
_HELD: dict[Path, IO[str]] = {}
"""Locks of this process; a lock is a property of the process and not of a `Store` object."""


class Conflict(RuntimeError):
    """Someone else published the next version first; read the new head and try again."""


class Corrupt(RuntimeError):
    """A stored object no longer has the content its name promises."""


@dataclass(frozen=True)
class Made:
    """What a step made: tables, folders (still outside the store), small values and checks.

    A check is (passed, one line that says why).
    """

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, tuple[bool, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """One committed result of one step: its manifest, and its tables read when asked for."""

    store: "Store"
    key: str
    manifest: Mapping[str, Any]

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
        """Object, number of rows and columns of each table, without reading them."""
        return self.manifest["tables"]

    def table(self, name: str) -> pl.DataFrame:
        """One table, its bytes verified against the digest that names them."""
        return self.store.read_frame(self.manifest["tables"][name]["object"])

    def folder(self, name: str) -> Path:
        """One folder, such as a model, to read and never to write in."""
        return self.store.folder(self.manifest["folders"][name])

    def input(self, name: str) -> "Version":
        """The very version of an upstream step this one was made from."""
        return self.store.version(self.manifest["inputs"][name])


class Store:
    """A directory that holds every version of everything."""

    def __init__(self, root: Path | str):
        self.root = Path(root).absolute()
        self._verified: set[str] = set()
        for part in ("objects", "refs", "memo", "tmp", "intake"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        self._check_format()

    def _check_format(self) -> None:
        path = self.root / "format.json"
        if not path.exists():
            self._write(path, canonical_json({"format": FORMAT}).encode())
        found = json.loads(path.read_text())["format"]
        if found > FORMAT:
            raise ValueError(
                f"{str(self.root)!r} has store format {found}; this Winnow knows {FORMAT}: upgrade"
            )

    # objects ------------------------------------------------------------------------------------

    def put_frame(self, kind: str, frame: pl.DataFrame) -> str:
        """Write a table in its canonical order; returns its object key."""
        path = self._staged()
        in_order(frame).write_parquet(path, compression="zstd", row_group_size=ROW_GROUP)
        return self._adopt(path, kind, ".parquet")

    def read_frame(self, key: str) -> pl.DataFrame:
        """Read a table back; `Corrupt` when its bytes are not what its name promises."""
        return pl.read_parquet(self._verify(key))

    def put_json(self, kind: str, value: Any) -> str:
        """Write a small value; returns its object key."""
        path = self._staged()
        path.write_bytes(json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1).encode())
        return self._adopt(path, kind, ".json")

    def read_json(self, key: str) -> Any:
        """Read a small value back, verified like a table."""
        return json.loads(self._verify(key).read_bytes())

    def put_folder(self, source: Path) -> str:
        """Copy a folder in, named by the digest of its file names and contents."""
        name = sha256_path(source)
        key = f"folders/{name[:2]}/{name}"
        target = self.root / "objects" / key
        if not target.exists():
            staged = self._staged()
            shutil.copytree(source, staged)
            for path in staged.rglob("*"):
                _fsync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _fsync(staged)
            try:
                staged.rename(target)
            except OSError:  # a twin of ours was faster; the content is the same by name
                shutil.rmtree(staged, ignore_errors=True)
            _fsync(target.parent)
        return key

    def folder(self, key: str) -> Path:
        """Where a folder lies; `Corrupt` when a file in it changed."""
        path = self.root / "objects" / key
        if key not in self._verified:
            if not path.is_dir() or sha256_path(path) != path.name:
                raise Corrupt(
                    f"folder {key} is missing or was changed: expected the digest of its name"
                )
            self._verified.add(key)
        return path

    # versions -----------------------------------------------------------------------------------

    def write_version(
        self, name: str, made: Made, *, inputs: Mapping[str, Version], how: Mapping[str, Any]
    ) -> Version:
        """Write what a step made and its manifest; it is visible only once `publish` is called."""
        tables = {
            table: {
                "object": self.put_frame(name.split("/")[-1], frame),
                "digest": frame_digest(frame),
                "rows": frame.height,
                "columns": frame.columns,
            }
            for table, frame in sorted(made.tables.items())
        }
        folders = {part: self.put_folder(path) for part, path in sorted(made.folders.items())}
        said = {
            "tables": {table: entry["digest"] for table, entry in tables.items()},
            "folders": folders,
            "values": made.values,
        }
        manifest = {
            "format": FORMAT,
            "name": name,
            "data_version": hashlib.sha256(_sorted_json(said)).hexdigest()[:32],
            "tables": tables,
            "folders": folders,
            "values": made.values,
            "checks": {check: list(result) for check, result in made.checks.items()},
            "inputs": {upstream: version.key for upstream, version in sorted(inputs.items())},
            "how": how,
        }
        return self.version(self.put_json("manifests", manifest))

    def version(self, key: str) -> Version:
        """The version whose manifest has this object key."""
        return Version(self, key, self.read_json(key))

    def publish(self, version: Version) -> None:
        """Make a version the head of its name; the whole commit is this one link.

        Publishing the present head again changes nothing. Raises `Conflict` when another writer
        took the next place first.
        """
        seq, head = self._head(version.name)
        if head == version.key:
            return
        folder = self.root / "refs" / version.name
        folder.mkdir(parents=True, exist_ok=True)
        staged = self._staged()
        staged.write_text(canonical_json({"manifest": version.key}))
        _fsync(staged)
        try:
            os.link(staged, folder / f"{seq + 1:08d}.json")
        except FileExistsError:
            raise Conflict(
                f"{version.name} got another version {seq + 1} meanwhile; run again"
            ) from None
        finally:
            staged.unlink()
        _fsync(folder)

    def head(self, name: str) -> Version | None:
        """The newest published version of a step, or None."""
        key = self._head(name)[1]
        return self.version(key) if key else None

    def history(self, name: str) -> Iterator[Version]:
        """Every published version of a step, newest first."""
        for path in sorted(self._refs(name), reverse=True):
            yield self.version(json.loads(path.read_text())["manifest"])

    def _refs(self, name: str) -> list[Path]:
        folder = self.root / "refs" / name
        return [p for p in folder.glob("*.json") if p.stem.isdigit()] if folder.is_dir() else []

    def _head(self, name: str) -> tuple[int, str]:
        newest = max(self._refs(name), default=None)
        return (int(newest.stem), json.loads(newest.read_text())["manifest"]) if newest else (0, "")

    # memo: a short cut for unchanged inputs, safe to delete --------------------------------------

    def recall(self, key: str) -> dict[str, Any] | None:
        """What was remembered under a key, or None."""
        path = self.root / "memo" / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Remember a small value under a key for later runs."""
        self._write(self.root / "memo" / f"{key}.json", canonical_json(value).encode())

    # one writer -----------------------------------------------------------------------------------

    def lock_writer(self) -> None:
        """Hold the store for this process until it ends; the lock of a killed process is gone.

        Raises `BlockingIOError` when another process is rebuilding.
        """
        if self.root in _HELD:
            return
        handle = open(self.root / ".lock", "a+")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise BlockingIOError(
                f"another rebuild is running on {str(self.root)!r} (process {owner}); wait for it"
            ) from None
        handle.truncate(0)  # whose lock it is, for the message of the one who waits
        handle.write(str(os.getpid()))
        handle.flush()
        _HELD[self.root] = handle

    def unlock_writer(self) -> None:
        """Let others write again."""
        if handle := _HELD.pop(self.root, None):
            handle.close()

    # bytes ----------------------------------------------------------------------------------------

    def workdir(self, name: str) -> Path:
        """A folder for unfinished work that a later run may resume (checkpoints)."""
        path = self.root / "tmp" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _staged(self) -> Path:
        return self.root / "tmp" / uuid.uuid4().hex

    def _write(self, path: Path, data: bytes) -> None:
        staged = self._staged()
        staged.write_bytes(data)
        _fsync(staged)
        staged.replace(path)
        _fsync(path.parent)

    def _adopt(self, staged: Path, kind: str, suffix: str) -> str:
        """Move a staged file to the place its content names."""
        name = sha256_file(staged)
        key = f"{kind}/{name[:2]}/{name}{suffix}"
        target = self.root / "objects" / key
        if target.exists() and sha256_file(target) == name:
            staged.unlink()
            return key
        _fsync(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        _fsync(target.parent)
        return key

    def _verify(self, key: str) -> Path:
        path = self.root / "objects" / key
        if key not in self._verified:
            if not path.exists():
                raise Corrupt(f"object {key} is missing from {str(self.root)!r}")
            if sha256_file(path) != path.stem:
                raise Corrupt(f"object {key} was damaged: its bytes no longer match its name")
            self._verified.add(key)
        return path


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame sorted by `id` first and then by every other plain column, in one chunk."""
    plain = [c for c, kind in frame.schema.items() if not kind.is_nested()]
    keys = sorted(plain, key=lambda c: (c != "id", frame.columns.index(c)))
    return (frame.sort(keys, nulls_last=True) if keys else frame).rechunk()


def frame_digest(frame: pl.DataFrame) -> str:
    """sha256 of what a frame says: column names, types and sorted rows, not a file's bytes."""
    schema = canonical_json([[name, str(kind)] for name, kind in frame.schema.items()])
    return hashlib.sha256(schema.encode() + in_order(frame).write_ndjson().encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_path(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    listing = [[p.relative_to(path).as_posix(), sha256_file(p)] for p in files]
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def _sorted_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
