"""What is asked of reviewers, read from a store: rows that may be trained on, and what is known."""

from collections.abc import Iterable, Sequence

import polars as pl

from curation.conflicts import REJECTED
from curation.dedup import CONFLICT_SCHEMA
from curation.lineage.views import View, model_views
from curation.review_queue import Material
from curation.review_samples import GROUP_SCHEMA
from curation.rules import find_thresholds


def read_material(view: View, keep: Sequence[str]) -> Material:
    """What a review queue is made from, in the newest versions of the steps.

    `keep` are the recipe's rules. Steps that were not built yet take no row out.
    """
    rows = _candidates(view)
    groups = _error_types(view).join(rows, on="id", how="right", maintain_order="right")
    source = pl.concat_str(pl.lit("source "), "source")
    rows = groups.with_columns(
        group=pl.coalesce("signature", source),
        new=pl.col("signature").is_in(_new_types(view)).fill_null(False),
        kept=~pl.col("id").is_in(_taken_out(view).implode()),
    )
    duplicates = view.steps.get("duplicates")
    conflicts = duplicates.table("conflicts") if duplicates else CONFLICT_SCHEMA.to_frame()
    scores = _scores(view, keep)
    return Material(rows.select(GROUP_SCHEMA.names()).sort("id"), scores, tuple(keep), conflicts)


def _candidates(view: View) -> pl.DataFrame:
    """id and source of the rows to train on: not merged into others, and not held out."""
    found = [pl.DataFrame(schema={"id": pl.String, "source": pl.String})]
    for name in ("rows", "augmented_rows"):
        if step := view.steps.get(name):
            train = pl.col("split") == "train"
            held = ("rows", *(["waiting"] if "waiting" in step.tables else []))
            found += [step.table(table, ["id", "source"], where=train) for table in held]
    rows = pl.concat(found).unique("id", keep="first", maintain_order=True)
    for name in ("duplicates", "split_rows"):
        if step := view.steps.get(name):
            fates = step.table("fates", ["id", "fate", "reason"])
            gone = fates.filter((pl.col("fate") != "kept") & (pl.col("reason") != REJECTED))
            rows = rows.join(gone, on="id", how="anti", maintain_order="left")
    return rows


def _taken_out(view: View) -> pl.Series:
    """Ids of the rows that a rule takes out, or that no score can be had of."""
    step = view.steps.get("kept_rows")
    if step is None:
        return pl.Series("id", [], dtype=pl.String)
    fates = step.table("fates", ["id", "fate"])
    return fates.filter(pl.col("fate") != "kept")["id"]


def _error_types(view: View) -> pl.DataFrame:
    """`signature`: the error type that a row was made for, by its id."""
    if not {"augmented_rows", "bad_cases", "error_types"} <= view.steps.keys():
        return pl.DataFrame(schema={"id": pl.String, "signature": pl.String})
    edges = view.steps["augmented_rows"].table("edges", ["child", "parent"])
    types = view.steps["error_types"].table("rows", ["signature", "cases"]).explode("cases")
    cases = view.steps["bad_cases"].table("rows", ["id", "row_id"])
    cases = cases.join(types.rename({"cases": "id"}), on="id")
    parents = pl.concat(
        cases.select("signature", parent=name).cast(pl.String) for name in ("id", "row_id")
    )
    types = edges.join(parents, on="parent").group_by(id="child").agg(pl.col("signature").min())
    return types


def _new_types(view: View) -> list[str]:
    """The error types of today that no earlier model was made for."""
    head = view.steps.get("error_types")
    if head is None:
        return []
    before: set[str] = set()
    for model in model_views(view.store, view.recipe):
        step = model.steps.get("error_types")
        if step and step.key != head.key:
            before |= {*step.table("rows", ["signature"])["signature"]}
    return sorted({*head.table("rows", ["signature"])["signature"]} - before)


def _scores(view: View, keep: Iterable[str]) -> pl.DataFrame:
    """id and, of the columns that the rules compare with numbers, those that were measured."""
    kept_rows, rows = view.steps.get("kept_rows"), view.steps.get("split_rows")
    if kept_rows is None or rows is None:
        return pl.DataFrame(schema={"id": pl.String})
    named = {column for rule in keep for column, _ in find_thresholds(rule)}
    scored = [c for c in kept_rows.tables["scores"]["columns"] if c in named and c != "id"]
    plain = [c for c in rows.tables["rows"]["columns"] if c in named - {*scored} and c != "id"]
    scores = kept_rows.table("scores", ["id", *scored])
    if plain:
        scores = scores.join(rows.table("rows", ["id", *plain]), on="id", how="left")
    return scores
