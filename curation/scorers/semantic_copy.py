"""Scorer `semantic_copy`: how near a row is to a better one that asks the same in other words.

Near repeats share most of their characters and are merged before (`curation.dedup`). This one finds
what says the same otherwise: with a `model` by meaning, and offline by words whatever their order.
"""

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext
from curation.semantic import Comparison, asked_texts, sign_meanings
from curation.vectors import hashed_vectors, model_vectors


@plugin(uses=("task",), compares=True)
def semantic_copy(
    *, similarity: float = 0.95, model: str = "", revision: str = "", rows_per_topic: int = 2_000
) -> Comparison:
    """Cosine (Float64, 0..1) of what people say in a row to the nearest better row that stays.

    `model` is a hub id or a local folder of an encoder. Rows whose answers name no slots are
    compared within topics, as many as it takes for `rows_per_topic` of the first rows in each.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"semantic_copy: similarity is {similarity!r}, not a cosine in 0..1")
    if rows_per_topic < 1:
        raise ValueError(f"semantic_copy: rows_per_topic is {rows_per_topic!r}; at least 1")

    def sign(rows: pl.DataFrame, context: ScoreContext) -> pl.DataFrame:
        said = asked_texts(rows, context.templates)
        if model:
            options = {"model": model, "revision": revision, "report": context.report}
            vectors = model_vectors(said["text"].to_list(), **options)
        else:
            vectors = hashed_vectors(said["key"])
        says = sign_meanings(rows, context.task, context.templates)
        return rows.select("id", says=says, vector=vectors)

    return Comparison(sign, similarity, rows_per_topic)
