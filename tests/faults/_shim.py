"""A disk that fails on command, in the manner of SQLite's I/O-error tests: every operation has a
number, and a fault says at which one what goes wrong.

A write is two operations, the second with half the bytes already there. Nothing is ever really
synced: what a power cut would lose is known from a journal of what was not yet synced.

These do not go through `Disk` and so have no number:
- Polars reads a table after `digest` found it whole; files of a folder are read and compared with
  the digest that names it. What goes wrong there is damage, which `test_damage.py` does to each.
- Listings (`os.walk`, `glob`): a name found is only where to look, and what is there is verified.
- The ledger of LLM calls is SQLite's to write, and lost calls of it are asked again.
- `.lock` and `.gate` are opened to be locked. One is empty, the other has a number for a message.
- Source files, and what a step writes in its work folder before the store takes it in.
"""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from curation.disk import Disk

GROWING = ("create", "append", "write", "link", "folder")
"""Operations that need room; a full disk still renames, syncs and removes."""
LOSSES = ("all", "contents", "names", "refs", "objects")
"""What a power cut takes: all that was not synced; the second half of files that were not; the
names that were not; the names of refs, pins and memos only; all names but those."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, at which operation, and whether it stays wrong.

    `kind`: none | kill | power | error | read (reads have numbers of their own) | full | files (so
    many may be open) | time (killed after `at` thousandths of the undisturbed time). `where` limits
    an error to a folder of the store. `retry`: the process does its work again after the error, and
    then the power goes.
    """

    kind: str = "none"
    at: int = 0
    ever: bool = False
    code: int = errno.EIO
    where: str = ""
    loses: str = "all"
    retry: bool = False

    @property
    def may_litter(self) -> bool:
        """Whether the work may end without a chance to clear up after itself."""
        return self.kind in ("kill", "power", "time") or (self.kind == "error" and self.ever)


class UnsyncedDisk(Disk):
    """`Disk` that does not wait for the device: a test that cuts no power needs no syncs."""

    def sync(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDONLY))  # fails where the real one would


class FaultyDisk(UnsyncedDisk):
    """A disk with one fault; `n` counts what changes something, `reads` what is read.

    `place` is the folder all lies in.
    """

    def __init__(self, fault: Fault, place: Path):
        super().__init__()
        self.fault, self.place, self.n, self.reads = fault, place, 0, 0
        self._counting = threading.Lock()
        self.unsynced = Unsynced(place) if fault.kind == "power" or fault.retry else None

    def read(self, path: Path) -> bytes:
        self._look(path)
        return super().read(path)

    def digest(self, path: Path) -> str:
        self._look(path)
        return super().digest(path)

    def write(self, path: Path, data: bytes) -> None:
        self._step("create", path)
        with path.open("xb") as handle:
            if self.unsynced:
                self.unsynced.wrote(path)
            handle.write(data[: len(data) // 2])
            handle.flush()
            self._step("write", path)
            handle.write(data[len(data) // 2 :])

    def append(self, path: Path, data: bytes) -> None:
        self._step("append", path)
        with path.open("ab") as handle:
            handle.write(data[: len(data) // 2])
            handle.flush()
            self._step("write", path)
            handle.write(data[len(data) // 2 :])

    def copy(self, path: Path, to: Path) -> None:
        self.write(to, path.read_bytes())

    def sync(self, path: Path) -> None:
        self._step("sync", path)
        super().sync(path)
        if self.unsynced:
            self.unsynced.synced(path)

    def rename(self, path: Path, to: Path) -> None:
        self._step("rename", to)
        undo = self.unsynced.before(to) if self.unsynced else None
        super().rename(path, to)
        if self.unsynced and undo:
            self.unsynced.named(to, lambda: (os.replace(to, path), undo()))

    def link(self, path: Path, to: Path) -> None:
        self._step("link", to)
        super().link(path, to)
        if self.unsynced:
            self.unsynced.named(to, to.unlink)

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        undo = self.unsynced.before(path) if self.unsynced else None
        super().remove(path)
        if self.unsynced and undo:
            self.unsynced.named(path, undo)

    def add_folder(self, path: Path) -> None:
        self._step("folder", path)
        super().add_folder(path)
        if self.unsynced:
            self.unsynced.named(path, lambda: shutil.rmtree(path))

    def cut_power(self) -> None:
        """Lose what was not synced and end at once."""
        assert self.unsynced
        self.unsynced.lose(self.fault.loses)
        os.kill(os.getpid(), signal.SIGKILL)

    def _look(self, path: Path) -> None:
        with self._counting:  # several threads read at a time
            self.reads += 1
            reads = self.reads
        at, ever = self.fault.at, self.fault.ever
        if self.fault.kind == "read" and (reads >= at if ever else reads == at):
            raise OSError(self.fault.code, os.strerror(self.fault.code), str(path))

    def _step(self, operation: str, path: Path) -> None:
        self.n += 1
        fault = self.fault
        due = self.n >= fault.at if fault.ever else self.n == fault.at
        if fault.where:
            due = self.place / fault.where in (path, *path.parents) and operation != "sync"
        if not due:
            return
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "power":
            self.cut_power()
        if fault.kind == "error" or (fault.kind == "full" and operation in GROWING):
            raise OSError(fault.code, os.strerror(fault.code), str(path))


class Unsynced:
    """What a power cut would take: bytes of files, and names in folders, that were not synced."""

    def __init__(self, place: Path):
        self.place, self.aside = place, place / "aside"
        self.aside.mkdir(exist_ok=True)
        self.bytes: dict[int, int] = {}
        self.names: list[tuple[Path, Callable[[], object]]] = []

    def wrote(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR)
        self.bytes[os.fstat(handle).st_ino] = handle
        self.named(path, path.unlink)

    def named(self, path: Path, undo: Callable[[], object]) -> None:
        self.names.append((path, undo))

    def before(self, path: Path) -> Callable[[], object]:
        """How to bring back what has a name now."""
        if not path.is_file():
            return lambda: None
        kept = self.aside / str(len(os.listdir(self.aside)))
        os.link(path, kept)
        return lambda: os.replace(kept, path)

    def synced(self, path: Path) -> None:
        if path.is_dir():
            self.names = [(at, undo) for at, undo in self.names if at.parent != path]
        elif (handle := self.bytes.pop(path.stat().st_ino, -1)) >= 0:
            os.close(handle)

    def lose(self, what: str) -> None:
        for handle in self.bytes.values() if what in ("all", "contents", "objects") else ():
            os.ftruncate(handle, os.fstat(handle).st_size // 2 if what == "contents" else 0)
        for at, undo in reversed(self.names):
            kind = "refs" if {"refs", "pins", "memo"} & set(at.parts) else "objects"
            if what in ("all", "names", kind):
                with suppress(FileNotFoundError):
                    undo()
