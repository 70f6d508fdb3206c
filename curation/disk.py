"""The file operations everything durable goes through, so that a test can make each of them fail.

A file is safe once it was synced and every folder that names it was synced: `save_new` and
`save_over` do it in the order that leaves the old state or the new one whatever happens. What is
merely there is not safe: a process that was killed may have made it and never synced it.
"""

import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class Disk:
    """Plain file operations, each one step that happens or does not."""

    def __init__(self) -> None:
        self._safe: set[Path] = set()

    def write(self, path: Path, data: bytes) -> None:
        """Create a file; its bytes are safe only after `sync`."""
        with path.open("xb") as handle:
            handle.write(data)

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes at the end of a file that is there; safe only after `sync`."""
        with path.open("ab") as handle:
            handle.write(data)

    def read(self, path: Path) -> bytes:
        """All bytes of a file."""
        return path.read_bytes()

    def digest(self, path: Path) -> str:
        """The sha256 of a file's bytes."""
        return sha256_file(path)

    def copy(self, path: Path, to: Path) -> None:
        """Copy a file's bytes; safe only after `sync`."""
        shutil.copyfile(path, to)

    def sync(self, path: Path) -> None:
        """Return once a file's bytes, or a folder's names, are on the device."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, path: Path, to: Path) -> None:
        """Give a file or folder another name, in place of what has that name."""
        path.replace(to)

    def link(self, path: Path, to: Path) -> None:
        """Give a file a second name; raises `FileExistsError` when that is taken."""
        os.link(path, to)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all in it; nothing there is no error."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def add_folder(self, path: Path) -> None:
        """Make one folder; one that is there is no error."""
        path.mkdir(exist_ok=True)

    def make_folder(self, path: Path, *, below: Path | None = None) -> None:
        """Make a folder and those above it; on return the names of the new ones are safe.

        So are those of the ones that were there, up to `below`, which is trusted.
        """
        there = path.is_dir()
        if path == below or (there and path in self._safe):
            return
        if below or not there:
            self.make_folder(path.parent, below=below)
        if not there:
            self.add_folder(path)
        with suppress(PermissionError):  # a folder above ours that is not for us to read
            self.sync(path.parent)
        self._safe.add(path)


def save_over(disk: Disk, path: Path, data: bytes, *, staging: Path, mark: str = ".") -> None:
    """Put `data` under a name: afterwards the old bytes or the new ones are there, never a mix.

    Who is killed may leave a file in `staging` whose name is `mark` and 32 hex digits.
    """
    staged = _stage(disk, data, staging / f"{mark}{uuid.uuid4().hex}")
    try:
        disk.rename(staged, path)
    except OSError:
        disk.remove(staged)
        raise
    disk.sync(path.parent)


def save_new(disk: Disk, path: Path, data: bytes, *, staging: Path) -> bool:
    """Put `data` under a name that nobody has; False, and nothing changed, when somebody has."""
    staged = _stage(disk, data, staging / f".{uuid.uuid4().hex}")
    try:
        disk.link(staged, path)
    except FileExistsError:
        return False
    finally:
        disk.remove(staged)
    disk.sync(path.parent)
    return True


def _stage(disk: Disk, data: bytes, staged: Path) -> Path:
    try:
        disk.write(staged, data)
        disk.sync(staged)
    except OSError:
        disk.remove(staged)
        raise
    return staged
