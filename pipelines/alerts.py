"""Alerts: a sensor, off until switched on, that says when a rebuild fails or the gate says no.

Like the one for bad cases it looks at the state: what of the last week is to be said is found anew
at each tick, kept once, and told until somebody has heard it. No run waits for that.
"""

import time
from datetime import UTC, datetime

import dagster as dg

from assets.io import Runtime
from assets.recipe import Recipe
from curation.alerts import Alert, add_alerts, read_alerts, tell_alerts
from curation.registry import registered
from curation.store import Store
from pipelines.automation import JOB, find_waiting, set_name, why_given_up
from pipelines.paths import alert_url

LOOK_BACK_S = 7 * 86400.0
"""What is older is no news, also where the sensor was switched on only now."""


def alert_sensor(runtime: Runtime, *, every_s: int = 60) -> dg.SensorDefinition:
    """Keep and tell what people should look at."""

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=every_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """Say when a rebuild failed, the gate said no, or no rebuild is tried any more."""
        store, recipe = runtime.store, runtime.recipe
        for line in add_alerts(store, find_alerts(store, recipe, context.instance)):
            context.log.warning(line["text"])
        return dg.SkipReason(say_alerts(store, recipe, url=alert_url()))

    return alerts


def find_alerts(
    store: Store, recipe: Recipe, instance: dg.DagsterInstance, *, now: float | None = None
) -> list[Alert]:
    """What of the last week people should look at; `now` is in Unix time."""
    since = (time.time() if now is None else now) - LOOK_BACK_S
    found = [*_failed_runs(instance, since), *_rejected_versions(store, recipe, since)]
    waiting = find_waiting(store, recipe)
    if stopped := why_given_up(instance, waiting):
        found.append(Alert("gave up", set_name(waiting), f"{recipe.name}: {stopped}"))
    return found


def say_alerts(store: Store, recipe: Recipe, *, url: str) -> str:
    """Tell what was not told to the URL, if there is one; returns how that stands, in a line."""
    told, wrong = 0, ""
    if url:
        since = time.time() - LOOK_BACK_S
        told, wrong = tell_alerts(store, url, recipe=recipe.name, since=since)
    said = f"{len(read_alerts(store)):,} alerts kept, {told:,} told now"
    return f"{said}; WINNOW_ALERT_URL: {wrong}, tried again at the next tick" if wrong else said


def _failed_runs(instance: dg.DagsterInstance, since: float) -> list[Alert]:
    failed = dg.RunsFilter(
        job_name=JOB,
        statuses=[dg.DagsterRunStatus.FAILURE],
        updated_after=datetime.fromtimestamp(since, UTC),
    )
    runs = [record.dagster_run for record in instance.get_run_records(failed, ascending=True)]
    return [
        Alert("run failed", run.run_id, f"run {run.run_id[:8]} failed: {_reason(instance, run)}")
        for run in runs
    ]


def _reason(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What its first failed step said, else what Dagster says of the run, in its words."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event and event.is_step_failure:
            data = event.step_failure_data
            said = data.user_failure_data.description if data.user_failure_data else ""
            error = data.error and (data.error.cause or data.error)
            return f"{event.step_key}: {said or (error.message if error else 'it failed')}"
        if event and event.message:
            return event.message
    return "look at its log"


def _rejected_versions(store: Store, recipe: Recipe, since: float) -> list[Alert]:
    found = []
    for entry in registered(store, recipe.name):
        said = entry.values
        if not said["promoted"] and (entry.published_at or 0.0) >= since:
            rules = said["verdict"]["rules"]
            broken = "; ".join(f"{rule} is not met ({why})" for rule, ok, why in rules if not ok)
            line = f"{recipe.name} v{said['number']} was rejected by the gate: {broken}"
            found.append(Alert("gate", said["id"], line))
    return found
