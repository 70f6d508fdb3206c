"""Evaluate: the frozen test set answered by four arms, the numbers, and the gate."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from assets.answers import ask_arm, ask_exam, read_exam
from assets.preference import taught_rows
from assets.recipe import Recipe
from assets.stage import Job, Stage, stage
from assets.unique import templates_of
from curation.markdown import plain, table
from curation.plugins import plugin_better
from curation.registry import champion_before, version_id
from curation.split import find_leaks
from curation.store import Made, Version
from evaluation.bad_cases import count_fixed_cases, fixed_table
from evaluation.cases import CASE_SCHEMA
from evaluation.compare import measure_arms, measure_parts, pair_arms, weigh_pairs
from evaluation.fairness import find_gaps, gap_name, gaps_table, read_labels
from evaluation.forgetting import general_by_category, general_table
from evaluation.gate import (
    Verdict,
    compare_arms,
    count_fixed,
    gate_values,
    judge_candidate,
    mark_cases,
)

GROUP = "6_evaluate"
ARMS = ("base", "few_shot", "champion", "candidate")


@stage(GROUP, reads=lambda job: _champion_key(job))
def champion(job: Job, adapter: Version) -> Made:
    """The version this adapter has to beat: the newest one promoted before it."""
    entry = champion_before(job.store, job.recipe.name, version_id(adapter))
    if entry is None:
        return Made(values={"number": 0, "id": "", "adapter": "", "base_model": ""})
    return Made(
        values={name: entry.values[name] for name in ("number", "id", "adapter", "base_model")}
    )


@stage(GROUP, section=("task", "evaluate", "train"))
def predictions(
    job: Job,
    rows: Version,
    split_rows: Version,
    bad_cases: Version,
    base_model: Version,
    adapter: Version,
    champion: Version,
) -> Made:
    """Answers of base, base with examples, champion and candidate; each asked once ever."""
    exam = read_exam(job, rows, split_rows, bad_cases)
    arms = {
        "base": ask_arm(job, exam.test, base_model, None),
        "few_shot": ask_arm(job, exam.test, base_model, None, exam.seeds),
        "candidate": ask_exam(job, exam, base_model, adapter),
    }
    if champion.values["adapter"]:
        old_base, old = (job.store.version(champion.values[k]) for k in ("base_model", "adapter"))
        arms["champion"] = ask_exam(job, exam, old_base, old)
    cases = [frame.with_columns(arm=pl.lit(arm)) for arm, frame in arms.items()]
    return Made(tables={"rows": pl.concat(cases).select(CASE_SCHEMA.names())})


def evaluation_stage(recipe: Recipe) -> Stage:
    """The stage that measures and judges; it follows the code and files of the chosen metrics."""
    plugs = [*recipe.metrics.values()]
    return Stage(
        "evaluation",
        GROUP,
        evaluation,
        ("predictions", "training_set", "split_rows", "bad_cases"),
        recipe.sections(("task", "evaluate", "gate")),
        (*recipe.task_plug.modules, *(plug.module for plug in plugs)),
        reads=lambda job: [plug.files_digest() for plug in plugs],
        files=lambda: {name: at for plug in plugs for name, at in plug.files_state().items()},
        checks=("leakage", "gate"),
        guards=("leakage",),
    )


def evaluation(
    job: Job,
    predictions: Version,
    training_set: Version,
    split_rows: Version,
    bad_cases: Version,
) -> Made:
    """Every metric of every arm, what was fixed on the held-back half, and the gate's verdict."""
    task = job.recipe.task
    cases = predictions.table("rows")
    marked = mark_cases(cases, task)
    test, clusters = cases.filter(pl.col("split") == "test"), split_rows.table("clusters")
    makers = {name: plug.make() for name, plug in job.recipe.metrics.items()}
    gaps = _gaps(job, test, split_rows.table("exam"), clusters)
    metrics = _with_gaps(measure_arms(test, ARMS, makers, task), gaps)
    parts = measure_parts(test, ARMS, makers, task)
    general = general_by_category(test, [arm for arm in ARMS if arm != "few_shot"])
    guarded = split_rows.table("exam").filter("guarded").drop("guarded")
    trained = training_set.table("rows").drop("repeats")
    taught = taught_rows(predictions.input("adapter"), task=task).select(trained.columns)
    trained = pl.concat([trained, taught.join(trained, on="id", how="anti")])
    leaks = find_leaks(trained, guarded, task=task, templates=templates_of(job))
    n_cases = marked.filter((pl.col("arm") == "candidate") & (pl.col("split") == "test")).height
    reported = bad_cases.table("rows")
    held, fixed = reported.filter(pl.col("half") == "hold"), count_fixed_cases(marked, reported)
    values = gate_values(metrics, leaks=leaks.height, n_cases=n_cases)
    pairs = _pairs(job, cases, clusters, held)
    paired, slices = weigh_pairs(pairs)
    verdict = judge_again(job.recipe, values, pairs)
    return Made(
        tables={"rows": marked, "leaks": leaks, "pairs": pairs},
        values={
            "metrics": metrics,
            "parts": parts,
            "n_cases": n_cases,
            "held_back": count_fixed(marked, held["row_id"]),
            "bad_cases": fixed,
            "bad_case_table": fixed_table(fixed),
            "test": compare_arms(marked, split="test"),
            "main": job.recipe.main_metric,
            "paired": asdict(paired) if paired else None,
            "slices": slices,
            "gaps": gaps.get("candidate", []),
            "gaps_table": gaps_table(gaps.get("candidate", []), metric=job.recipe.main_metric),
            "general": general,
            "general_table": general_table(general),
            "gate_values": values,
            "verdict": verdict.to_dict(),
            "table": metrics_table(metrics) + parts_table(parts),
        },
        checks={
            "leakage": (
                leaks.is_empty(),
                f"{leaks.height} training rows share something with the exam",
            ),
            "gate": (verdict.promote, verdict.line()),
        },
    )


def metrics_table(metrics: dict[str, dict[str, float | None]]) -> str:
    """Arms by metrics as a Markdown table."""
    names = list(metrics["candidate"])
    lines = [
        [plain(arm), *("–" if said.get(n) is None else f"{said[n]:.3f}" for n in names)]
        for arm, said in metrics.items()
    ]
    return table(["arm", *names], lines, numbers=len(names)) + "\n"


def parts_table(parts: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """A table of arms by metrics for each part of a task, "" for one without; general metrics are
    left out, as they say nothing of a part."""
    text = ""
    for name, metrics in parts.items():
        told = {m for said in metrics.values() for m, value in said.items() if value is not None}
        shown = {arm: {m: said[m] for m in said if m in told} for arm, said in metrics.items()}
        text += f"\n**{plain(name)}**\n\n{metrics_table(shown)}"
    return text


def _gaps(
    job: Job, test: pl.DataFrame, exam: pl.DataFrame, clusters: pl.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """Arm -> the gaps between the parts of the test set, where the recipe asks for some."""
    if not job.recipe.slices:
        return {}
    labels = read_labels(exam, job.recipe.slices)
    metric, task = job.recipe.metrics[job.recipe.main_metric].make(), job.recipe.task
    arms = {arm: test.filter(pl.col("arm") == arm) for arm in ARMS}
    return {
        arm: find_gaps(cases, labels, clusters, metric=metric, task=task)
        for arm, cases in arms.items()
        if cases.height
    }


def _with_gaps(
    metrics: dict[str, dict[str, float | None]], gaps: Mapping[str, list[dict[str, Any]]]
) -> dict[str, dict[str, float | None]]:
    """The metrics of each arm and its gaps, which are judged and shown like them."""
    return {
        arm: said | {gap_name(one["label"]): one["gap"] for one in gaps.get(arm, [])}
        for arm, said in metrics.items()
    }


def judge_again(recipe: Recipe, values: Mapping[str, float | None], pairs: pl.DataFrame) -> Verdict:
    """The gate's verdict on the values of the arms and the pairs of candidate and champion."""
    paired, slices = weigh_pairs(pairs)
    least = recipe.evaluate["min_cases"]
    return judge_candidate(recipe.gate, values, paired=paired, slices=slices, min_cases=least)


def _pairs(
    job: Job, cases: pl.DataFrame, clusters: pl.DataFrame, known: pl.DataFrame
) -> pl.DataFrame:
    """The candidate beside the champion; without one, beside the examples."""
    old = "champion" if "champion" in cases["arm"] else "few_shot"
    plug = job.recipe.metrics[job.recipe.main_metric]
    types = known.select(id="row_id", error_type="signature")
    return pair_arms(
        cases,
        clusters,
        types.unique("id", keep="first", maintain_order=True),
        arms=(old, "candidate"),
        metric=plug.make(),
        better=plugin_better(plug.factory),
        task=job.recipe.task,
    )


def _champion_key(job: Job) -> Any:
    adapter = job.store.head(f"{job.recipe.name}/adapter")
    entry = champion_before(job.store, job.recipe.name, version_id(adapter)) if adapter else None
    return entry.values["id"] if entry else ""
