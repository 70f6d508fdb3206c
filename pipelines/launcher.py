"""A run launcher that notices when the process of a run is gone.

Dagster's own local launcher cannot tell whether a run is still alive, so killing `dg dev` leaves
runs "started" for ever and a queue of one blocked. A run records the pid of its worker in its first
engine event; the run lives while that process does. This holds where the daemon and the workers
share one host and one pid namespace, which is what `dg dev` gives.
"""

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

CLOCK_SLACK_S = 2.0  # psutil derives a start time from the boot time, exact to a second or so


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as Dagster does by default, and lets run monitoring fail those that died."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """`RUNNING` while the run's process lives, `NOT_FOUND` once it is gone.

        `UNKNOWN` is never returned, because run monitoring fails such runs: one that has not yet
        said its pid counts as running.
        """
        pid, said_at = self._worker(run.run_id)
        if pid is None or _is_alive(pid, before=said_at + CLOCK_SLACK_S):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
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


def _is_alive(pid: int, *, before: float) -> bool:
    """True when `pid` is a process, not a zombie, that started before `before` (Unix time).

    A later start means that the number was given to another process since.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= before
    except psutil.NoSuchProcess:
        return False
