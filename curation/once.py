"""Once in the exam: what was measured on is not trained on when its source withdraws it later.

Digests are remembered and no texts: of every guarded row its `prompt_id`, and of a domain row also
its cluster's name, which its prompt has in any typography.
"""

import polars as pl

from curation.split import name_clusters

ONCE_SCHEMA = pl.Schema({"id": pl.String, "prompt": pl.String, "edition": pl.Int64})
"""A row that was guarded, a digest of its prompt, and the edition of the exam it was guarded in."""

REASON = "once in the exam"
"""Why a row is dropped that gives away none of the exam as it is, but one of an exam before."""


def name_prompts(rows: pl.DataFrame) -> pl.DataFrame:
    """What the prompts of these full rows are remembered by: id and prompt, a line or two a row."""
    clusters = name_clusters(rows).rename({"cluster": "prompt"})
    return pl.concat([rows.select("id", prompt="prompt_id"), clusters])


def remember_prompts(
    once: pl.DataFrame | None, guarded: pl.DataFrame, *, edition: int = 1
) -> pl.DataFrame:
    """What is remembered of this edition (`once`) and these guarded rows: `ONCE_SCHEMA`, sorted.

    A row that is guarded now is remembered as it is now; another edition begins anew. Raises
    `ValueError` for one below 1.
    """
    if edition < 1:
        raise ValueError(f"split.edition is {edition!r}; editions count from 1")
    known = ONCE_SCHEMA.to_frame() if once is None else once.filter(pl.col("edition") == edition)
    now = name_prompts(guarded).with_columns(edition=pl.lit(edition, pl.Int64))
    gone = known.join(now, on="id", how="anti")
    return pl.concat([gone, now]).unique().sort("id", "prompt")


def withdrawn_prompts(once: pl.DataFrame, guarded: pl.DataFrame) -> pl.DataFrame:
    """The remembered prompts (`prompt`, sorted) that none of these rows, guarded now, has."""
    gone = once.select("prompt").join(name_prompts(guarded), on="prompt", how="anti")
    return gone.unique().sort("prompt")
