"""Automation: a sensor for bad cases and a nightly rebuild, both off until switched on.

The sensor looks at the state and not at events: bad cases and verdicts in the inboxes less those
the newest model version was built with. A rebuild that failed is tried again later and later; while
one runs, none is started.
"""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.io import Runtime
from assets.recipe import Recipe
from curation.intake import take_drops
from curation.rebuilds import Waiting, rebuild_due, waiting_cases, waiting_verdicts
from curation.registry import registered
from curation.rows import digest
from curation.store import Store

JOB = "rebuild"
SET_TAG = "winnow/bad_case_set"
BACKOFF_S = (300, 1800, 7200, 28800)
"""Seconds to wait after each rebuild that led to nothing on one set; then people are needed."""

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def rebuild_job(recipe: Recipe) -> Any:
    """The job that brings every asset up to date; what did not change is recalled, not computed."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description=f"Bring every asset of {recipe.name} up to date; unchanged ones cost nothing.",
        executor_def=dg.in_process_executor,
    )


def nightly_schedule(recipe: Recipe, job: Any) -> dg.ScheduleDefinition:
    """Rebuild at 03:00 every night, once it is switched on in the UI."""

    @dg.schedule(
        job=job,
        cron_schedule="0 3 * * *",
        name="nightly_rebuild",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def nightly_rebuild(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Rebuild every night; skipped while another rebuild runs."""
        if running := active_runs(context.instance):
            return dg.SkipReason(f"run {running[0].run_id[:8]} is still going")
        return dg.RunRequest()

    return nightly_rebuild


def bad_case_sensor(runtime: Runtime, job: Any, *, every_s: int = 60) -> dg.SensorDefinition:
    """Rebuild when enough bad cases and verdicts wait, or the oldest has waited too long."""

    @dg.sensor(
        job=job,
        name="bad_case_sensor",
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def bad_cases_wait(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Rebuild when enough new bad cases and verdicts wait in the inboxes."""
        return decide_rebuild(runtime.store, runtime.recipe, context.instance)

    return bad_cases_wait


def decide_rebuild(
    store: Store, recipe: Recipe, instance: dg.DagsterInstance, *, now: float | None = None
) -> dg.RunRequest | dg.SkipReason:
    """Start a rebuild or say why not; `now` is in Unix time."""
    now = time.time() if now is None else now
    if running := active_runs(instance):
        return dg.SkipReason(f"run {running[0].run_id[:8]} is still going")
    take_drops(store, **recipe.options["intake"])
    waiting = find_waiting(store, recipe)
    due, reason = rebuild_due(waiting, now=now, **recipe.options["automation"])
    if not due:
        return dg.SkipReason(reason)
    if stopped := why_given_up(instance, waiting):
        return dg.SkipReason(stopped)
    tries = _tries(instance, waiting)
    # An end that has yet to come was told by a clock that has been set back; it asks for no wait.
    past = [end for run in tries if (end := run.end_time or 0.0) <= now]
    wait_s = max(past) + BACKOFF_S[len(tries) - 1] - now if past else 0.0
    if wait_s > 0:
        ended = tries[0].dagster_run.status.value.lower()
        return dg.SkipReason(
            f"the last rebuild on these ended as {ended}; next try in {wait_s / 60:.0f} min"
        )
    key = set_name(waiting)
    return dg.RunRequest(
        run_key=f"{key}-{len(tries)}", tags={SET_TAG: key, "winnow/reason": reason}
    )


def find_waiting(store: Store, recipe: Recipe) -> list[Waiting]:
    """Bad cases and verdicts that the newest model version was not built with.

    It counts whether it was promoted or rejected.
    """
    entries = registered(store, recipe.name)
    made_from = entries[-1].manifest["inputs"] if entries else {}

    def seen(step: str, table: str) -> list[str]:
        known = entries[-1].input(step).table(table, ["id"]) if step in made_from else None
        return [] if known is None else known["id"].to_list()

    cases = waiting_cases(store, seen("bad_cases", "rows"))
    return [*cases, *waiting_verdicts(store, seen("verdicts", "said"))]


def why_given_up(instance: dg.DagsterInstance, waiting: Sequence[Waiting]) -> str:
    """Why no rebuild is tried any more on what waits; "" while one is."""
    tries = _tries(instance, waiting)
    if len(tries) <= len(BACKOFF_S):
        return ""
    ended = tries[0].dagster_run.status.value.lower()
    said = f"{len(tries)} rebuilds on these led to no model version, the last ended as {ended}"
    return f"{said}; look at the runs, people are needed"


def set_name(waiting: Sequence[Waiting]) -> str:
    """What the rebuilds on one set of bad cases and verdicts are known by."""
    return digest(sorted(one.id for one in waiting))


def active_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Runs that wait or go on."""
    return instance.get_runs(dg.RunsFilter(statuses=ACTIVE), limit=1)


def _tries(instance: dg.DagsterInstance, waiting: Sequence[Waiting]) -> Sequence[dg.RunRecord]:
    """Rebuilds on these very bad cases and verdicts, newest first.

    They count however they ended, for what was learned from no longer waits.
    """
    tags = dg.RunsFilter(tags={SET_TAG: set_name(waiting)})
    return instance.get_run_records(tags, limit=2 * len(BACKOFF_S))
