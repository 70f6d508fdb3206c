"""Stages as Dagster runs them: a conflict with another writer is tried again in the same run."""

from dataclasses import dataclass

import dagster as dg
import pytest

from assets.io import RETRIES, Runtime, build_asset
from assets.recipe import load_recipe
from assets.stage import Stage
from curation.disk import Disk
from curation.store import Store
from tests.assets.test_recipe import TINY
from tests.assets.test_stage import FIRST, RivalFirst, calls, rival_of


@dataclass(frozen=True)
class Racing(Runtime):
    """A graph whose store lies on a disk where others publish too."""

    disk: Disk | None = None

    @property
    def store(self):
        return Store(self.place, disk=self.disk)


@pytest.fixture
def run(tmp_path):
    """Materialise one stage while another writer is first so many times.

    What its listener heard comes beside the result.
    """
    calls.clear()

    def materialise(stage, times=0):
        heard = []
        runtime = Racing(
            load_recipe(TINY),
            tmp_path,
            lambda event, *_: heard.append(event),
            RivalFirst(rival_of(Store(tmp_path)), times),
        )
        with dg.DagsterInstance.ephemeral() as instance:
            asset = build_asset(runtime, stage)
            return dg.materialize([asset], instance=instance, raise_on_error=False), heard

    yield materialise
    Store(tmp_path).unlock_writer()


def retries(result):
    return sum(e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY for e in result.all_events)


def test_a_conflict_is_tried_again_in_the_same_run_and_nothing_is_worked_out_twice(run, tmp_path):
    result, heard = run(FIRST, times=RETRIES)
    assert result.success and retries(result) == RETRIES
    assert calls == ["numbers"] and "fail" not in heard
    history = list(Store(tmp_path).history("tiny/numbers"))
    assert len(history) == RETRIES + 1 and history[0].tables["rows"]["rows"] == 3
    (event,) = result.asset_materializations_for_node("tiny__numbers")
    assert event.tags["dagster/data_version"] == history[0].data_version


def test_a_conflict_that_does_not_end_is_one_line(run):
    result, heard = run(FIRST, times=RETRIES + 1)
    assert not result.success and retries(result) == RETRIES and heard.count("fail") == 1
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert "got another version" in said and "\n" not in said


def unreadable(job):
    calls.append("unreadable")
    raise OSError("the file is gone")


def broken(job):
    calls.append("broken")
    raise ZeroDivisionError


@pytest.mark.parametrize("work", [unreadable, broken])
def test_other_failures_are_not_tried_again(run, work):
    result, _ = run(Stage(work.__name__, "g", work))
    assert not result.success and retries(result) == 0 and calls == [work.__name__]
