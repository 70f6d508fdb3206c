"""The code location Dagster loads: one recipe, its assets, its jobs, its sensor and schedule."""

from pathlib import Path

import dagster as dg

from assets.graph import build_stages
from assets.io import Listener, Runtime, build_assets
from assets.recipe import Recipe, RecipeError, load_recipe
from pipelines.alerts import alert_sensor
from pipelines.automation import bad_case_sensor, nightly_schedule, rebuild_job
from pipelines.paths import recipe_path, store_path


def build_definitions(
    recipe: Recipe, *, store: Path | str | None = None, listener: Listener | None = None
) -> dg.Definitions:
    """Everything Dagster needs to show and run one recipe."""
    runtime = Runtime(recipe, store_path() if store is None else store, listener)
    job = rebuild_job(recipe)
    return dg.Definitions(
        assets=build_assets(runtime, build_stages(recipe)),
        jobs=[job],
        sensors=[bad_case_sensor(runtime, job), alert_sensor(runtime)],
        schedules=[nightly_schedule(recipe, job)],
        executor=dg.in_process_executor,
    )


def load_definitions() -> dg.Definitions:
    """Definitions of the recipe the environment names; its mistakes are said in lines."""
    try:
        return build_definitions(load_recipe(recipe_path()))
    except RecipeError as error:
        raise dg.DagsterInvalidDefinitionError(f"the recipe has mistakes:\n{error}") from None


defs = load_definitions()
