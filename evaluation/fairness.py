"""Fairness: the main metric in the parts of the test set that share a label, and how far apart.

A part is what one value of a label takes together: a language, a dialect, the gender of the
speaker. The gap is the distance from the worst part to the best. Whether so wide a gap can be
chance is asked of all parts at once, since the two were picked because they lie farthest apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curation.formats import delivered_text
from curation.markdown import plain, table
from curation.tasks._base import Task
from evaluation.compare import Metric, score_cases
from evaluation.paired import LEAST, adjust_holm, bootstrap_mean

ROUNDS = 2_000


def gap_name(label: str) -> str:
    """What a rule of the gate and a table of metrics call the gap between a label's parts."""
    return f"gap_{label}"


def read_labels(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Id and, for each name, a column of text: the row's own, else what its record had there.

    `rows` is `ROW_SCHEMA`; a record's extra keys, such as `dialect`, are kept in its meta.
    """
    columns = [
        pl.col(name).fill_null("")
        if rows.schema.get(name) == pl.String
        else pl.Series(name, [delivered_text(meta, name) for meta in rows["meta"]], pl.String)
        for name in names
    ]
    return rows.select("id", *columns)


def find_gaps(
    cases: pl.DataFrame,
    labels: pl.DataFrame,
    clusters: pl.DataFrame,
    *,
    metric: Metric,
    task: Task,
) -> list[dict[str, Any]]:
    """Of each label the parts of one arm's task cases, and the gap between them.

    `labels` is id and a column of text for each label, "" for unknown; `clusters` is (id, cluster),
    and what has none is one of its own. Returns label, gap (null with fewer than two parts), p and
    parts: value, n, mean, and low and high, the 95 % interval over clusters. Parts of fewer than
    `LEAST` cases are left out. `p` is adjusted for the number of labels (Holm, 1979).
    """
    scored = score_cases(cases, metric, task).select("id", number="value")
    scored = scored.join(labels, on="id").join(clusters, on="id", how="left").sort("id")
    scored = scored.with_columns(pl.col("cluster").fill_null(pl.col("id")))
    found = [_of_label(scored, label) for label in labels.columns if label != "id"]
    told = [one for one in found if one["gap"] is not None]
    for one, p in zip(told, adjust_holm([one["p"] for one in told]), strict=True):
        one["p"] = p
    return found


def permutation_p(
    values: pl.DataFrame, label: str, *, rounds: int = ROUNDS, seed: int = 0
) -> float:
    """How often labels dealt anew to the clusters of each part lie as far apart (Good, 2005).

    `values` has cluster, number and the label. Cases of a cluster and a part move together. The
    deal that was seen counts as one, so that no p is 0.
    """
    import numpy as np

    units = values.group_by("cluster", label).agg(pl.col("number").sum(), n=pl.len())
    units = units.sort("cluster", label)
    names = units[label].rank("dense").to_numpy().astype(int) - 1
    totals, sizes = (units[c].cast(pl.Float64).to_numpy() for c in ("number", "n"))

    def gap(dealt: Any) -> float:
        means = np.bincount(dealt, totals) / np.bincount(dealt, sizes)
        return float(means.max() - means.min())

    generator, seen = np.random.default_rng(seed), gap(names) - 1e-12
    wider = sum(gap(generator.permutation(names)) >= seen for _ in range(rounds))
    return (wider + 1) / (rounds + 1)


def gaps_table(found: Sequence[Mapping[str, Any]], *, metric: str) -> str:
    """The parts as a Markdown table with a line below for each gap, "" without a label."""
    if not found:
        return ""
    lines = [
        [plain(one["label"]), plain(part["value"]), f"{part['n']:,}", f"{part['mean']:.3f}",
         f"{part['low']:.3f} to {part['high']:.3f}"]
        for one in found
        for part in one["parts"]
    ]  # fmt: skip
    said = [f"- {line_of(one)}" for one in found]
    head = ["label", "part", "cases", plain(metric), "95 % interval"]
    return "\n".join([table(head, lines, numbers=2), "", *said]) + "\n"


def line_of(one: Mapping[str, Any]) -> str:
    """One line for people."""
    if one["gap"] is None:
        return f"{plain(one['label'])}: fewer than two parts of {LEAST} cases"
    chance = "can be chance" if one["p"] >= 0.05 else "more than chance"
    return f"{plain(one['label'])}: gap {one['gap']:.3f}, p {one['p']:.2g}, {chance}"


def _of_label(scored: pl.DataFrame, label: str) -> dict[str, Any]:
    named = scored.filter((pl.col(label) != "") & (pl.len().over(label) >= LEAST))
    parts = [
        {"value": value, "n": part.height, "mean": round(float(part["number"].mean()), 6)}  # type: ignore[arg-type]
        | dict(zip(("low", "high"), bootstrap_mean(part["number"], part["cluster"]), strict=True))
        for (value,), part in sorted(named.group_by(label), key=lambda item: str(item[0][0]))
    ]
    if len(parts) < 2:
        return {"label": label, "gap": None, "p": None, "parts": parts}
    means = [part["mean"] for part in parts]
    gap = round(max(means) - min(means), 6)
    return {"label": label, "gap": gap, "p": permutation_p(named, label), "parts": parts}
