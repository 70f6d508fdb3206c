"""Whatever happens to the disk or the process, a store is whole, and the next run ends the same.

A sample of all faults, always the same one; `python -m tests.faults.storm` tries every one.
"""

import pytest

from tests.faults._graph import SCENARIOS, observe
from tests.faults._plan import KINDS, try_all
from tests.faults._shim import UnsyncedDisk
from tests.faults._sweep import Sweeper

MOST = {"build": 2, "grow": 2, "collect": 2, "repair": 2}
"""Faults of a kind for a scenario, where not one."""


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory):
    sweeper = Sweeper(tmp_path_factory.mktemp("faults"))
    yield sweeper
    sweeper.close()


def test_an_export_is_tried_over_an_older_one_of_which_every_file_differs(tmp_path):
    SCENARIOS["export"].prepare(tmp_path)
    old = observe(tmp_path)
    SCENARIOS["export"].act(tmp_path, UnsyncedDisk())
    new, files = observe(tmp_path), {key for key in old if key.startswith("file ")}
    same = {key for key in files if old[key] == new[key]}
    assert len(files) == 8 and same == {"file llama/w_v1.json"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_leaves_the_old_or_the_new(sweeper, scenario, capsys):
    problems, lines = try_all(sweeper, scenario, *KINDS, most=MOST.get(scenario, 1))
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert not problems, "\n".join(problems)
