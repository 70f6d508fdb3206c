"""Ratings: the marks that people give the answers of one version, dimension by dimension."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from curation.agreement import compare_marks
from curation.judgements import BEST
from evaluation.paired import bootstrap_mean

DIMENSIONS = ("correctness", "completeness", "format", "fluency", "safety")
"""What an answer is rated in where the recipe names nothing else; the page says them in words."""
_MOST, _LONGEST = 9, 40


def name_dimensions(*, dimensions: Sequence[str] = DIMENSIONS) -> tuple[str, ...]:
    """The dimensions of a recipe; `ValueError` for none, too many, or one that is named twice."""
    names = tuple(name.strip() for name in dimensions)
    if not 1 <= len(names) <= _MOST or len({*names}) < len(names):
        said = f"1 to {_MOST} different ones are needed"
        raise ValueError(f"rating.dimensions is {[*names]!r:.200}; {said}")
    if odd := [name for name in names if not 1 <= len(name) <= _LONGEST]:
        raise ValueError(f"rating.dimensions: {odd[0]!r:.80} has not 1 to {_LONGEST} characters")
    return names


def tally_marks(
    answered: pl.DataFrame,
    marks: pl.DataFrame,
    *,
    dimensions: Sequence[str] = DIMENSIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """What marks (`MARK_SCHEMA`) say of the answers of a version (`human.ANSWERED_SCHEMA`).

    `dimensions` has a line for each that has marks, first those that are asked now: its answers
    `n`, the mean mark with its 95 % interval over clusters, `counts` of judgements from 1 to 5, and
    the reviewers' ordinal `alpha` on the `judged_twice` (None where nothing can be said). An answer
    of several judges counts once, by their mean.
    """
    said = marks.join(answered.select("question", "cluster"), on="question")
    alphas = {one["dimension"]: one for one in compare_marks(said, answered["question"].to_list())}
    names = sorted(said["dimension"].unique(), key=lambda name: _place(name, dimensions))
    lines = [
        {
            "dimension": name,
            **_describe(part, seed),
            "alpha": alphas.get(name, {}).get("alpha"),
            "judged_twice": alphas.get(name, {}).get("questions", 0),
        }
        for name in names
        for part in [said.filter(pl.col("dimension") == name)]
    ]
    return {
        "cases": answered.height,
        "rated": said["question"].n_unique(),
        "reviewers": said["by"].n_unique(),
        "dimensions": lines,
        "comments": _comments(answered, said),
    }


def _place(name: str, dimensions: Sequence[str]) -> tuple[int, str]:
    """Where a dimension stands: as it is named, and what is not named any more behind."""
    return (dimensions.index(name) if name in dimensions else len(dimensions), name)


def _describe(part: pl.DataFrame, seed: int) -> dict[str, Any]:
    each = part.group_by("question", "cluster").agg(pl.col("mark").mean()).sort("question")
    low, high = bootstrap_mean(each["mark"], each["cluster"], seed=seed)
    counts = [int((part["mark"] == mark).sum()) for mark in range(1, BEST + 1)]
    mean = round(sum(each["mark"]) / each.height, 6)
    return {"n": each.height, "mean": mean, "low": low, "high": high, "counts": counts}


def _comments(answered: pl.DataFrame, said: pl.DataFrame) -> list[dict[str, str]]:
    told = said.filter(pl.col("comment") != "").unique(["question", "by"]).sort("question", "by")
    rows = told.join(answered.select("question", "id", "prompt"), on="question", how="left")
    return rows.select("id", "prompt", "by", "comment").to_dicts()
