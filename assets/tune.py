"""Tune: a search for training options on what the newest build trains on, kept like a version."""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from assets.code import code_version, describe_code
from assets.facts import model_path
from assets.recipe import Recipe
from assets.stage import Job, require_built
from assets.train import train_options, write_training_rows
from curation.progress import Report, silent
from curation.rows import digest
from curation.store import Made, Store, Version
from training.launch import run_supervised
from training.study import Sampler
from training.tune import check_search, search_options

SEARCH = "search"
"""Searches stand in the store as versions of `<recipe>/search`, made from training set, base model
and trials: each of these is a version of `<recipe>/search/trial_<number>`, without its weights,
which its options make again."""
TRIAL_SCHEMA = {
    "number": pl.Int64,
    "state": pl.String,
    "params": pl.String,
    "loss": pl.Float64,
    "general_loss": pl.Float64,
    "step": pl.Int64,
}
"""One line for each trial, its options as JSON; losses are nats per token of the rows looked at."""


def search_train_options(
    store: Store,
    recipe: Recipe,
    *,
    trials: int = 10,
    sampler: Sampler = "tpe",
    ranges: Sequence[str] = (),
    seed: int = 0,
    report: Report = silent,
) -> tuple[dict[str, Any], Version]:
    """What `search_options` came to, with `train`, and the version that keeps it.

    `train` is the recipe's section with the best options in it. The rows are those of the newest
    training set. The same search goes on where it was, and one that is done is only read.
    """
    asked = {"sampler": sampler, "ranges": [*ranges], "seed": seed}
    check_search(recipe.options["train"], trials=trials, sampler=sampler, ranges=ranges, seed=seed)
    training_set, base_model = (
        require_built(Job(recipe, store), n) for n in ("training_set", "base_model")
    )
    made_from = {"training_set": training_set, "base_model": base_model}
    train, started = train_options(recipe, store, base_model)
    train.pop("report_to", None)  # a trial's folder goes when it is done
    section = recipe.sections("train")
    versions = {name: version.data_version for name, version in made_from.items()}
    work = store.workdir(f"tune-{digest([versions, section, asked, *started.values()])}")
    write_training_rows(training_set, work / "rows.parquet")
    spec = {
        "call": "training.tune:search_options",
        "frames": {"rows": str(work / "rows.parquet")},
        "paths": {"out": str(work / "search")},
        "options": {
            "base_model": model_path(base_model),
            "trials": trials,
            "train": train,
            **asked,
        },
    }
    found = run_supervised(spec, workdir=work, report=report)
    how = {
        "code": code_version(inspect.unwrap(search_options), ()),
        "section": section,
        "recipe": recipe.digest,
        "recipe_text": recipe.text,
        "reads": digest(""),
        "options": asked | {"trials": trials},
        **describe_code(inspect.unwrap(search_options), ()),
    }

    def keep(key: str, made: Made, inputs: dict[str, Version]) -> Version:
        version = store.write_version(f"{recipe.name}/{key}", made, inputs=inputs, how=how)
        store.publish(version)
        return version

    tried = {
        name: keep(name, Made(values=trial), made_from)
        for trial in _trials(found)
        for name in [f"{SEARCH}/trial_{trial['number']}"]
    }
    version = keep(SEARCH, _made(found), made_from | tried)
    best = {**recipe.raw["train"], **found["params"], "validate": found["validate"]}
    return found | {"train": best, **versions}, version


def _made(found: dict[str, Any]) -> Made:
    """The search as a version holds it."""
    values = {name: found[name] for name in ("best", "params", "gain", "n_held", "validate")}
    return Made(tables={"trials": pl.DataFrame(_trials(found), schema=TRIAL_SCHEMA)}, values=values)


def _trials(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each trial, without the times, which a second one would not repeat."""
    return [
        {**{name: trial.get(name) for name in TRIAL_SCHEMA}, "params": _json(trial["params"])}
        for trial in found["trials"]
    ]


def _json(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, ensure_ascii=False)
