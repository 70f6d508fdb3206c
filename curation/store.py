"""The store: immutable objects named by their content, and refs that make a step visible at once.

A step writes its tables and folders as objects, then a manifest that names them, then one ref that
names the manifest. Nothing can be seen before the ref exists and everything after it, so a process
may be killed at any moment: what it left behind is either whole or unreferenced.

    objects/<kind>/<hh>/<sha256>.parquet | .json      objects/folders/<hh>/<sha256>/<file>
    refs/<name>/<seq>.json      pins/<label>.json      memo/<key>.json
    tmp/  leases/  .lock  .gate  intake/  verdicts/  alerts/  told_alerts/  *.sqlite
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from curation.blobs import Blobs, Corrupt, LocalBlobs
from curation.bucket import BucketBlobs
from curation.disk import Disk, sha256_file
from curation.frames import parquet_bytes
from curation.id_index import IdIndexes
from curation.locks import Leases, lock_writer, unlock_writer
from curation.names import NAME, check_name, checked_key, link_in, sha256_path
from curation.seals import read_sealed, seal, unseal
from curation.store_format import check_format
from curation.tables import Change, objects_of, write_table
from curation.versions import Made, Version, make_manifest

__all__ = ["Change", "Conflict", "Corrupt", "Made", "Store", "Version"]


class Conflict(RuntimeError):
    """Someone else published the next version first; read the new head and try again."""


class Store:
    """A directory, or a bucket with a local cache, that holds every version of everything.

    `place` is a folder, or the URL of a bucket and prefix; what belongs to one machine (locks,
    unfinished work, the inboxes, the ledger of calls) lies in the folder `local` then. Raises
    `ValueError` for a store of a newer format or a bucket that cannot be trusted.
    """

    def __init__(self, place: Path | str, *, local: Path | None = None, disk: Disk | None = None):
        self.disk = disk or Disk()
        remote = str(place) if "://" in str(place) else ""
        self.root = Path(local or ".winnow" if remote else place).absolute()
        self.place = remote or str(self.root)
        for part in ("tmp", "intake", *(() if remote else ("objects", "refs", "memo", "pins"))):
            if not (self.root / part).is_dir():
                self.disk.make_folder(self.root / part)
        self.local = LocalBlobs(self.root, self.disk)
        cache = self.root / "cache"
        self.blobs: Blobs = BucketBlobs(remote, cache, self.disk) if remote else self.local
        self.leases = Leases(self.root, self.disk)
        self.indexes = IdIndexes()
        self.kept_changes: dict[tuple[str, str, bool], Change] = {}
        self._verified: set[str] = set()
        self._refs: dict[str, tuple[str, float | None]] = {}
        check_format(self.blobs, self.leases, self.place)

    # objects ------------------------------------------------------------------------------------

    def put_frame(self, kind: str, frame: pl.DataFrame) -> str:
        """Write a frame in its canonical order as one Parquet object; returns its key."""
        return self.put_bytes(kind, ".parquet", parquet_bytes(frame))

    def frame_path(self, key: str, *, anew: bool = False) -> Path:
        """Where the verified bytes of an object lie, or `Corrupt`; `anew` trusts no local copy."""
        at = f"objects/{key}"
        if key in self._verified and not anew and (self.blobs.root / at).is_file():
            return self.blobs.root / at
        name = checked_key(key)
        try:
            path = self.blobs.fetch(at, anew=anew)
            whole = self.disk.digest(path) == name
            if not whole and self.blobs.shared:  # perhaps it was only the local copy
                whole = self.disk.digest(self.blobs.fetch(at, anew=True)) == name
        except FileNotFoundError:
            raise Corrupt(f"object {key} is missing from {self.place!r}") from None
        if not whole:
            raise Corrupt(f"object {key} was damaged: its bytes no longer match its name")
        self._verified.add(key)
        return path

    def frame_paths(self, keys: Iterable[str]) -> list[Path]:
        """The same of many objects; new ones are fetched and verified several at a time."""
        wanted = list(keys)
        fresh = {*wanted} - self._verified
        if len(fresh) > 1:
            with ThreadPoolExecutor(self.blobs.at_once) as pool:
                _ = [*pool.map(self.frame_path, sorted(fresh))]
        return [self.frame_path(key) for key in wanted]

    def put_json(self, kind: str, value: Any) -> str:
        """Write a small value; returns its object key."""
        said = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
        return self.put_bytes(kind, ".json", said.encode())

    def read_json(self, key: str) -> Any:
        """Read a small value back, verified like a table."""
        return json.loads(self.disk.read(self.frame_path(key)))

    def put_folder(self, source: Path) -> str:
        """Copy a folder in, named by the digest of its file names and contents.

        Raises `ValueError` for one with a link in it, which may lead anywhere.
        """
        if link := link_in(source):
            raise ValueError(
                f"{str(source)!r} holds the link {link!r}; a folder is stored as files"
            )
        name = sha256_path(source)
        key = f"folders/{name[:2]}/{name}"
        with self.leases.adding(key):
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                at = f"objects/{key}/{path.relative_to(source).as_posix()}"
                there = self.blobs.exists(at) and self.blobs.fetch(at)
                if not (there and sha256_file(there) == sha256_file(path)):
                    self.blobs.put(at, path.read_bytes())
        return key

    def folder(self, key: str, *, anew: bool = False) -> Path:
        """Where a folder lies; `Corrupt` when a file in it changed. `anew` trusts no local copy."""
        path = self.blobs.root / "objects" / key
        if key in self._verified and not anew and path.is_dir():
            return path
        name = checked_key(key)
        for fresh in (anew, True) if self.blobs.shared else (False,):
            if fresh:  # of a bucket `path` is only a copy
                self.disk.remove(path)
            with suppress(FileNotFoundError):
                for at in self.blobs.list(f"objects/{key}"):
                    self.blobs.fetch(at, anew=fresh)
                if path.is_dir() and not link_in(path) and sha256_path(path) == name:
                    self._verified.add(key)
                    return path
        raise Corrupt(f"folder {key} is missing or was changed since it was stored")

    def has(self, key: str) -> bool:
        """Whether an object or folder is there, its content not looked at."""
        at = f"objects/{key}"
        return bool(self.blobs.list(at)) if key.startswith("folders/") else self.blobs.exists(at)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of these objects and folders that are not there; asked for many at once."""
        wanted = list(keys)
        if not self.blobs.shared:
            return [key for key in wanted if not self.has(key)]
        with ThreadPoolExecutor(self.blobs.at_once) as pool:
            return [key for key, there in zip(wanted, pool.map(self.has, wanted), strict=True)
                    if not there]  # fmt: skip

    def put_bytes(self, kind: str, suffix: str, data: bytes) -> str:
        """Write bytes as one object, named by their digest and a suffix; returns its key."""
        name = hashlib.sha256(data).hexdigest()
        key = f"{kind}/{name[:2]}/{name}{suffix}"
        with self.leases.adding(key):
            with suppress(Corrupt):
                if self.blobs.exists(f"objects/{key}"):
                    self.frame_path(key)
                    return key
            self.blobs.put(f"objects/{key}", data)
        return key

    def _files(self, key: str) -> list[str]:
        at = f"objects/{key}"
        return self.blobs.list(at) if key.startswith("folders/") else [at]

    # versions -----------------------------------------------------------------------------------

    def write_version(
        self, name: str, made: Made, *, inputs: Mapping[str, Version], how: Mapping[str, Any]
    ) -> Version:
        """Write what a step made and its manifest; it is visible only once `publish` is called.

        Of each table only what differs from the present head is written.
        """
        check_name(name)
        since = made.since or self.base(name)
        # From here on no collector takes what this version builds on.
        self._name(v.key for v in (since, *inputs.values()) if v)
        manifest = make_manifest(self, name, made, since=since, inputs=inputs, how=how)
        return self.version(self.put_json("manifests", manifest))

    def version(self, key: str) -> Version:
        """The version whose manifest has this object key."""
        return Version(self, key, self.read_json(key))

    def publish(self, version: Version, *, over: str | None = None) -> None:
        """Make a version the head of its name; the whole commit is this one file.

        Publishing the present head again changes nothing. `over` is the key of the head when the
        work began, "" for none, and None where nothing was written. Raises `Conflict` when another
        writer published meanwhile, and `Corrupt` when an object that it `needs` is gone.
        """
        seq, head, _ = self.newest(version.name)
        objects = (at for key in version.objects for at in self._files(key))
        if head == version.key:  # perhaps by a process that was killed before it was safe
            written = () if over is None else objects
            self.blobs.settle([*written, _ref(version.name, seq)])
            return
        if over is not None and head != over:
            raise Conflict(f"{version.name} got another version {seq} meanwhile; run again")
        with self.leases.adding(*version.needs):
            if lost := self.missing(version.needs):
                raise Corrupt(f"{version.name} cannot be published: object {lost[0]} is missing")
            self.blobs.settle(objects)
            ref = _ref(version.name, seq + 1)
            said = {"manifest": version.key, "at": time.time()}
            if not self.blobs.create(ref, seal(ref, said)):
                raise Conflict(f"{version.name} got another version {seq + 1} meanwhile; run again")
        self.leases.release()

    def head(self, name: str) -> Version | None:
        """The newest published version of a step, or None."""
        _, key, at = self.newest(name)
        return Version(self, key, self.read_json(key), at) if key else None

    def base(self, name: str) -> Version | None:
        """The head to build on; None where an object of it, or of one it was made from, is gone."""
        try:
            head = self.head(name)
            before = [head, *map(head.input, head.manifest["inputs"])] if head else []
        except Corrupt:
            return None
        return (
            None if self.missing({key for version in before for key in version.objects}) else head
        )

    def history(self, name: str) -> Iterator[Version]:
        """Every published version of a step, newest first."""
        for ref in reversed(self.refs(name)):
            key, at = self._read_ref(ref)
            yield Version(self, key, self.read_json(key), at)

    def rollback(self, name: str, version: Version) -> None:
        """Make an earlier version of a step its head again; the history keeps both."""
        if version.key not in {v.key for v in self.history(name)}:
            raise LookupError(f"{name} never had the version {version.key}")
        self.publish(version)

    def names(self) -> list[str]:
        """Names that have versions."""
        return sorted({ref.removeprefix("refs/").rpartition("/")[0] for ref in self.refs()})

    def refs(self, name: str | None = None) -> list[str]:
        """Keys of the refs of a step, or of all steps, oldest first."""
        if name is not None:
            check_name(name)
        below = self.blobs.list("refs" if name is None else f"refs/{name}")
        found = [key for key in below if re.fullmatch(r"\d{8}\.json", key.rpartition("/")[2])]
        return [key for key in found if name is None or key.count("/") == name.count("/") + 2]

    def ref_target(self, ref: str) -> str:
        """Key of the manifest that a ref or pin names; `Corrupt` when it names none."""
        return self._read_ref(ref)[0]

    def mend_ref(self, ref: str) -> None:
        """Put what the ref before it names in the place of a damaged ref; with none before it, go.

        So the newest ref that is whole is the head, and the history has no gap.
        """
        before = [key for key in self.refs(ref[5:-14]) if key < ref]
        if not before:
            self.blobs.remove(ref)
            return
        key, at = self._read_ref(before[-1])
        self.blobs.replace(ref, seal(ref, {"manifest": key, "at": at}))

    def forget_verified(self) -> None:
        """Look at every object anew when it is next read."""
        self._verified.clear()

    def newest(self, name: str) -> tuple[int, str, float | None]:
        """Number, manifest's key and time of the head of a step; 0, "" and None without one."""
        refs = self.refs(name)
        if not refs:
            return 0, "", None
        return int(refs[-1][-13:-5]), *self._read_ref(refs[-1])

    def _read_ref(self, ref: str) -> tuple[str, float | None]:
        if ref in self._refs:
            return self._refs[ref]
        try:
            said = unseal(ref, self.blobs.read(ref))
            found = str(said["manifest"]), said.get("at")
            if self.blobs.shared and ref.startswith("refs/"):  # they never change, and requests
                self._refs[ref] = found  # take their time
            return found
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise Corrupt(f"{ref} in {self.place!r} is damaged: it names no manifest") from None

    # pins: versions that are kept whatever comes after them --------------------------------------

    def pin(self, label: str, version: Version) -> None:
        """Keep a version, and all it was made from, until it is unpinned."""
        if not NAME.fullmatch(label) or "/" in label:
            raise ValueError(f"{label!r} is no label; use letters, digits, '-', '_' and '.'")
        with self.leases.adding():
            at = f"pins/{label}.json"
            self.blobs.replace(at, seal(at, {"manifest": version.key}))

    def unpin(self, label: str) -> None:
        """Let a version go with the others again; raises `LookupError` for an unknown label."""
        pinned = self._pinned()
        if label not in pinned:
            known = ", ".join(pinned) or "none"
            raise LookupError(f"nothing is pinned as {label!r}; pinned: {known}")
        self.blobs.remove(pinned[label])
        self.blobs.settle_removed("pins")

    def pins(self) -> dict[str, Version]:
        """Pinned versions by label."""
        return {label: self.version(self.ref_target(key)) for label, key in self._pinned().items()}

    def _pinned(self) -> dict[str, str]:
        return {key.split("/")[-1].removesuffix(".json"): key for key in self.blobs.list("pins")}

    # memo: a short cut for unchanged inputs, safe to delete --------------------------------------

    def recall(self, key: str) -> dict[str, Any] | None:
        """What was remembered under a key, or None, also when it cannot be read."""
        return read_sealed(self.blobs, f"memo/{check_name(key)}.json")

    def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Remember a small value under a key for later runs."""
        at = f"memo/{check_name(key)}.json"
        with self.leases.adding(at):
            self.blobs.replace(at, seal(at, value))

    def forget(self, key: str) -> None:
        """Remember nothing under a key any more, also after a power cut."""
        self.blobs.remove(f"memo/{check_name(key)}.json")
        self.blobs.settle_removed("memo")

    def recall_table(self, key: str) -> dict[str, Any] | None:
        """The table remembered under a key, to read with `tables`; None if a part is not whole."""
        entry = (self.recall(key) or {}).get("table")
        with suppress(Corrupt):
            if entry and self._hold(parts := objects_of(entry)):
                self.frame_paths(parts)
                return entry
        return None

    def remember_table(
        self, key: str, kind: str, content: pl.DataFrame | Change, since: Any = None
    ) -> dict[str, Any]:
        """Remember a table, or the change of the remembered table `since`; what to read it by."""
        entry = write_table(self, kind, content, previous=since)
        self.remember(key, {"table": entry, "objects": objects_of(entry)})
        return entry

    def find_version(self, key: str) -> Version | None:
        """The version of a remembered manifest; None when any object it `needs` is gone."""
        self._name([key])
        with suppress(Corrupt):
            if self._hold((version := self.version(key)).needs):
                return version
        return None

    def _hold(self, keys: Sequence[str]) -> bool:
        """Whether all of these are there; then they stay until something is published."""
        self._name(keys)
        return not self.missing(keys)

    def _name(self, keys: Iterable[str]) -> None:
        """Those of these that are there stay until something is published."""
        with self.leases.adding(*keys):
            pass

    # one writer -----------------------------------------------------------------------------------

    def lock_writer(self) -> None:
        """Hold the store for this process until it ends; the lock of a killed process is gone.

        Raises `BlockingIOError` when another process on this machine is rebuilding.
        """
        lock_writer(self.root)

    def unlock_writer(self) -> None:
        """Let others write again."""
        unlock_writer(self.root)

    def workdir(self, name: str) -> Path:
        """A folder for unfinished work that a later run may resume (checkpoints)."""
        path = self.root / "tmp" / check_name(name)
        self.disk.make_folder(path, below=self.root / "tmp")
        return path


def _ref(name: str, seq: int) -> str:
    return f"refs/{name}/{seq:08d}.json"
