"""What is made again in place of damage is as safe as what was made first."""

import errno
from pathlib import Path

import pytest

from tests.faults._graph import SCENARIOS
from tests.faults._shim import UnsyncedDisk


class Recording(UnsyncedDisk):
    """A disk that notes what it synced, and fails once to sync the folder of a model."""

    def __init__(self, *, failing: bool):
        super().__init__()
        self.failing, self.synced = failing, list[Path]()

    def sync(self, path: Path) -> None:
        if self.failing and (path / "weights.bin").exists():
            self.failing = False
            raise OSError(errno.EIO, "cannot be synced", str(path))
        super().sync(path)
        self.synced.append(path)


def test_a_repair_that_failed_before_it_was_safe_is_made_safe_by_the_next_run(tmp_path: Path):
    # The files are whole for whoever looks, so the next run must not take them for what was there.
    scenario = SCENARIOS["repair"]
    scenario.prepare(tmp_path)
    with pytest.raises(OSError, match="cannot be synced"):
        scenario.act(tmp_path, Recording(failing=True))
    disk = Recording(failing=False)
    scenario.act(tmp_path, disk)
    (model,) = (tmp_path / "store/objects/folders").glob("*/*")
    assert model in disk.synced and model / "weights.bin" in disk.synced
