"""The graph of a recipe: every stage, upstream first."""

import inspect
from typing import Any

from assets.augment import augment_inputs, augmented_stage
from assets.code import describe_code
from assets.curate import kept_stage
from assets.ensemble import ensemble_stages
from assets.evaluate import champion, evaluation_stage, predictions
from assets.exam import split_rows
from assets.facts import fact_stages, reference
from assets.feedback import bad_cases, error_types, verdicts
from assets.ingest import rows_stage, source_stages
from assets.mix import training_set
from assets.preference import adapter_stages
from assets.pretrain import base_model_stages
from assets.recipe import Recipe, ranked_scorers
from assets.release import model_version
from assets.semantic import compare_stages
from assets.stage import Job, Stage
from assets.train import reward_model
from assets.unique import duplicates, unique_rows
from curation.rows import digest


def build_stages(recipe: Recipe) -> list[Stage]:
    """All stages in an order in which they can be run; models that nothing uses are left out."""
    used = {use for plug in recipe.scorers.values() for use in plug.uses}
    used |= {"reference"} if ranked_scorers(recipe) else set()
    used |= {*augment_inputs(recipe)}
    makers = [reference] if "reference" in used else []
    makers += [
        bad_cases,
        error_types,
        verdicts,
        augmented_stage,
        duplicates,
        unique_rows,
        split_rows,
    ]
    early = [*source_stages(recipe), rows_stage(recipe), *(make(recipe) for make in makers)]
    early += base_model_stages(recipe)
    early += [reward_model(recipe)] if "reward_model" in used else []
    trained = [kept_stage(recipe), training_set(recipe), *adapter_stages(recipe)]
    late = [champion, predictions, evaluation_stage, model_version]
    scores = [*fact_stages(recipe), *compare_stages(recipe), *ensemble_stages(recipe)]
    return [*early, *scores, *trained, *(make(recipe) for make in late)]


def describe_steps(job: Job) -> dict[str, dict[str, Any]]:
    """How each stage would be made now: code, modules, packages, and the files it reads."""
    found: dict[str, dict[str, Any]] = {}
    for stage in build_stages(job.recipe):
        code = describe_code(inspect.unwrap(stage.work), stage.code)
        found[stage.name] = {"code": stage.code_version, **code}
        if stage.reads and stage.name.startswith(("sources/", "facts/")):
            found[stage.name]["reads"] = digest(stage.reads(job))
    return found
