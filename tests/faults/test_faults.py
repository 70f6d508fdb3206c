"""Whatever happens to the disk or the process, a store is whole, and the next run ends the same.

A sample of all faults, always the same one; `python -m tests.faults.storm` tries every one.
"""

import pytest

from tests.faults._graph import SCENARIOS
from tests.faults._plan import KINDS, try_all
from tests.faults._sweep import Sweeper

MOST = {"build": 2, "grow": 2, "collect": 2, "repair": 2}
"""Faults of a kind for a scenario, where not one."""


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory):
    sweeper = Sweeper(tmp_path_factory.mktemp("faults"))
    yield sweeper
    sweeper.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_leaves_the_old_or_the_new(sweeper, scenario, capsys):
    problems, lines = try_all(sweeper, scenario, *KINDS, most=MOST.get(scenario, 1))
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert not problems, "\n".join(problems)
