"""Whatever happens to the disk or the process, a store is whole, and the next run ends the same.

A sample of all faults, always the same one; `python -m tests.faults.storm` tries every one.
"""

import pytest

from tests.faults._graph import SCENARIOS
from tests.faults._plan import KINDS, try_all
from tests.faults._sweep import Sweeper

MOST = {"grow": 6, "export": 4, "deliver": 6}
"""Faults of a kind for a scenario; `grow` runs the most code, so each of its trials takes long."""


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory):
    sweeper = Sweeper(tmp_path_factory.mktemp("faults"))
    yield sweeper
    sweeper.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_leaves_the_old_or_the_new(sweeper, scenario, kind, capsys):
    problems, line = try_all(sweeper, scenario, kind, most=MOST.get(scenario, 4))
    with capsys.disabled():
        print(f"\n{line}", end=" ")
    assert not problems, "\n".join(problems)
