"""Gains: whether the rows that were made against an error type have taught the model anything.

The held cases of a type are asked by every model version and never taught. Where two versions were
taught the type one after the other, and neither answers more of its held cases right than the one
before them, more rows of the same kind would be bought for nothing.
"""

from collections.abc import Iterable

import polars as pl

from curation.lineage.views import View, view_of
from curation.registry import registered
from curation.store import Store

ROUNDS = 2
_ENOUGH = 5
"""Held cases, asked by all versions, below which a type is not judged."""


def find_stalled(store: Store, recipe: str, cases: pl.DataFrame, types: pl.DataFrame) -> list[str]:
    """Signatures of the types that the newest two model versions were taught and gained nothing by.

    `cases` are of `BAD_CASE_SCHEMA`, `types` of `TYPE_SCHEMA`. Sorted; [] before the third version.
    """
    entries = registered(store, recipe)[-ROUNDS - 1 :]
    if len(entries) <= ROUNDS or types.is_empty():
        return []
    views = [view_of(store, recipe, entry) for entry in entries]
    members = types.select("signature", id="cases").explode("id")
    known = members.join(cases.select("id", "half", "row_id"), on="id")
    told = known.filter(half="hold").select("signature", id="row_id").unique()
    for number, view in enumerate(views):
        told = told.join(_answers(view).rename({"exact": f"v{number}"}), on="id")
    asked = told.group_by("signature").agg(pl.len(), pl.col("^v[0-9]+$").sum())
    before, *after = (f"v{number}" for number in range(len(views)))
    stood = pl.max_horizontal(after) <= pl.col(before)
    judged = asked.filter(stood & (pl.col("len") >= _ENOUGH))["signature"]
    return sorted({*judged}.intersection(*(_taught(view, known) for view in views[1:])))


def _answers(view: View) -> pl.DataFrame:
    """Of each row that the version was asked, `id` and whether its answer was `exact`."""
    asked = view.steps["evaluation"].table("rows", ["id", "arm", "exact"])
    return asked.filter(arm="candidate").select("id", "exact").unique("id")


def _taught(view: View, known: pl.DataFrame) -> Iterable[str]:
    """The types of which the version had cases to learn from."""
    seen = view.steps["bad_cases"].table("rows", ["id"])["id"]
    learnt = known.filter((pl.col("half") == "learn") & pl.col("id").is_in(seen.implode()))
    return {*learnt["signature"]}
