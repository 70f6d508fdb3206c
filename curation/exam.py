"""The exam: which rows are only ever measured on, and which training rows would give them away.

Clusters are named by their prompt's content, so a row's side depends on what it says and never on
what else was delivered or when: a row once held out stays held out as long as its source brings it.
What was guarded and is withdrawn is remembered (`curation/once.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.fates import keep_rows, make_fates
from curation.once import REASON, remember_prompts, withdrawn_prompts
from curation.progress import Report, silent
from curation.rows import EDGE_SCHEMA, ROW_SCHEMA
from curation.split import (
    CLUSTER_SCHEMA,
    assign_clusters,
    assign_splits,
    drop_leaks,
    name_clusters,
    protected_rows,
)
from curation.tasks._base import Task


@dataclass(frozen=True)
class Exam:
    """`rows` may be trained on, `exam` (test and held-out) may not; `fates` cover the candidates.

    `train` are the candidates that are not held out. `exam` has the Boolean column `guarded`, false
    for held-out rows of the half to learn from, and `clusters` says which rows stem from one
    another or say the same. `once` (`ONCE_SCHEMA`) is what to remember when it is set again, and
    `withdrawn` (prompt) what of it is guarded no more.
    """

    train: pl.DataFrame
    exam: pl.DataFrame
    fates: pl.DataFrame
    clusters: pl.DataFrame
    once: pl.DataFrame
    withdrawn: pl.DataFrame

    @property
    def rows(self) -> pl.DataFrame:
        """The candidates that may be trained on."""
        return keep_rows(self.train, self.fates)


def set_exam(
    candidates: pl.DataFrame,
    imported: pl.DataFrame,
    cases: pl.DataFrame,
    edges: pl.DataFrame,
    pairs: pl.DataFrame,
    once: pl.DataFrame | None = None,
    *,
    task: Task,
    test: float = 0.0,
    heldout: float = 0.0,
    threshold: float = 0.8,
    edition: int = 1,
    templates: Sequence[str] = (),
    alike: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    read: Callable[[pl.Series], pl.DataFrame] | None = None,
    report: Report = silent,
) -> Exam:
    """Part training candidates from the exam.

    Rows have the split their source gave them; `test` and `heldout` (shares, 0..1) hold out further
    imported domain clusters, for projects with one file of rows. A candidate leaks when it is an
    exam row, shares a cluster with one, or is its near-duplicate at `threshold` (Jaccard), of whose
    prompt the `templates` are no part (`find_duplicates`). With
    `alike` and `read` (as in `find_leaks`) the rows may lack their texts, and so do those that come
    back; the exam has them. Of imported rows `id`, `split` and `track` are needed then, and those
    that are general and to train may be left out.

    With `once`, of the exam before, a candidate is also dropped when it shares a cluster with a
    prompt that was guarded in this `edition` and is no more, or has that very prompt. Only what was
    delivered says so: a row that repeats another, or was rejected, guards its prompt as before.
    """
    read = read or _reader(imported, candidates)
    asked = (pl.col("track") == "domain") | (pl.col("split") != "train")
    full = read(pl.concat(r.filter(asked)["id"] for r in (imported, candidates)).unique())
    named = name_clusters(full)
    placed = assign_splits(candidates, named, test=test, heldout=heldout)
    moved, train = (placed.filter((pl.col("split") == "train") == side) for side in (False, True))
    tested = imported.filter(pl.col("split") != "train")
    given = _with_split(full, pl.concat([f.select("id", "split") for f in (tested, moved)]))
    guarded = protected_rows(given, cases, task=task)
    exam = pl.concat([given, guarded]).unique("id", keep="first", maintain_order=True).sort("id")
    delivered = assign_splits(full, named, test=test, heldout=heldout)
    delivered = protected_rows(delivered.filter(pl.col("split") != "train"), cases, task=task)
    known = remember_prompts(once, delivered, edition=edition)
    withdrawn = withdrawn_prompts(known, delivered)
    lineage = _without_leaks(edges, named, guarded["id"])
    clusters = assign_clusters(named.select("id"), lineage, pairs, previous=named)
    fates = drop_leaks(
        train,
        exam,
        clusters,
        cases,
        task=task,
        threshold=threshold,
        templates=templates,
        alike=alike,
        read=read,
        report=report,
    )
    again = _with_prompts(withdrawn, candidates, named)
    if again.len():
        apart = _without_leaks(lineage, named, again)
        apart = assign_clusters(named.select("id"), apart, pairs, previous=named)
        fates = _drop_again(train, fates, apart, again)
    held = make_fates(moved, "not_sampled", reason="held out for " + pl.col("split"))
    return Exam(
        train=train,
        exam=exam.with_columns(guarded=pl.col("id").is_in(guarded["id"].implode())),
        fates=pl.concat([fates, held]).sort("id"),
        clusters=clusters,
        once=known,
        withdrawn=withdrawn,
    )


def keep_exam(
    exam: pl.DataFrame,
    clusters: pl.DataFrame,
    once: pl.DataFrame,
    withdrawn: pl.DataFrame,
    candidates: pl.DataFrame,
    cases: pl.DataFrame,
    pairs: pl.DataFrame,
    *,
    examined: pl.Series,
    task: Task,
    threshold: float = 0.8,
    templates: Sequence[str] = (),
    alike: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    read: Callable[[pl.Series], pl.DataFrame] | None = None,
    report: Report = silent,
) -> Exam:
    """What `set_exam` gives for other candidates than before, where it would set the same exam.

    `exam`, `clusters`, `once` and `withdrawn` are those of then. `examined` are the ids of the rows
    that the exam is set from and of all that stems from one another; no candidate is one, and none
    of `pairs` joins one to another row.
    """
    of_exam, none = pl.col("id").is_in(examined.implode()), EDGE_SCHEMA.to_frame()
    others = assign_clusters(CLUSTER_SCHEMA.to_frame(), none, pairs.filter(~of_exam))
    clusters = pl.concat([clusters.filter(of_exam), others]).sort("id")
    options: dict[str, Any] = {"task": task, "threshold": threshold, "templates": templates}
    options["report"] = report
    fates = drop_leaks(candidates, exam, clusters, cases, alike=alike, read=read, **options)
    again = _with_prompts(withdrawn, candidates, CLUSTER_SCHEMA.to_frame())
    fates = _drop_again(candidates, fates, clusters, again)
    return Exam(candidates, exam, fates, clusters, once, withdrawn)


def _reader(*frames: pl.DataFrame) -> Callable[[pl.Series], pl.DataFrame]:
    """The full rows of some ids, of the first frame that has each."""

    def read(ids: pl.Series) -> pl.DataFrame:
        found = [rows.join(ids.to_frame("id"), on="id", how="semi") for rows in frames]
        return pl.concat(found).unique("id", keep="first", maintain_order=True)

    return read


def _with_split(rows: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    """The full rows, with the split they were given here."""
    rows = rows.drop("split")
    return rows.join(placed.select("id", "split"), on="id").select(ROW_SCHEMA.names())


def _with_prompts(
    prompts: pl.DataFrame, candidates: pl.DataFrame, named: pl.DataFrame
) -> pl.Series:
    """Ids of candidates and `named` rows that have one of these prompts."""
    theirs = [candidates.select("id", prompt="prompt_id"), named.select("id", prompt="cluster")]
    return pl.concat(theirs).join(prompts, on="prompt", how="semi")["id"].unique()


def _drop_again(
    train: pl.DataFrame, fates: pl.DataFrame, clusters: pl.DataFrame, again: pl.Series
) -> pl.DataFrame:
    """The fates, where what shares a cluster with one of `again`, or is one, is kept no more."""
    theirs = clusters.filter(pl.col("id").is_in(again.implode()))
    related = pl.concat([again, clusters.join(theirs, on="cluster", how="semi")["id"]])
    gone = keep_rows(train.filter(pl.col("id").is_in(related.implode())), fates)
    others = fates.filter(~pl.col("id").is_in(gone["id"].implode()))
    return pl.concat([others, make_fates(gone, "dropped", reason=REASON)]).sort("id")


def _without_leaks(edges: pl.DataFrame, named: pl.DataFrame, exam: pl.Series) -> pl.DataFrame:
    """Edges but for those to a child that has itself a prompt of the exam, now or once.

    It leaks, its parent not.
    """
    asked = named.filter(pl.col("id").is_in(exam.implode()))
    leaking = named.join(asked, on="cluster", how="semi")
    return edges.join(leaking, left_on="child", right_on="id", how="anti")
