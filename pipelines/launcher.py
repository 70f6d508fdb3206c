"""A run launcher that notices when the process of a run is gone.

Dagster's own local launcher cannot tell whether a run is still alive, so killing `dg dev` leaves
runs "started" for ever and a queue of one blocked. A run records the pid of its worker in its first
engine event; the run lives while that process does. This holds where the daemon and the workers
share one host and one pid namespace, which is what `dg dev` gives.
"""

from typing import Any

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

CLOCK_SLACK_S = 2.0  # psutil derives a start time from the boot time, exact to a second or so


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as Dagster does by default, and lets run monitoring fail those that died."""

    def __init__(self, inst_data: Any = None):
        super().__init__(inst_data)
        self._seen: dict[str, psutil.Process] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """`RUNNING` while the run's process lives, `NOT_FOUND` once it is gone.

        `UNKNOWN` is never returned, because run monitoring fails such runs: one that has not yet
        said its pid counts as running. A worker once found is known by its place since boot from
        then on, so a clock that is set while it works does not make it look like another process.
        """
        pid, said_at = self._worker(run.run_id)
        if pid is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        process = self._seen.get(run.run_id) or _find(pid, before=said_at + CLOCK_SLACK_S)
        if process and _is_alive(process):
            self._seen[run.run_id] = process
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._seen.pop(run.run_id, None)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND,
            f"its process {pid} is gone; it was killed or the machine restarted",
        )

    def _worker(self, run_id: str) -> tuple[int | None, float]:
        """The pid in the run's first engine event with one, and when it was said (Unix time)."""
        for entry in self._instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
            metadata = entry.get_dagster_event().engine_event_data.metadata
            if "pid" in metadata:
                return int(str(metadata["pid"].value)), entry.timestamp
        return None, 0.0


def _find(pid: int, *, before: float) -> psutil.Process | None:
    """The process `pid` that started before `before` (Unix time).

    A later start means that the number was given to another process since.
    """
    try:
        process = psutil.Process(pid)
        return process if process.create_time() <= before else None
    except psutil.NoSuchProcess:
        return None


def _is_alive(process: psutil.Process) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
