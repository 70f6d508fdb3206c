"""Automation: the sensor looks at the state, says why it waits, and never starts two rebuilds.

Neither a clock that is set forward nor one that is set back blocks it.
"""

import time

import dagster as dg
import pytest

from assets.recipe import load_recipe
from curation.bad_cases import add_bad_cases
from curation.rebuilds import Waiting, rebuild_due
from curation.reviews import add_verdicts
from curation.rows import digest
from curation.store import Store
from pipelines.automation import BACKOFF_S, SET_TAG, decide_rebuild, find_waiting
from pipelines.definitions import build_definitions
from tests.pipelines.conftest import TINY

RECIPE = load_recipe(TINY)
YEAR_S = 365 * 86400.0


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def skipped(store, instance) -> str:
    decision = decide_rebuild(store, RECIPE, instance)
    assert isinstance(decision, dg.SkipReason)
    return decision.skip_message or ""


def started(store, instance) -> dg.RunRequest:
    decision = decide_rebuild(store, RECIPE, instance)
    assert isinstance(decision, dg.RunRequest)
    return decision


def fail_run(instance, request):
    run = instance.add_run(
        dg.DagsterRun(job_name="rebuild", tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    )
    instance.report_run_failed(run)


def deliver(store, n):
    cases = [
        (str(i), {"prompt": f"打开第{i}个空调", "gold": "好", "predicted": "坏"}) for i in range(n)
    ]
    return add_bad_cases(store, cases)


def test_nothing_waits_at_first(store, instance):
    assert "no new bad cases" in skipped(store, instance)


def test_few_cases_wait_and_the_numbers_are_said(store, instance):
    deliver(store, 10)
    said = skipped(store, instance)
    assert "bad cases wait of 20 that start a rebuild, the oldest for 0.0 of 24 h" in said


def test_enough_cases_start_one_rebuild_with_a_key_of_their_set(store, instance):
    deliver(store, 100)
    first, second = (started(store, instance) for _ in range(2))
    assert first.run_key == second.run_key
    deliver(store, 200)
    assert started(store, instance).run_key != first.run_key


def test_verdicts_count_like_bad_cases_and_the_last_word_of_a_reviewer_once(store, instance):
    deliver(store, 12)
    few = len(find_waiting(store, RECIPE))
    assert f"{few} bad cases wait of 20" in skipped(store, instance)
    for verdict in ("accept", "reject"):
        said = {"verdict": verdict, "by": "a"}
        add_verdicts(store, [(str(n), said | {"id": digest(n)}) for n in range(20 - few)])
        reason = started(store, instance).tags["winnow/reason"]
        assert reason == f"{few} bad cases and {20 - few} verdicts wait, and a rebuild starts at 20"


def test_rebuilds_that_lead_to_no_version_are_tried_later_and_later_and_given_up(store, instance):
    deliver(store, 100)
    now = time.time()
    for wait_s in (*BACKOFF_S, 0):
        request = decide_rebuild(store, RECIPE, instance, now=now)
        assert isinstance(request, dg.RunRequest)
        fail_run(instance, request)
        ended = time.time()
        if wait_s:
            soon = decide_rebuild(store, RECIPE, instance, now=ended + wait_s - 30)
            assert isinstance(soon, dg.SkipReason) and "next try in" in (soon.skip_message or "")
        now = ended + wait_s + 30
    last = decide_rebuild(store, RECIPE, instance, now=now + YEAR_S)
    assert isinstance(last, dg.SkipReason) and "5 rebuilds" in (last.skip_message or "")
    deliver(store, 200)  # another set
    assert isinstance(decide_rebuild(store, RECIPE, instance, now=now), dg.RunRequest)


def test_while_a_run_goes_on_none_is_started(store, instance):
    deliver(store, 100)
    request = started(store, instance)
    run = instance.add_run(
        dg.DagsterRun(job_name="rebuild", tags=request.tags, status=dg.DagsterRunStatus.STARTED)
    )
    assert "is still going" in skipped(store, instance)
    assert run.tags[SET_TAG]


def test_an_old_case_starts_a_rebuild_alone():
    now = time.time()
    waiting = [Waiting("a", "bad case", now - 25 * 3600)]
    assert rebuild_due(waiting, now=now)[0]
    assert not rebuild_due(waiting, now=now - 2 * 3600)[0]


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S])
def test_a_clock_that_jumps_a_year_neither_blocks_nor_repeats_a_rebuild(store, instance, jump_s):
    deliver(store, 10)  # too few to be due by their number
    later = time.time() + jump_s
    request = decide_rebuild(store, RECIPE, instance, now=later)
    assert isinstance(request, dg.RunRequest)  # whichever way it jumped, nobody knows their age
    fail_run(instance, request)  # its end is told by the clock of today
    again = decide_rebuild(store, RECIPE, instance, now=later)
    assert isinstance(again, dg.RunRequest) and again.run_key != request.run_key
    fail_run(instance, again)
    back = decide_rebuild(store, RECIPE, instance, now=time.time() + 60)
    assert isinstance(back, dg.SkipReason)  # the clock is right again, and so are the waits


def test_cases_from_the_future_are_counted_like_others():
    now = time.time()
    future = [Waiting(str(i), "verdict", now + YEAR_S) for i in range(20)]
    assert rebuild_due(future, now=now, min_new=20) == rebuild_due(future, min_new=20, now=0.0)
    assert rebuild_due(future[:1], now=now)[0]
    assert not rebuild_due([Waiting("a", "bad case", now + 5)], now=now)[
        0
    ]  # clocks differ by seconds


def test_sensors_and_schedule_are_off_until_switched_on(tmp_path):
    defs = build_definitions(RECIPE, store=tmp_path)
    repository = defs.get_repository_def()
    sensors, (schedule,) = repository.sensor_defs, repository.schedule_defs
    assert {sensor.name for sensor in sensors} == {"bad_case_sensor", "alert_sensor"}
    assert {s.default_status for s in sensors} == {dg.DefaultSensorStatus.STOPPED}
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_every_asset_is_in_a_group_and_says_what_it_is(tmp_path):
    defs = build_definitions(RECIPE, store=tmp_path)
    specs = defs.resolve_all_asset_specs()
    assert all(
        spec.group_name and spec.group_name[0].isdigit() and spec.description for spec in specs
    )
    assert {spec.key.path[0] for spec in specs} == {"tiny"}
