"""Advise: what a recipe's next training run would be, from what the newest build trains on."""

import dataclasses
from typing import Any

from assets.facts import model_path
from assets.recipe import Recipe
from assets.stage import Job, require_built
from assets.train import train_options, training_rows
from curation.chat import load_tokenizer, quiet_libraries
from curation.store import Store
from training.plan import plan_run, split_options
from training.profiles import ProfileName


def advise_training(store: Store, recipe: Recipe, *, profile: ProfileName | None = None) -> Any:
    """Options, reasons, estimate, fits (by memory) and n_rows of the run, for people and programs.

    `profile` plans for another kind of machine than the recipe's. No weight is read, and nothing is
    trained. Raises `NotBuilt` where the newest build has no training set or base model.
    """
    training_set, base_model = (
        require_built(Job(recipe, store), name) for name in ("training_set", "base_model")
    )
    train, _ = train_options(recipe, store, base_model)
    asked = split_options(train | ({"profile": profile} if profile else {}))
    base = model_path(base_model)
    quiet_libraries()
    plan = plan_run(
        training_rows(training_set),
        load_tokenizer(base, revision=asked.get("revision", "")),
        base_model=base,
        **asked,
    )
    return {
        "options": dataclasses.asdict(plan.options),
        "reasons": plan.reasons,
        "estimate": plan.estimate,
        "fits": plan.fits,
        "n_rows": plan.tokens.filter(plan.tokens["reason"] == "").height,
    }
