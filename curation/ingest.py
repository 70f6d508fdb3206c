"""From delivered records to rows, with one outcome for every record.

A record ends as `new` (it became a row), `duplicate` (its text is a row already) or `quarantined`
with its reason and position. Nothing raises for bad data and nothing disappears: the counts add up
for every source, before and after sources are merged.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import polars as pl

from curation.formats import check_columns, read_record
from curation.json_text import printable
from curation.progress import Report, silent
from curation.rows import OCCURRENCE_SCHEMA, ROW_SCHEMA, canonical_json, make_row
from curation.sources._base import Record

_RAW_CHARS = 2000


@dataclass(frozen=True)
class Ingested:
    """Rows of `ROW_SCHEMA`, one per id and sorted by it, and an occurrence for each record."""

    rows: pl.DataFrame
    occurrences: pl.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """`delivered`, `new`, `duplicate` and `quarantined`; the first is the sum of the others."""
        outcome = self.occurrences["outcome"]
        parts = {name: int((outcome == name).sum()) for name in ("new", "duplicate", "quarantined")}
        return {"delivered": len(outcome), **parts}


def read_source(
    records: Iterable[Record],
    *,
    source: str,
    revision: str = "",
    track: Literal["domain", "general"] = "domain",
    split: Literal["train", "heldout", "test"] = "train",
    license: str = "",
    category: str = "",
    form: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_answer"] = "auto",
    columns: dict[str, str] | None = None,
    template: str = "",
    max_rows: int | None = None,
    system: str | None = None,
    report: Report = silent,
) -> Ingested:
    """Rows and occurrences of one source; reading stops after `max_rows` delivered records.

    `system` becomes the system message of records without one. `form`, `columns` and `template` are
    those of `formats.read_record`. A record's own text under `category` or `difficulty` goes before
    the source's. Raises `ValueError` for unknown parts in `columns`, never for a record.
    """
    check_columns(columns)
    conversion = {"form": form, "columns": columns, "template": template, "system": system or ""}
    labels = {"source": source, "revision": revision, "track": track, "split": split}
    labels |= {"license": license, "category": category}
    rows: dict[str, dict[str, Any]] = {}
    occurrences: list[tuple[str, ...]] = []
    said = time.monotonic()
    for record in islice(records, max_rows):
        row, reason = _row(record, conversion, labels)
        outcome = "quarantined" if reason else "duplicate" if row["id"] in rows else "new"
        if outcome == "new":
            rows[row["id"]] = row
        kept_raw = _raw(record) if reason else ""
        position = printable(record.position)
        found = (source, revision, position, outcome, row.get("id", ""), reason, kept_raw)
        occurrences.append(found)
        if time.monotonic() - said > 2:
            said = time.monotonic()
            report(f"{source}: {len(occurrences):,} records read")
    ingested = Ingested(
        pl.DataFrame(list(rows.values()), schema=ROW_SCHEMA).sort("id"),
        pl.DataFrame(occurrences, schema=OCCURRENCE_SCHEMA, orient="row"),
    )
    _prove(ingested)
    report(f"{source}: {count_line(ingested.counts)}")
    return ingested


def merge_sources(parts: Sequence[Ingested]) -> Ingested:
    """All sources as one: a row delivered by several stays once and keeps every occurrence.

    Which source's labels stay does not depend on the order of `parts`: a test row stays a test row,
    then a row delivered for training goes before held-out traffic (so a corrected bad case can be
    learned), then domain before general, then the source's name. Occurrences of the other sources
    become duplicates. Raises `ValueError` when two parts carry the same source.
    """
    _check_names(parts)
    rows = pl.concat([pl.DataFrame(schema=ROW_SCHEMA), *(p.rows for p in parts)])
    order = [_rank("split", "test", "train", "heldout"), _rank("track", "domain", "general")]
    rows = rows.sort(*order, "source", "revision").unique("id", keep="first", maintain_order=True)
    occurrences = pl.concat(
        [pl.DataFrame(schema=OCCURRENCE_SCHEMA), *(p.occurrences for p in parts)]
    )
    occurrences = _with_one_new(occurrences, rows).sort("source", maintain_order=True)
    merged = Ingested(rows.sort("id"), occurrences)
    _prove(merged)
    return merged


def count_line(counts: Mapping[str, int]) -> str:
    """`"12 records = 9 new + 2 duplicate + 1 quarantined"`."""
    parts = " + ".join(f"{counts[k]:,} {k}" for k in ("new", "duplicate", "quarantined"))
    return f"{counts['delivered']:,} records = {parts}"


def _row(
    record: Record, conversion: Mapping[str, Any], labels: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """The record as a row, or `{}` and why it cannot be one."""
    if record.data is None:
        return {}, printable(record.error) or "the source gave no data and no reason"
    try:
        parts = read_record(record.data, **conversion)
        own = {k: record.data.get(k) for k in ("category", "difficulty")}
        own = {k: v for k, v in own.items() if isinstance(v, str) and v}
        given: dict[str, Any] = parts | dict(labels) | own
        row = make_row(given.pop("messages"), **given)
        "".join([row["meta"], *own.values()]).encode()  # a lone surrogate cannot be stored
    except ValueError as error:
        reason = "text that UTF-8 cannot hold" if isinstance(error, UnicodeError) else str(error)
        return {}, printable(reason)
    except Exception as error:  # whatever a record provokes costs that record and is written down
        return {}, printable(f"{type(error).__name__}: {error}"[:300])
    return row, ""


def _raw(record: Record) -> str:
    if record.data is None:
        return printable(record.raw[:_RAW_CHARS])
    try:
        return printable(canonical_json(record.data)[:_RAW_CHARS])
    except (TypeError, ValueError, RecursionError):
        return printable(repr(record.data)[:_RAW_CHARS])


def _check_names(parts: Sequence[Ingested]) -> None:
    names = [n for p in parts for n in p.occurrences["source"].unique().to_list()]
    if twice := next((n for n in sorted(names) if names.count(n) > 1), None):
        raise ValueError(f"two sources are called {twice!r}; every source needs its own name")


def _rank(column: str, *order: str) -> pl.Expr:
    ranks = {name: rank for rank, name in enumerate(order)}
    return pl.col(column).replace_strict(ranks, default=len(order), return_dtype=pl.Int64)


def _with_one_new(occurrences: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Occurrences in which a row is `new` only in the source whose labels it carries."""
    kept = rows.select("id", pl.col("source").alias("kept"))
    joined = occurrences.join(kept, on="id", how="left", maintain_order="left")
    beaten = (pl.col("outcome") == "new") & (pl.col("source") != pl.col("kept"))
    reason = pl.format("the row carries the labels of {}", pl.col("kept"))
    return joined.with_columns(
        outcome=pl.when(beaten).then(pl.lit("duplicate")).otherwise("outcome"),
        reason=pl.when(beaten).then(reason).otherwise("reason"),
    ).drop("kept")


def _prove(ingested: Ingested) -> None:
    """Delivered = new + duplicate + quarantined, and the new ones are exactly the rows."""
    counts = ingested.counts
    new = ingested.occurrences.filter(pl.col("outcome") == "new")["id"].sort()
    ids = ingested.rows["id"].sort()
    assert counts["delivered"] == sum(counts.values()) - counts["delivered"], counts
    assert new.equals(ids, check_names=False), f"{len(new)} new occurrences, {len(ids)} rows"
