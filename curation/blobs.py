"""Where a store keeps its bytes: a local folder (here), or a bucket (`curation/bucket.py`).

Both can do the one thing a commit needs: create a name only if nobody has it.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curation.disk import Disk, save_new, save_over


class Corrupt(RuntimeError):
    """A stored object is missing, or no longer has the content its name promises."""


@dataclass(frozen=True)
class Blob:
    """A key with the size of its bytes, and how long ago they were written."""

    key: str
    n_bytes: int
    age_s: float


class Blobs(Protocol):
    """Bytes by key, a key being a relative POSIX path."""

    root: Path
    """The folder on this machine in which `fetch` puts or finds its files, by key."""

    shared: bool
    """Whether other machines may write here, so that file locks prove nothing."""

    at_once: int
    """Threads in which it pays to fetch and verify; a disk keeps none of them waiting."""

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under a key, on disk on return; the same key always gets the same bytes."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Keep bytes under a key that nobody has, else change nothing and say False."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Keep bytes under a key in place of those it has."""
        ...

    def fetch(self, key: str, *, anew: bool = False) -> Path:
        """A local file with the bytes of a key that never changes; raises `FileNotFoundError`.

        `anew` trusts no copy from an earlier time.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether the key has bytes."""
        ...

    def read(self, key: str) -> bytes:
        """The present bytes of a key that may change; raises `FileNotFoundError`."""
        ...

    def scan(self, prefix: str) -> list[Blob]:
        """All keys below a folder with their sizes and ages, by the clock of where they lie."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys below a folder, sorted."""
        ...

    def remove(self, *keys: str) -> None:
        """Forget keys; one that is not there is no error. They may come back until `settle`."""
        ...

    def settle(self, keys: Iterable[str]) -> None:
        """Return once keys that are there will stay there, whoever wrote them."""
        ...

    def settle_removed(self, folder: str) -> None:
        """Return once keys that are gone below a folder will stay gone, whoever removed them."""
        ...


class LocalBlobs:
    """A folder."""

    shared = False
    at_once = os.cpu_count() or 1

    def __init__(self, root: Path, disk: Disk):
        self.root, self.disk = root, disk
        self._settled: set[str] = set()

    def put(self, key: str, data: bytes) -> None:
        self.replace(key, data)
        self._settled.add(key)

    def create(self, key: str, data: bytes) -> bool:
        return save_new(self.disk, self._place(key), data, staging=self.root / "tmp")

    def replace(self, key: str, data: bytes) -> None:
        save_over(self.disk, self._place(key), data, staging=self.root / "tmp")

    def fetch(self, key: str, *, anew: bool = False) -> Path:
        path = self.root / key
        if not _is_plain(path):
            raise FileNotFoundError(f"{key} is missing from {str(self.root)!r}")
        return path

    def exists(self, key: str) -> bool:
        return _is_plain(self.root / key)

    def read(self, key: str) -> bytes:
        return self.disk.read(self.fetch(key))

    def scan(self, prefix: str) -> list[Blob]:
        """By the clock of this machine; nothing is written, for which a full disk has no room."""
        now = time.time()
        found: list[Blob] = []
        for key in self.list(prefix):
            try:
                said = (self.root / key).stat()
            except FileNotFoundError:  # removed since it was listed
                continue
            found.append(Blob(key, said.st_size, now - said.st_mtime))
        return found

    def list(self, prefix: str) -> list[str]:
        found: list[str] = []
        for folder, _, names in os.walk(self.root / prefix):
            parent = Path(folder).relative_to(self.root).as_posix()
            found += [f"{parent}/{name}" for name in names]
        return sorted(found)

    def remove(self, *keys: str) -> None:
        for key in keys:
            self._settled.discard(key)
            self.disk.remove(self.root / key)

    def settle(self, keys: Iterable[str]) -> None:
        fresh = sorted(set(keys) - self._settled)
        for key in fresh:
            self.disk.sync(self._place(key))
        for folder in sorted({(self.root / key).parent for key in fresh}):
            self.disk.sync(folder)
        self._settled.update(fresh)

    def settle_removed(self, folder: str) -> None:
        for path, _, _ in os.walk(self.root / folder):
            self.disk.sync(Path(path))

    def _place(self, key: str) -> Path:
        path = self.root / key
        self.disk.make_folder(path.parent, below=self.root.parent)
        return path


def _is_plain(path: Path) -> bool:
    """A file itself: a link is none of ours, and may come to lead to anything."""
    return path.is_file() and not path.is_symlink()
