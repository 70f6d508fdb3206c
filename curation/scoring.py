"""Scoring: a scorer's numbers become facts, one per row, and facts become columns again.

A fact holds a finite number or none: NaN would win every comparison later on. A row that has its
fact is never measured again, so a growing pool costs only its new rows.
"""

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from curation.llm import CallsStopped
from curation.scorers._base import CannotScore, ScoreContext, Scorer

FACT_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "value": pl.Float64,  # 1.0 and 0.0 for yes and no; null unless the status is ok
        "status": pl.String,  # ok | missing, unfitted (null) | error (raised, NaN, infinity)
        "kind": pl.String,  # number | flag: what the scorer gave; "" where it failed on the row
    }
)


def take_reference(
    rows: pl.DataFrame, frozen: pl.DataFrame | None = None, *, edition: int = 1
) -> pl.DataFrame:
    """The rows that scorers learn good text from: those frozen earlier, else the training rows.

    Following every new row would change every score with every delivery; so a reference stays as
    it is until `edition` is raised, which an earlier `frozen` one does not outlive.
    """
    if edition < 1:
        raise ValueError(f"reference.edition is {edition!r}; editions count from 1")
    return rows.filter(pl.col("split") == "train") if frozen is None else frozen


def score_rows(rows: pl.DataFrame, scorer: Scorer, context: ScoreContext) -> pl.DataFrame:
    """Facts of `FACT_SCHEMA` for exactly these rows, sorted by id.

    A scorer that raises is asked again for ever smaller parts, so that only the row it cannot bear
    goes without a score. Where it fails on more than a tenth of the rows the fault is its own, and
    its error is raised; so it is at once where no part would mend it, such as a missing model.
    Raises `ValueError` when its series has another length or type.
    """
    if rows.is_empty():
        return FACT_SCHEMA.to_frame()
    failed: list[str] = []
    parts = list(_score_parts(rows, scorer, context, failed, max(3, rows.height // 10)))
    for line in failed:
        context.report(line)
    return pl.concat(parts).sort("id")


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


def failed_scores(facts: Mapping[str, pl.DataFrame], names: Iterable[str]) -> pl.DataFrame:
    """Rows that one of these scorers could not measure: id and scorer, the first by name."""
    failed = [
        facts[name].filter(pl.col("status") == "error").select("id", scorer=pl.lit(name))
        for name in sorted(set(names) & facts.keys())
    ]
    none = pl.DataFrame(schema={"id": pl.String, "scorer": pl.String})
    return pl.concat([none, *failed]).unique("id", keep="first", maintain_order=True)


def _score_parts(
    rows: pl.DataFrame, scorer: Scorer, context: ScoreContext, failed: list[str], allowed: int
) -> Iterator[pl.DataFrame]:
    """Facts of the rows in parts, halved wherever the scorer raises; `failed` gets a line a row."""
    try:
        yield _facts(rows, scorer(rows, context))
        return
    except (CannotScore, CallsStopped, OSError):  # smaller parts would only ask the same again
        raise
    except Exception as error:
        if rows.height == 1 and len(failed) >= allowed:
            raise
        if rows.height == 1:
            failed.append(f"row {rows['id'][0]} has no score: {type(error).__name__}: {error}")
            yield _failed(rows)
            return
    middle = rows.height // 2
    for part in (rows[:middle], rows[middle:]):
        yield from _score_parts(part, scorer, context, failed, allowed)


def _failed(rows: pl.DataFrame) -> pl.DataFrame:
    """The fact that a row could not be measured; of no kind, so that a column keeps its own."""
    return rows.select(
        "id", value=pl.lit(None, pl.Float64), status=pl.lit("error"), kind=pl.lit("")
    )


def _facts(rows: pl.DataFrame, scores: pl.Series) -> pl.DataFrame:
    if len(scores) != rows.height or scores.dtype not in (pl.Float64, pl.Boolean):
        raise CannotScore(
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
    flags = "flag" in facts["kind"]
    return pl.col("value").cast(pl.Boolean) if flags else pl.col("value")
