"""Several models on the frozen test set: versions by stored answers, base models asked now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.answers import reads_answers
from assets.recipe import Recipe
from curation.chat import load_tokenizer
from curation.plugins import plugin_better
from curation.progress import Report, silent
from curation.registry import find_version
from curation.store import Store, Version
from evaluation.cases import CASE_SCHEMA, ask_cases
from evaluation.compare import measure_arms, measure_parts, pair_arms, weigh_pairs
from evaluation.predict import load_predictor, measure_speed

_OWN = ("base", "few_shot")
SPEED_ROWS = 64
"""Test rows that tell how fast a base model answers."""


def compare_versions(store: Store, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """Versions beside one another on the cases that all of them answered; no model is run.

    `metrics` is arm -> metric -> value, `against` says of the last version how it stands against
    each other arm. Raises `LookupError` for an unknown version, `ValueError` when they share no
    case.
    """
    entries = [find_version(store, recipe.name, name) for name in names]
    arms = {arm: _answers(entries[-1], arm) for arm in _OWN}
    arms |= {f"v{entry.values['number']}": _answers(entry, "candidate") for entry in entries}
    clusters = entries[-1].input("evaluation").input("split_rows").table("clusters")
    return _compare(recipe, arms, clusters)


def compare_bases(
    store: Store, recipe: Recipe, models: Sequence[str], *, report: Report = silent
) -> dict[str, Any]:
    """Base models, as they are, asked the present test set through their own templates.

    Each is a local folder or a hub id. `speed` is model -> n_params, tokens_per_s and
    tokens_per_answer of `SPEED_ROWS` test rows. Raises `LookupError` where there is no exam yet,
    `ValueError` for a model that stands twice or cannot be had.
    """
    split = store.head(f"{recipe.name}/split_rows")
    if split is None:
        how = "build it with `winnow run`"
        raise LookupError(f"recipe {recipe.name!r} has no test set yet: {how}")
    test = split.table("exam").filter(pl.col("split") == "test").drop("guarded")
    told = recipe.evaluate
    general = told["general_answers"] if reads_answers(recipe) else 0
    if twice := [model for model in {*models} if models.count(model) > 1]:
        raise ValueError(f"{min(twice)!r} stands twice: name each base model once")
    for model in models:  # before the first is asked for minutes
        _require_model(model)
    timed = [chat[:-1] for chat in _timed_rows(test)["messages"].to_list()]
    arms, speed = {}, {}
    for model in models:
        name = Path(model).name if Path(model).is_dir() else model
        name = model if name in arms else name
        predictor = load_predictor(model)
        arms[name] = ask_cases(
            test,
            predictor,
            max_new_tokens=told["max_new_tokens"],
            general_answers=general,
            report=report,
        )
        said = measure_speed(predictor, timed, max_new_tokens=told["max_new_tokens"])
        speed[name] = said._asdict()
    return _compare(recipe, arms, split.table("clusters")) | {"speed": speed}


def _require_model(model: str) -> None:
    try:
        load_tokenizer(model)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0].strip(": ")
        raise ValueError(f"base model {model!r} cannot be read: {why}") from error


def _timed_rows(test: pl.DataFrame) -> pl.DataFrame:
    """Rows of the task, where there are some."""
    domain = test.filter(pl.col("track") == "domain")
    return (domain if domain.height else test).sort("id").head(SPEED_ROWS)


def _compare(
    recipe: Recipe, arms: Mapping[str, pl.DataFrame], clusters: pl.DataFrame
) -> dict[str, Any]:
    """The table and the last arm against each other one, on the test cases all of them have."""
    shared = set.intersection(*(set(frame["id"]) for frame in arms.values()))
    cases = pl.concat(
        frame.filter(pl.col("id").is_in(shared) & (pl.col("split") == "test"))
        .with_columns(arm=pl.lit(arm))
        .select(*CASE_SCHEMA)
        for arm, frame in arms.items()
    )
    if cases.is_empty():
        raise ValueError("these versions were asked no test row in common")
    makers = {name: plug.make() for name, plug in recipe.metrics.items()}
    *others, new = arms
    return {
        "n_cases": cases.filter((pl.col("arm") == new) & (pl.col("kind") == "task")).height,
        "metrics": measure_arms(cases, [*arms], makers, recipe.task),
        "parts": measure_parts(cases, [*arms], makers, recipe.task),
        "main": recipe.main_metric,
        "new": new,
        "against": {old: hold_arms(recipe, cases, clusters, (old, new)) for old in others},
        "notes": _notes(recipe, arms),
    }


def hold_arms(
    recipe: Recipe, cases: pl.DataFrame, clusters: pl.DataFrame, arms: tuple[str, str]
) -> dict[str, Any]:
    """The second arm held against the first on the main metric: verdict, line and slices."""
    plug = recipe.metrics[recipe.main_metric]
    types = pl.DataFrame(schema={"id": pl.String, "error_type": pl.String})
    how: dict[str, Any] = {"metric": plug.make(), "better": plugin_better(plug.factory)}
    pairs = pair_arms(cases, clusters, types, arms=arms, task=recipe.task, **how)
    paired, slices = weigh_pairs(pairs)
    if paired is None:
        return {"verdict": "unclear", "line": "no test case that both answered", "slices": []}
    return {"verdict": paired.verdict, "line": paired.line(), "slices": slices}


def _notes(recipe: Recipe, arms: Mapping[str, pl.DataFrame]) -> list[str]:
    """What must not be compared: perplexities of unlike tokenizers."""
    named = [name for name, plug in recipe.metrics.items() if plug.use == "perplexity"]
    counts = {tuple(frame.sort("id")["n_tokens"]) for frame in arms.values()}
    if not named or len(counts) == 1:
        return []
    return [
        f"{named[0]} is by token, and these models cut texts differently: compare bits per byte"
    ]


def _answers(entry: Version, arm: str) -> pl.DataFrame:
    """What an arm answered when a version was judged; null where less was written down then."""
    cases = entry.input("predictions").table("rows").filter(pl.col("arm") == arm)
    later = [pl.lit(None, kind).alias(c) for c, kind in CASE_SCHEMA.items() if c not in cases]
    return cases.with_columns(later)
