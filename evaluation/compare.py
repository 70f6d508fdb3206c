"""Arms held against each other, case by case, by one metric."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from curation.tasks._base import Task
from evaluation.paired import PAIR_SCHEMA, Comparison, compare_pairs, compare_slices

Metric = Callable[[pl.DataFrame, Task], float | None]
LABELS = ("category", "lang", "difficulty", "source", "task")
"""What pairs are parted by: columns of cases, and the part of a task that has parts. `error_type`
is added to them for bad cases."""


def pair_arms(
    cases: pl.DataFrame,
    clusters: pl.DataFrame,
    error_types: pl.DataFrame,
    *,
    arms: tuple[str, str],
    metric: Metric,
    better: str,
    task: Task,
) -> pl.DataFrame:
    """The second arm beside the first on all cases that both answered, sorted by id.

    `PAIR_SCHEMA`, with the split and the labels. `clusters` is (id, cluster), and what has none is
    one of its own; `error_types` is (id, error_type) of bad cases that were only measured. `better`
    says which values are: higher, lower.
    """
    old, new = (score_cases(cases.filter(pl.col("arm") == arm), metric, task) for arm in arms)
    gain = pl.col("new") - pl.col("old") if better == "higher" else pl.col("old") - pl.col("new")
    return (
        new.rename({"value": "new"})
        .join(old.select("id", old="value"), on="id")
        .join(clusters, on="id", how="left")
        .join(error_types, on="id", how="left")
        .with_columns(pl.col("cluster").fill_null(pl.col("id")), gain=gain)
        .with_columns(pl.col(*LABELS, "error_type").fill_null(""))
        .select(*PAIR_SCHEMA, "split", *LABELS, "error_type")
        .sort("id")
    )


def weigh_pairs(pairs: pl.DataFrame) -> tuple[Comparison | None, list[dict[str, Any]]]:
    """What the pairs of the test split come to, and its parts; and bad cases by error type."""
    test = pairs.filter(pl.col("split") == "test").with_columns(error_type=pl.lit(""))
    known = pairs.filter(pl.col("error_type") != "")
    labels = [label for label in LABELS if label in pairs.columns]  # older pairs have no task
    known = known.with_columns(pl.lit("").alias(label) for label in labels)
    slices = compare_slices(pl.concat([test, known]), [*labels, "error_type"])
    return compare_pairs(test), slices


def score_cases(cases: pl.DataFrame, metric: Metric, task: Task) -> pl.DataFrame:
    """Task cases with their part in `task` and the metric's `value` of each alone; those that have
    none are left out."""
    asked = name_parts(cases, task)
    values = [metric(one, task) for one in asked.iter_slices(1)]
    return asked.with_columns(value=pl.Series(values, dtype=pl.Float64)).drop_nulls("value")


def name_parts(cases: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The task cases with the name of the part of the task that each belongs to, "" for none, in
    `task`."""
    asked = cases.filter(pl.col("kind") == "task")
    names = [task.part(p, gold)[0] for p, gold in asked.select("prompt", "gold").iter_rows()]
    return asked.with_columns(task=pl.Series(names, dtype=pl.String))


def measure_parts(
    cases: pl.DataFrame, arms: Sequence[str], metrics: dict[str, Metric], task: Task
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Part -> arm -> metric -> value on the task cases of that part alone; {} for one task."""
    named = name_parts(cases, task)
    return {
        name: measure_arms(named.filter(pl.col("task") == name), arms, metrics, part)
        for name, part in task.parts.items()
        if name in named["task"]
    }


def measure_arms(
    cases: pl.DataFrame, arms: Sequence[str], metrics: dict[str, Metric], task: Task
) -> dict[str, dict[str, float | None]]:
    """Arm -> metric -> value, of those arms that the cases hold."""
    parts = {arm: cases.filter(pl.col("arm") == arm) for arm in arms}
    return {
        arm: {name: metric(part, task) for name, metric in metrics.items()}
        for arm, part in parts.items()
        if part.height
    }
