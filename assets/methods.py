"""Methods: every way to train, on what the newest build trained on, judged as its model was."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from assets.answers import ask_arm, ask_exam, read_exam
from assets.compare import hold_arms
from assets.recipe import Recipe
from assets.stage import Job, Stage, require_built, run_stage
from assets.train import GROUP, TRAINER, made_adapter, run_training
from curation.plugins import nearest
from curation.progress import Report, silent
from curation.rows import digest
from curation.store import Made, Store, Version
from evaluation.compare import measure_arms
from evaluation.gate import count_fixed, mark_cases
from training.methods import METHODS

SETTLED = ("method", "lr", "validate", "start")
"""Options of `train` that a method settles by itself; the others stay as the recipe has them."""
COSTS = ("seconds", "peak_mb")
_BASES = ("base", "few_shot")
_INPUTS = ("rows", "split_rows", "bad_cases", "training_set", "base_model")


def compare_methods(
    store: Store, recipe: Recipe, methods: Sequence[str] = (), *, report: Report = silent
) -> dict[str, Any]:
    """Each method trained with its advised options, and asked the exam; all of them by default.

    Adapters stand in the store as versions of `<recipe>/methods/<method>`, so what was trained and
    asked before is only read.

    Returns n_cases, main, against (the first method, which the others are held against) and arms:
    of `base`, `few_shot` and each method its metrics, and of a method also refused (why it cannot
    run here, else ""), used, lr, epochs, n_trained (parameters), seconds and peak_mb of training
    (null where the store was not told), held (bad cases held back: n, fixed), and of all but the
    first verdict and line. Raises `ValueError` for an unknown method, `NotBuilt` where there is no
    training set yet.
    """
    names = _check(methods)
    job = Job(recipe, store, report)
    inputs = {name: require_built(job, name) for name in _INPUTS}
    exam = read_exam(job, *(inputs[name] for name in ("rows", "split_rows", "bad_cases")))
    base = inputs["base_model"]
    answers = {
        "base": ask_arm(job, exam.test, base, None),
        "few_shot": ask_arm(job, exam.test, base, None, exam.seeds),
    }
    arms: dict[str, dict[str, Any]] = {name: {} for name in _BASES}
    for name in names:
        of_method = replace(job, recipe=use_method(recipe, name))
        report(f"{name}: {METHODS[name].about}")
        try:
            trained = run_stage(of_method, method_stage(of_method.recipe, name)).version
        except ValueError as error:  # such as a base in 4 bits with an option that needs all of it
            arms[name] = {"refused": str(error)}
            continue
        arms[name] = _describe(of_method, trained, inputs)
        answers[name] = ask_exam(of_method, exam, base, trained)
    return _judge(recipe, arms, answers, inputs)


def use_method(recipe: Recipe, method: str) -> Recipe:
    """The recipe with another method, and what this settles left to advice."""
    raw, options = (
        {k: v for k, v in said["train"].items() if k not in SETTLED} | {"method": method}
        for said in (recipe.raw, recipe.options)
    )
    return replace(
        recipe,
        raw={**recipe.raw, "train": raw},
        options={**recipe.options, "train": options},
    )


def method_stage(recipe: Recipe, method: str) -> Stage:
    """The stage that trains by one method; it is no part of the graph."""
    section = recipe.sections("train")
    inputs = ("training_set", "base_model")
    return Stage(f"methods/{method}", GROUP, train_by_method, inputs, section, TRAINER)


def train_by_method(job: Job, training_set: Version, base_model: Version) -> Made:
    """The adapter of one method; what it cost, which no other run repeats, is remembered beside."""
    said = run_training(job, training_set, base_model)
    job.store.remember(_cost_key(job, training_set, base_model), {c: said[c] for c in COSTS})
    return made_adapter(said)


def _describe(job: Job, trained: Version, inputs: Mapping[str, Version]) -> dict[str, Any]:
    values = trained.values
    cost = job.store.recall(_cost_key(job, inputs["training_set"], inputs["base_model"])) or {}
    return {
        "refused": "",
        "used": values["method_used"],
        "lr": values["options"]["lr"],
        "epochs": values["epochs"],
        "n_trained": values["n_trained"],
        **{name: cost.get(name) for name in COSTS},
    }


def _judge(
    recipe: Recipe,
    arms: Mapping[str, dict[str, Any]],
    answers: Mapping[str, pl.DataFrame],
    inputs: Mapping[str, Version],
) -> dict[str, Any]:
    """What the answers come to, beside what is known of each arm."""
    cases = pl.concat(frame.with_columns(arm=pl.lit(arm)) for arm, frame in answers.items())
    test = cases.filter(pl.col("split") == "test")
    makers = {name: plug.make() for name, plug in recipe.metrics.items()}
    metrics = measure_arms(test, [*answers], makers, recipe.task)
    known = inputs["bad_cases"].table("rows").filter(pl.col("half") == "hold")["row_id"]
    marked = mark_cases(cases, recipe.task)
    trained = [arm for arm in answers if arm not in _BASES]
    clusters = inputs["split_rows"].table("clusters")
    told = {arm: said | {"metrics": metrics[arm]} if arm in answers else said
            for arm, said in arms.items()}  # fmt: skip
    for arm in trained:
        told[arm]["held"] = count_fixed(marked, known, arm=arm)
    for arm in trained[1:]:
        said = hold_arms(recipe, test, clusters, (trained[0], arm))
        told[arm] |= {name: said[name] for name in ("verdict", "line")}
    return {
        "n_cases": test.filter((pl.col("arm") == "base") & (pl.col("kind") == "task")).height,
        "main": recipe.main_metric,
        "against": trained[0] if trained else "",
        "arms": told,
    }


def _cost_key(job: Job, training_set: Version, base_model: Version) -> str:
    versions = [training_set.data_version, base_model.data_version]
    return "cost-" + digest([*versions, job.recipe.sections("train")])


def _check(methods: Sequence[str]) -> list[str]:
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"no method {name!r}{nearest(name, METHODS)}")
    return [*dict.fromkeys(methods or METHODS)]
