"""Who may write: one rebuild at a time, and a collector that never takes what a build has in hand.

All locks are `flock`s, which end with their process however it ends. A build says what it is about
to keep or to use again in a lease, a file it holds locked, before it looks whether that is there;
the collector removes nothing that a living lease names.
"""

import fcntl
import os
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from curation.disk import Disk

_HELD: dict[Path, IO[str]] = {}
"""Writer locks of this process; a lock is a property of the process and not of a `Store` object."""


def lock_writer(root: Path) -> None:
    """Hold a store for this process until it ends; the lock of a killed process is gone.

    Raises `BlockingIOError` when another process is rebuilding.
    """
    if root in _HELD:
        return
    handle = open(root / ".lock", "a+")  # noqa: SIM115 (held until the process ends)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise BlockingIOError(
            f"another rebuild is running on {str(root)!r} (process {owner}); wait for it"
        ) from None
    handle.truncate(0)  # whose lock it is, for the message of the one who waits
    handle.write(str(os.getpid()))
    handle.flush()
    _HELD[root] = handle


def unlock_writer(root: Path) -> None:
    """Let others write again."""
    if handle := _HELD.pop(root, None):
        handle.close()


class Leases:
    """What the builds of a store have in hand and no ref names yet."""

    def __init__(self, root: Path, disk: Disk):
        self.folder, self._gate, self.disk = root / "leases", root / ".gate", disk
        self._mine: Callable[[], Any] | None = None
        self._path = self.folder
        self._named: set[str] = set()

    @contextmanager
    def adding(self, *keys: str) -> Iterator[None]:
        """Name keys while no collector removes anything; they stay named until `release`.

        A manifest stands for all that it leads to.
        """
        with _flock(self._gate, fcntl.LOCK_SH):
            fresh = [key for key in keys if key not in self._named]
            if fresh:
                self._write(fresh)
            yield

    def release(self) -> None:
        """What was in hand is named by a ref now, or given up."""
        if self._mine:
            self._mine()
        self._mine, self._named = None, set()

    @contextmanager
    def collecting(self) -> Iterator[set[str]]:
        """Keep builds from adding anything meanwhile; gives the keys that living builds named."""
        with _flock(self._gate, fcntl.LOCK_EX):
            yield set().union(*(self._read(path) for path in self.folder.glob("*.lease")))

    def _write(self, keys: list[str]) -> None:
        if self._mine is None:
            if not self.folder.is_dir():
                self.disk.add_folder(self.folder)
            self._path = self.folder / f"{uuid.uuid4().hex}.lease"
            self.disk.write(self._path, b"")
            handle = os.open(self._path, os.O_RDONLY)
            self._mine = weakref.finalize(
                self, _end_lease, self.disk, handle, self._path, os.getpid()
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        lines = "".join(f"\n{key}\n" for key in keys)  # a line that a full disk cut ends
        self.disk.append(self._path, lines.encode())
        self._named.update(keys)

    def _read(self, path: Path) -> set[str]:
        """Keys of a lease whose build lives; the lease of a dead one is removed."""
        try:
            handle = path.open()
        except FileNotFoundError:  # given up this moment
            return set()
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return set(handle.read().splitlines()) - {""}
            self.disk.remove(path)
        return set()


def _end_lease(disk: Disk, handle: int, path: Path, owner: int) -> None:
    with suppress(OSError):  # one that cannot be removed is dead, and the collector's to remove
        if os.getpid() == owner:  # a forked child has a copy of the handle, and not the lease
            disk.remove(path)
    os.close(handle)


@contextmanager
def _flock(path: Path, kind: int) -> Iterator[None]:
    with open(path, "a") as handle:
        fcntl.flock(handle, kind)
        yield
