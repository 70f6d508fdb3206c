"""Runs whose process died end as failures, and dagster.yaml says what we count on.

These tests are contracts with parts of Dagster that are not public: they fail first when an upgrade
moves the engine event that names a run's pid, or the loop that asks the launcher for it.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventLogEntry,
)
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from pipelines.launcher import LocalRunLauncher, _find, _is_alive

ROOT = Path(__file__).parents[2]
DEFINITIONS = """
import time
import dagster as dg

@dg.op
def wait():
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def waiting():
    wait()

defs = dg.Definitions(jobs=[waiting])
"""


def test_monitoring_fails_a_killed_run_and_leaves_a_living_one(tmp_path: Path):
    with _instance(tmp_path) as instance, _daemon(tmp_path) as daemon:
        _dagster(tmp_path, "dagster", "job", "launch", "-f", "defs.py", "-j", "waiting").wait(30)
        run = _wait_for(lambda: _started_run(instance))
        _monitor_once(instance)
        assert _statuses(instance) == [DagsterRunStatus.STARTED]

        _kill_tree(daemon)
        assert _statuses(instance) == [DagsterRunStatus.STARTED]  # nobody was left to say so

        _monitor_once(instance)
        assert _statuses(instance) == [DagsterRunStatus.FAILURE]
        last = instance.all_logs(run.run_id)[-1].dagster_event
        assert last and "it was killed or the machine restarted" in str(last.message)


def test_a_pid_given_to_a_later_process_is_not_our_worker():
    assert _find(os.getpid(), before=time.time())
    assert not _find(os.getpid(), before=psutil.Process().create_time() - 10)


def test_a_dead_and_a_zombie_process_are_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    _wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert not _is_alive(process)
    child.wait()
    assert not _is_alive(process) and not _find(child.pid, before=time.time())


def test_a_worker_once_seen_lives_on_when_the_clock_jumps_a_year(tmp_path: Path):
    # After the jump its start, told by the clock, lies a year past the time it said its pid.
    with _instance(tmp_path) as instance, subprocess.Popen(["sleep", "600"]) as worker:
        run = instance.add_run(DagsterRun(job_name="rebuild", status=DagsterRunStatus.STARTED))
        seen, fresh = LocalRunLauncher(), LocalRunLauncher()
        for launcher in (seen, fresh):
            launcher.register_instance(instance)
        _say_pid(instance, run, worker.pid, at=time.time())
        assert seen.check_run_worker_health(run).status is WorkerStatus.RUNNING
        instance.event_log_storage.delete_events(run.run_id)
        _say_pid(instance, run, worker.pid, at=time.time() - 365 * 86400)
        assert seen.check_run_worker_health(run).status is WorkerStatus.RUNNING
        assert fresh.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND
        worker.kill()
        worker.wait()
        assert seen.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND


def test_dagster_yaml_loads_and_holds_what_operations_count_on(tmp_path: Path):
    with _instance(tmp_path) as instance:
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        queue = instance.get_concurrency_config().run_queue_config
        assert queue and queue.max_concurrent_runs == 1
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_start_timeout_seconds == 60
        assert instance.run_monitoring_poll_interval_seconds <= 10
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] > 0
        assert not instance.telemetry_enabled
        assert (tmp_path / ".dagster").is_dir()


def _say_pid(instance: DagsterInstance, run: DagsterRun, pid: int, *, at: float) -> None:
    """The engine event with which a run worker says its pid."""
    event = DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name=run.job_name,
        event_specific_data=EngineEventData.in_process(pid),
    )
    entry = EventLogEntry(
        error_info=None,
        level=logging.DEBUG,
        user_message="",
        run_id=run.run_id,
        timestamp=at,
        dagster_event=event,
    )
    instance.event_log_storage.store_event(entry)


@contextmanager
def _instance(home: Path) -> Iterator[DagsterInstance]:
    """An instance on our dagster.yaml whose relative folders lie in `home`."""
    shutil.copy(ROOT / "dagster.yaml", home)
    (home / "defs.py").write_text(DEFINITIONS)
    before = Path.cwd()
    os.chdir(home)
    try:
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance
    finally:
        os.chdir(before)


@contextmanager
def _daemon(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = _dagster(home, "dagster-daemon", "run", "-f", "defs.py")
    try:
        yield process
    finally:
        _kill_tree(process)


def _dagster(home: Path, command: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    program = Path(sys.executable).parent / command
    with open(home / f"{command}.log", "ab") as log:
        return subprocess.Popen(
            [program, *arguments], cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def _started_run(instance: DagsterInstance) -> DagsterRun | None:
    """The run once its step has begun, which is after it said its pid."""
    run = next(iter(instance.get_runs()), None)
    logs = instance.all_logs(run.run_id) if run else ()
    begun = any(e.dagster_event and e.dagster_event.is_step_start for e in logs)
    return run if begun else None


def _statuses(instance: DagsterInstance) -> list[DagsterRunStatus]:
    return [run.status for run in instance.get_runs()]


def _monitor_once(instance: DagsterInstance) -> None:
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        errors = list(execute_run_monitoring_iteration(workspace, logging.getLogger("test")))
    assert errors == [None]


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all it started, as when a terminal or a machine goes away."""
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            try:
                one.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        process.wait()


def _wait_for(look: Callable[[], Any], *, timeout_s: float = 60) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"nothing came within {timeout_s:.0f} s")
