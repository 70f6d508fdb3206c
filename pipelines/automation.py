"""Automation: a sensor for bad cases and a nightly rebuild, both off until switched on.

The sensor looks at the state and not at events: bad cases in the inbox less those the newest model
version has learned from. A rebuild that failed is tried again later and later; while one runs, none
is started.
"""

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.io import Runtime
from assets.recipe import Recipe
from curation.bad_cases import rebuild_due, waiting_cases
from curation.intake import take_drops
from curation.registry import registered
from curation.rows import digest
from curation.store import Store

JOB = "rebuild"
SET_TAG = "winnow/bad_case_set"
BACKOFF_S = (300, 1800, 7200, 28800)
"""Seconds to wait after each failure on the same bad cases; then people are needed."""

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
    """Rebuild when enough bad cases wait, or the oldest has waited too long."""

    @dg.sensor(
        job=job,
        name="bad_case_sensor",
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def bad_cases_wait(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Rebuild when enough new bad cases wait in the inbox."""
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
    waiting = waiting_cases(store, _consumed(store, recipe))
    due, reason = rebuild_due(waiting, now=now, **recipe.options["automation"])
    if not due:
        return dg.SkipReason(reason)
    key = digest(sorted(case["id"] for case in waiting))
    records = instance.get_run_records(dg.RunsFilter(tags={SET_TAG: key}), limit=10)
    ends = [
        r.end_time or 0.0 for r in records if r.dagster_run.status is dg.DagsterRunStatus.FAILURE
    ]
    if len(ends) > len(BACKOFF_S):
        return dg.SkipReason(
            f"the rebuild on these bad cases failed {len(ends)} times; look at the runs"
        )
    # An end that has yet to come was told by a clock that has been set back; it asks for no wait.
    past = [end for end in ends if end <= now]
    wait_s = max(past) + BACKOFF_S[len(ends) - 1] - now if past else 0.0
    if wait_s > 0:
        return dg.SkipReason(
            f"the last rebuild on these bad cases failed; next try in {wait_s / 60:.0f} min"
        )
    return dg.RunRequest(
        run_key=f"{key}-{len(records)}", tags={SET_TAG: key, "winnow/reason": reason}
    )


def active_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Runs that wait or go on."""
    return instance.get_runs(dg.RunsFilter(statuses=ACTIVE), limit=1)


def _consumed(store: Store, recipe: Recipe) -> list[str]:
    """Bad cases that the newest model version, promoted or rejected, was built with."""
    entries = registered(store, recipe.name)
    return entries[-1].input("bad_cases").table("rows")["id"].to_list() if entries else []
