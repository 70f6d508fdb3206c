"""The exam: which rows are only ever measured on, and which training rows would give them away.

Clusters are named by their content, so a row's side depends on what it says and never on what else
was delivered or when: a cluster once held out stays held out without anyone remembering it.
"""

from dataclasses import dataclass

import polars as pl

from curation.fates import FATE_SCHEMA, make_fates
from curation.progress import Report, silent
from curation.rows import UTTERANCE, dialogue, digest, make_row, rows_frame
from curation.split import CLUSTER_SCHEMA, LEAK_SCHEMA, assign_clusters, assign_splits, half_of
from curation.tasks._base import Task
from curation.text import text_keys


@dataclass(frozen=True)
class Exam:
    """`rows` may be trained on; `exam` (test and held-out rows, with `guarded`) may not.

    `guarded` is false for held-out rows of the half to learn from. `fates` cover the training
    candidates, `clusters` every row.
    """

    rows: pl.DataFrame
    exam: pl.DataFrame
    fates: pl.DataFrame
    clusters: pl.DataFrame
    leaks: pl.DataFrame


def set_exam(
    candidates: pl.DataFrame,
    imported: pl.DataFrame,
    cases: pl.DataFrame,
    edges: pl.DataFrame,
    pairs: pl.DataFrame,
    *,
    task: Task,
    test: float = 0.0,
    heldout: float = 0.0,
    threshold: float = 0.8,
    report: Report = silent,
) -> Exam:
    """Part training candidates from the exam.

    Rows have the split their source gave them; `test` and `heldout` (shares, 0..1) hold out further
    imported domain clusters, for projects with one file of rows. A candidate leaks when it is an
    exam row, shares a cluster with one, or is its near-duplicate at `threshold` (Jaccard).
    """
    given = pl.concat([imported.filter(pl.col("split") != "train"), _held_cases(cases, task)])
    given = given.unique("id", keep="first", maintain_order=True)
    taught = ~_guarded(given) & given["id"].is_in(candidates["id"].implode())
    same = candidates.join(given.filter(_guarded(given)), on="id", how="semi")
    pool = pl.concat([given.filter(~taught), candidates.join(same, on="id", how="anti")])
    named = name_clusters(pool)
    clusters = assign_clusters(pool, edges, pairs, previous=named)
    parted = assign_splits(
        pool, clusters, task=task, threshold=threshold, test=test, heldout=heldout, report=report
    )
    stays = parted.rows.join(candidates, on="id", how="semi").sort("id")
    moved = stays.filter(pl.col("split") != "train")
    exam = pl.concat([given, moved]).sort("id")
    fates = [
        parted.fates.join(stays.filter(pl.col("split") == "train"), on="id", how="semi"),
        parted.fates.filter(pl.col("fate") == "dropped"),
        make_fates(moved, "not_sampled", reason=pl.lit("held out for ") + moved["split"]),
        make_fates(same, "dropped", reason="leak", into=pl.col("id")),
    ]
    return Exam(
        rows=stays.filter(pl.col("split") == "train"),
        exam=exam.with_columns(guarded=_guarded(exam)),
        fates=pl.concat([FATE_SCHEMA.to_frame(), *fates]).sort("id"),
        clusters=clusters,
        leaks=pl.concat([LEAK_SCHEMA.to_frame(), parted.leaks]),
    )


def name_clusters(rows: pl.DataFrame) -> pl.DataFrame:
    """`CLUSTER_SCHEMA` of domain rows: the cluster that a row's prompt alone puts it in."""
    domain = rows.filter(pl.col("track") == "domain")
    keys = text_keys(domain.select(u=UTTERANCE)["u"])
    names = pl.Series([digest(key) for key in keys], dtype=pl.String)
    return domain.select("id", cluster=names).cast(dict(CLUSTER_SCHEMA))  # type: ignore[arg-type]


def _held_cases(cases: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Bad cases of the held-back half as rows, so that their text is guarded like any exam row."""
    hold = cases.filter(pl.col("half") == "hold")
    return rows_frame(
        make_row(
            dialogue(prompt, gold, system=task.system),
            split="heldout",
            origin="badcase",
            source="bad_cases",
        )
        for prompt, gold in hold.select("prompt", "gold").iter_rows()
    )


def _guarded(rows: pl.DataFrame) -> pl.Series:
    """Test rows, and held-out rows whose prompt belongs to the half that is held back."""
    halves = {i: half_of(name) for i, name in name_clusters(rows).iter_rows()}
    sides = [
        split == "test" or (split == "heldout" and halves.get(i, "hold") == "hold")
        for i, split in rows.select("id", "split").iter_rows()
    ]
    return pl.Series("guarded", sides, dtype=pl.Boolean)
