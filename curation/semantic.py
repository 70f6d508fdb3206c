"""Semantic copies: rows that ask the same as a better one in other words.

What two rows ask is as near as their vectors are (`curation.vectors`). Only rows of one split and
track are compared whose labels agree: the canonical answer where there is one, and where it does
not prove what is asked, the numbers, negations and opposites of the prompt. To compare few, rows
are put into topics (SemDeDup, Abbas et al., 2023) and compared within their own; two that are near
may lie on either side of a border. Of 20,000 templated or random texts, half of them reworded,
10 topics of hashed vectors find 90 to 95 of 100 of the copies that one topic finds at .95, and
86 to 87 at .8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.dedup import ORIGINS, text_rows
from curation.rows import digest
from curation.scorers._base import ScoreContext
from curation.tasks._base import Task, names_slots
from curation.templates import cut_templates
from curation.text import meaning_marks, text_keys
from curation.vectors import pack_vectors, quantise, unpack_vectors

COPY_SCHEMA = pl.Schema({"id": pl.String, "value": pl.Float64, "into": pl.String})
GROUP = ("split", "track", "says", "topic")
"""Rows that agree in these are compared."""
PER_TOPIC = 64
"""Rows of a topic that are enough to find its middle."""
_ROUNDS = 10
_AT_ONCE = 512


@dataclass(frozen=True)
class Comparison:
    """What a scorer is that compares rows: work on each row alone, and how to compare then.

    `sign` gives id, `says` (UInt64) and `vector` of each row (`sign_meanings`, `curation.vectors`).
    """

    sign: Callable[[pl.DataFrame, ScoreContext], pl.DataFrame]
    similarity: float
    rows_per_topic: int


def asked_texts(rows: pl.DataFrame, templates: Sequence[str] = ()) -> pl.DataFrame:
    """All that the user says in each row as `text`, turns apart by newlines, and its text `key`.

    Of a prompt made by one of the templates both are the key of what fills it.
    """
    field = pl.element().struct.field
    turns = pl.col("messages").list.eval(field("content").filter(field("role") == "user"))
    said = rows.select(text=turns.list.join("\n"))["text"]
    cut = cut_templates(text_keys(said), templates)
    whole = pl.when(pl.col("template") == "").then(said)
    return cut.select(text=whole.otherwise("rest"), key="rest")


def sign_meanings(
    rows: pl.DataFrame, task: Task | None, templates: Sequence[str] = ()
) -> pl.Series:
    """Sixty-four bits of what rows must have in common to be compared besides split and track."""
    texts = text_rows(rows, task, templates=templates)
    texts = texts.select("context", "prompt", "answer", "labelled", "certain")
    said = [
        [context, answer if labelled else "", "" if certain else meaning_marks(prompt)]
        for context, prompt, answer, labelled, certain in texts.iter_rows()
    ]
    return pl.Series("says", [int(digest(one)[:16], 16) for one in said], dtype=pl.UInt64)


def needs_topic(task: Task) -> pl.Expr:
    """Rows whose answers name no slots; of the others few enough have the same answer."""
    return (pl.col("track") != "domain") | pl.lit(not names_slots(task))


def fit_topics(vectors: pl.Series, *, topics: int) -> pl.DataFrame:
    """Centroids of so many topics, or as many as there are vectors: `topic` (Int64) and `vector`.

    Spherical k-means (Dhillon and Modha, 2001) from the first vectors on. All sums are of whole
    numbers, so the same vectors give the same centroids on every machine.
    """
    import numpy as np

    known = unpack_vectors(vectors.drop_nulls()) if vectors.count() else np.zeros((0, 1), np.int16)
    centroids = known[:topics]
    for _ in range(_ROUNDS if len(known) else 0):
        nearest, sums = _nearest(known, centroids), np.zeros(centroids.shape, np.int64)
        np.add.at(sums, nearest, known)
        counts = np.bincount(nearest, minlength=len(centroids))[:, None]
        moved = quantise(np.rint(sums / np.maximum(counts, 1)))
        moved = np.where(moved.any(axis=1, keepdims=True), moved, centroids)
        if (moved == centroids).all():
            break
        centroids = moved
    return pl.DataFrame({"vector": pack_vectors(centroids)}).with_columns(
        topic=pl.int_range(len(centroids))
    )


def assign_topics(vectors: pl.Series, centroids: pl.DataFrame) -> pl.Series:
    """The topic whose centroid is nearest to each vector; null where there is no vector."""
    import numpy as np

    found = np.zeros(len(vectors), np.int64)
    there = vectors.is_not_null()
    if there.any() and centroids.height:
        middles = unpack_vectors(centroids.sort("topic")["vector"])
        found[there.to_numpy()] = _nearest(unpack_vectors(vectors.drop_nulls()), middles)
    return pl.select(topic=pl.when(there).then(pl.Series(found))).to_series()


def semantic_copies(rows: pl.DataFrame, *, similarity: float) -> pl.DataFrame:
    """How near each row is to the nearest better one that stays: `COPY_SCHEMA`, sorted by id.

    `rows` have id, origin, vector and the columns of `GROUP`. They are taken in the order of their
    rank (`dedup.ORIGINS`, then id). One whose cosine to a row that stays is at least `similarity`,
    rounded to 4 digits, does not stay itself and has it in `into`; so no row goes but for one that
    stays, and no chain of near pairs pulls rows together that differ. The value is 0 where there is
    no vector or nothing better to compare with. Raises `ValueError` for a similarity that is none.
    """
    import numpy as np

    if not 0 < similarity <= 1:
        raise ValueError(f"similarity is {similarity!r}, not a cosine in 0..1")
    places = {name: i for i, name in enumerate(ORIGINS)}
    origin = pl.col("origin").replace("human", "import").replace_strict(places, default=99)
    ranked = rows.sort(origin, "id")
    busy = ranked.filter(pl.col("vector").is_not_null() & (pl.len().over(GROUP) > 1))
    value, into = np.zeros(busy.height), np.full(busy.height, -1)
    if busy.height:
        vectors = unpack_vectors(busy["vector"])
        groups = busy.select(*GROUP, place=pl.int_range(pl.len())).group_by(GROUP).agg("place")
        for group in groups["place"]:
            at = group.to_numpy()
            value[at], best = _compare(vectors[at], similarity)
            into[at] = np.where(value[at] >= similarity, at[best], -1)
    found = busy.select("id", value=pl.Series(value), place=pl.Series(into))
    found = found.with_columns(into=busy["id"].gather(found["place"].replace(-1, None)))
    rest = rows.select("id").join(found, on="id", how="left", maintain_order="left")
    filled = rest.with_columns(pl.col("value").fill_null(0.0), pl.col("into").fill_null(""))
    return filled.select(COPY_SCHEMA.names()).sort("id")


def _compare(vectors: Any, similarity: float) -> tuple[Any, Any]:
    """Of each vector, the best first: the cosine to the nearest that stays before it, and which."""
    import numpy as np

    whole = vectors.astype(np.float32)
    lengths = np.sqrt((whole.astype(np.float64) ** 2).sum(axis=1))
    value, best = np.zeros(len(whole)), np.zeros(len(whole), np.int64)
    stays = np.ones(len(whole), np.bool_)
    for start in range(0, len(whole), _AT_ONCE):
        end = min(start + _AT_ONCE, len(whole))
        against = np.concatenate([np.flatnonzero(stays[:start]), np.arange(start, end)])
        cosines = (whole[start:end] @ whole[against].T).astype(np.float64)
        cosines /= lengths[start:end, None] * lengths[against]
        for row, before in enumerate(range(len(against) - (end - start), len(against))):
            if before:
                nearest = cosines[row, :before].argmax()
                best[start + row] = against[nearest]
                value[start + row] = max(0.0, round(float(cosines[row, nearest]), 4))
            if value[start + row] >= similarity:
                stays[start + row] = False
                cosines[:, before] = -1.0
    return value, best


def _nearest(vectors: Any, centroids: Any) -> Any:
    """Place of the nearest centroid of each vector, the first of equally near ones."""
    import numpy as np

    turned = centroids.astype(np.float32).T
    parts = (vectors[at : at + 4_096] for at in range(0, len(vectors), 4_096))
    found = [(part.astype(np.float32) @ turned).argmax(axis=1) for part in parts]
    return np.concatenate(found)
