"""The file operations everything durable goes through, so that a test can make each of them fail.

A file is safe once it was synced and the folder that names it was synced: `save_new` and
`save_over` do both, in the order that leaves the old state or the new one whatever happens.
"""

import os
import shutil
import uuid
from pathlib import Path


class Disk:
    """Plain file operations, each one step that happens or does not."""

    def write(self, path: Path, data: bytes) -> None:
        """Create a file; its bytes are safe only after `sync`."""
        with path.open("xb") as handle:
            handle.write(data)

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

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, and sync the folders that name a new one."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(exist_ok=True)
        self.sync(path.parent)


def save_over(disk: Disk, path: Path, data: bytes, *, staging: Path) -> None:
    """Put `data` under a name: afterwards the old bytes or the new ones are there, never a mix."""
    staged = _stage(disk, data, staging)
    disk.make_folder(path.parent)
    disk.rename(staged, path)
    disk.sync(path.parent)


def save_new(disk: Disk, path: Path, data: bytes, *, staging: Path) -> bool:
    """Put `data` under a name that nobody has; False, and nothing changed, when somebody has."""
    staged = _stage(disk, data, staging)
    disk.make_folder(path.parent)
    try:
        disk.link(staged, path)
    except FileExistsError:
        return False
    finally:
        disk.remove(staged)
    disk.sync(path.parent)
    return True


def _stage(disk: Disk, data: bytes, staging: Path) -> Path:
    staged = staging / uuid.uuid4().hex
    try:
        disk.write(staged, data)
        disk.sync(staged)
    except OSError:
        disk.remove(staged)
        raise
    return staged
