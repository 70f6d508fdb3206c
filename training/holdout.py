"""Rows that a run looks at and does not train on, to see when it has learned enough.

They are drawn from the training set itself: the exam may not choose a checkpoint it judges later.
"""

import polars as pl

from curation.rows import digest

LEAST = 8
"""Rows of a track below which nothing is held out of it: their loss would say nothing."""


def hold_out(rows: pl.DataFrame, *, share: float, seed: int = 0) -> pl.DataFrame:
    """Ids of about `share` (0..1) of the rows of each track, as a frame of `id` and `track`.

    Rows of one `cluster` (a column of the rows; without it those of one `prompt_id`) stay together,
    so that no sibling of a row that is looked at is trained on. Which they are follows from their
    names and the seed alone. Of a track that would give fewer than `LEAST` rows none is taken.
    """
    family = "cluster" if "cluster" in rows.columns else "prompt_id"
    named = rows.select("id", "track", pl.coalesce(family, "id").alias("family")).unique("id")
    draws = {name: _draw(name, seed) for name in named["family"].unique()}
    chosen = pl.col("family").replace_strict(draws, return_dtype=pl.Float64) < share
    taken = named.filter(chosen)
    enough = taken.group_by("track").len().filter(pl.col("len") >= LEAST)
    return taken.join(enough, on="track", how="semi").select("id", "track").sort("id")


def _draw(name: str, seed: int) -> float:
    """A number in 0..1 that is the same for a name wherever it is asked."""
    return int(digest(["holdout", seed, name])[:13], 16) / 16**13
