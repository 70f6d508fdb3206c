"""Pairs: what a version was preferred on after its supervised training, if it was."""

from collections.abc import Collection

import polars as pl

from curation.lineage.views import View, model_view
from curation.pairs import TAUGHT_SCHEMA, TRAINED
from curation.store import Store, Version


def training_pairs(store: Store, recipe: str, name: str) -> pl.DataFrame:
    """`lineage rows --pairs`: the pairs a version was preferred on, `PAIR_SCHEMA` and more, by id.

    Without a preference stage there are none.
    """
    return taught_pairs(model_view(store, recipe, name).steps["adapter"])


def taught_pairs(adapter: Version | None) -> pl.DataFrame:
    """The pairs (`TAUGHT_SCHEMA`) by which an adapter was taught; none where it was not."""
    if adapter is None or "pairs" not in adapter.tables:
        return TAUGHT_SCHEMA.to_frame()
    return adapter.table("pairs").filter(pl.col("part") == TRAINED)


def count_taught(view: View, ids: Collection[str], prompts: Collection[str] = ()) -> int:
    """How many of these pairs are of a bad case or row with one of these ids or prompts."""
    same = pl.col("of").is_in(list(ids)) | pl.col("row_id").is_in(list(ids))
    taught = taught_pairs(view.steps.get("adapter"))
    return taught.filter(same | pl.col("prompt").is_in(list(prompts))).height
