"""Preference: pairs of a right and a wrong answer, and the adapter that is taught by them.

Only a recipe with the section has these stages. The supervised adapter is then `sft_adapter`, and
`adapter` stays what is evaluated, released and shipped.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from assets.facts import model_path
from assets.recipe import Recipe
from assets.stage import Job, Stage, stage
from assets.train import CLOCKED, GROUP, LOG_SCHEMA, adapter
from assets.unique import templates_of
from curation.leakage import find_leakage
from curation.lineage.preferred import taught_pairs
from curation.pairs import (
    LEFT_SCHEMA,
    TAUGHT_SCHEMA,
    case_pairs,
    corrupted_pairs,
    leave_out,
    pair_rows,
)
from curation.rows import ROW_SCHEMA, digest
from curation.store import Made, Version
from curation.tasks._base import Task
from curation.verdicts import REJECT
from training.launch import run_supervised
from training.preference import train_preference  # noqa: F401 (run by name in a process of its own; named here so that the code version follows it)

SECTION = "preference"
PAIR_LOG = {**LOG_SCHEMA, "reward_accuracy": pl.Float64, "reward_margin": pl.Float64}
"""One line for each step: in which share of its pairs, and by how much, the right answer gained
more than the wrong one."""


def adapter_stages(recipe: Recipe) -> list[Stage]:
    """The stages that end in the adapter: supervised training, and preference where it is asked."""
    supervised = adapter(recipe)
    if SECTION not in recipe.raw:
        return [supervised]
    preferred = replace(preferred_adapter(recipe), name="adapter")
    return [preference_pairs(recipe), replace(supervised, name="sft_adapter"), preferred]


@stage(GROUP, section=("task", SECTION), checks=("conservation",))
def preference_pairs(
    job: Job,
    training_set: Version,
    split_rows: Version,
    augmented_rows: Version,
    bad_cases: Version,
    verdicts: Version,
) -> Made:
    """Bad cases to learn from as pairs of a right and a wrong answer, and why others are none."""
    task, cases = job.recipe.task, bad_cases.table("rows")
    pairs, left = case_pairs(cases, task=task)
    judged = verdicts.table("rows", ["id", "verdict"]).filter(pl.col("verdict") == REJECT)
    reasons = dict.fromkeys(judged["id"], "rejected")
    reasons |= _leaking(job, pair_rows(pairs, task=task), split_rows, augmented_rows, cases)
    pairs, gone = leave_out(pairs, reasons)
    left, n_cases = pl.concat([left, gone]), pairs.height
    if job.recipe.options[SECTION].get("corrupt"):
        made = corrupted_pairs(_trusted(training_set), task=task)
        pairs = pl.concat([pairs, made]).unique("id", keep="first", maintain_order=True)
    n_learn = cases.filter(pl.col("half") == "learn").height
    counts = dict(left.group_by("reason").len().sort("reason").iter_rows())
    said = f"{n_learn:,} cases to learn from = {n_cases:,} pairs + {left.height:,} left out"
    return Made(
        tables={"rows": pairs.sort("id"), "left": left.select(LEFT_SCHEMA.names())},
        values={"fates": {"bad_case": n_cases, "corrupted": pairs.height - n_cases, **counts}},
        checks={"conservation": (n_learn == n_cases + left.height, said)},
    )


@stage(GROUP, section=("train", SECTION), kinds=("huggingface",))
def preferred_adapter(
    job: Job,
    sft_adapter: Version,
    preference_pairs: Version,
    training_set: Version,
    base_model: Version,
) -> Made:
    """The supervised adapter, taught by pairs to put right answers above wrong ones.

    `training_set` is only named among what it was made with: a model version is known by it.
    """
    made_from = (sft_adapter, preference_pairs, base_model)
    section = job.recipe.sections(("train", "task", SECTION))
    key = digest([*(version.data_version for version in made_from), section])
    work = job.store.workdir(f"prefer-{key}")
    pairs = preference_pairs.table("rows")
    pairs.write_parquet(work / "pairs.parquet")
    spec = {
        "call": "training.preference:train_preference",
        "frames": {"pairs": str(work / "pairs.parquet")},
        "paths": {"adapter": str(sft_adapter.folder("adapter")), "out": str(work / "run")},
        "options": {
            "base_model": model_path(base_model),
            "method": sft_adapter.values["method_used"],
            "system": job.recipe.task.system,
            "revision": job.recipe.options["train"].get("revision", ""),
            **job.recipe.options[SECTION],
        },
    }
    said = run_supervised(spec, workdir=work, report=job.report)
    for finding in said["findings"]:
        job.report(finding)
    return _made(said, pairs)


def _made(said: Mapping[str, Any], pairs: pl.DataFrame) -> Made:
    """The run as a version holds it: what every run of the same pairs would report."""
    tables = ("pairs", "history", "loss")
    parts = pl.DataFrame(
        said["pairs"], schema={"id": pl.String, "part": pl.String, "reason": pl.String}
    )
    return Made(
        tables={
            "log": pl.DataFrame(said["history"], schema=PAIR_LOG),
            "pairs": pairs.join(parts, on="id").select(TAUGHT_SCHEMA.names()),
        },
        folders={"adapter": Path(said["adapter"])},
        values={name: v for name, v in said.items() if name not in (*CLOCKED, *tables)},
    )


def taught_rows(adapter: Version, *, task: Task) -> pl.DataFrame:
    """The right answers that an adapter was taught by pairs, as rows (`ROW_SCHEMA`); else none."""
    return pair_rows(taught_pairs(adapter), task=task)


def _trusted(training_set: Version) -> pl.DataFrame:
    """Domain rows that nobody made: delivered, or set right by people."""
    labels = ["id", "track", "origin"]
    plain = training_set.table("rows", labels).filter(
        (pl.col("track") == "domain") & pl.col("origin").is_in(["import", "human"])
    )
    return training_set.lookup("rows", plain["id"]).select(ROW_SCHEMA.names())


def _leaking(
    job: Job,
    rows: pl.DataFrame,
    split_rows: Version,
    augmented_rows: Version,
    cases: pl.DataFrame,
) -> dict[str, str]:
    """Ids of rows that give the exam away, found as the training set's check does, and how."""
    found = find_leakage(
        rows,
        split_rows.table("exam").filter("guarded"),
        augmented_rows.table("edges", ["child", "parent"]),
        cases.filter(pl.col("half") == "hold")["id"],
        split_rows.table("withdrawn")["prompt"],
        task=job.recipe.task,
        templates=templates_of(job),
    )
    return {id: f"leak_{kind}" for id, kind in found.select("id", "kind").iter_rows()}
