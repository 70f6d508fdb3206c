"""Scoring: a scorer's numbers become facts, one per row, and facts become columns again.

A fact holds a finite number or none: NaN would win every comparison later on. A row that has its
fact is never measured again, so a growing pool costs only its new rows.
"""

from collections.abc import Mapping

import polars as pl

from curation.scorers._base import ScoreContext, Scorer

FACT_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "value": pl.Float64,  # 1.0 and 0.0 for yes and no; null unless the status is ok
        "status": pl.String,  # ok | missing (the scorer gave null) | error (NaN or infinity)
        "kind": pl.String,  # number | flag: what the scorer gave, Float64 or Boolean
    }
)


def score_rows(
    rows: pl.DataFrame,
    scorer: Scorer,
    context: ScoreContext,
    *,
    previous: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Facts of `FACT_SCHEMA` for exactly these rows, sorted by id.

    Rows with a fact in `previous` keep it, whatever its status; `context.report` hears how many
    were measured. Raises `ValueError` when the scorer's series has another length or type.
    """
    known = FACT_SCHEMA.to_frame() if previous is None else previous
    known = known.join(rows, on="id", how="semi")
    new = rows.join(known, on="id", how="anti", maintain_order="left")
    context.report(f"measured {new.height:,} rows, {known.height:,} had their score")
    made = _facts(new, scorer(new, context)) if new.height else FACT_SCHEMA.to_frame()
    return pl.concat([known.select(FACT_SCHEMA.names()), made]).sort("id")


def join_facts(rows: pl.DataFrame, facts: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The rows with one column a scorer: Boolean for flags, Float64 for numbers, null for none.

    Raises `ValueError` for a scorer that is named like a column of the rows.
    """
    for name, values in facts.items():
        if name in rows.columns:
            raise ValueError(f"the scorer {name!r} is named like a column of the rows; rename it")
        column = values.select("id", _column(values).alias(name))
        rows = rows.join(column, on="id", how="left", maintain_order="left")
    return rows


def _facts(rows: pl.DataFrame, scores: pl.Series) -> pl.DataFrame:
    if len(scores) != rows.height or scores.dtype not in (pl.Float64, pl.Boolean):
        raise ValueError(
            f"a scorer gave {len(scores):,} values of type {scores.dtype} for {rows.height:,} "
            "rows; it must give one Float64 or Boolean for each"
        )
    value = pl.col("value")
    status = pl.when(value.is_null()).then(pl.lit("missing"))
    return rows.select(
        "id",
        value=scores.cast(pl.Float64),
        kind=pl.lit("flag" if scores.dtype == pl.Boolean else "number"),
    ).select(
        "id",
        pl.when(value.is_finite()).then(value).alias("value"),
        status.when(value.is_finite())
        .then(pl.lit("ok"))
        .otherwise(pl.lit("error"))
        .alias("status"),
        "kind",
    )


def _column(facts: pl.DataFrame) -> pl.Expr:
    """The values in the scorer's own type; of no type at all when there are no facts."""
    if facts.is_empty():
        return pl.col("value").cast(pl.Null)
    flags = facts["kind"][0] == "flag"
    return pl.col("value").cast(pl.Boolean) if flags else pl.col("value")
