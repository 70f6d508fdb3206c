"""From delivered records to rows, with one outcome for every record.

A record ends as `new` (it became a row), `duplicate` (its text is a row already) or `quarantined`
with its reason and position. Nothing raises for bad data and nothing disappears: the counts add up
for every source, before and after sources are merged.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import polars as pl

from curation.formats import SystemOf, check_columns, choose_system, read_record, read_text
from curation.frames import TEXT
from curation.json_text import printable
from curation.personal import find_personal, kinds_of
from curation.progress import Report, silent
from curation.redaction import PERSONAL_SCHEMA, Fact, Redaction, redact_cut, redact_text
from curation.rows import (
    OCCURRENCE_SCHEMA,
    PLAIN,
    ROW_SCHEMA,
    TEXT_TRACK,
    canonical_json,
    clean_text,
    make_row,
)
from curation.sources._base import Record

CHUNK = 20_000
TEXTS = 262_144
"""Rows whose texts are put away together, so that few of them are held in memory."""
SHARED_SCHEMA = pl.Schema({"id": pl.String, "source": pl.String, "kept_source": pl.String})
"""A row, a source that delivered it, and the source whose labels it carries instead."""
_RAW_CHARS = 2000


@dataclass(frozen=True)
class Ingested:
    """Rows of `ROW_SCHEMA`, one per id and sorted by it, and an occurrence for each record.

    `personal` says what personal data stood where (`PERSONAL_SCHEMA`), if it was looked for.
    """

    rows: pl.DataFrame
    occurrences: pl.DataFrame
    personal: pl.DataFrame = field(default_factory=PERSONAL_SCHEMA.to_frame)

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
    track: Literal["domain", "general", "text"] = "domain",
    split: Literal["train", "heldout", "test"] = "train",
    license: str = "",
    category: str = "",
    form: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_answer"] = "auto",
    columns: dict[str, str] | None = None,
    template: str = "",
    max_rows: int | None = None,
    personal: Literal["keep", "drop", "redact", "pseudonymise"] = "keep",
    system: str | SystemOf | None = None,
    key: bytes = b"",
    put_texts: Callable[[pl.DataFrame], object] | None = None,
    report: Report = silent,
) -> Ingested:
    """Rows and occurrences of one source; reading stops after `max_rows` delivered records.

    With `put_texts` the rows come back without their texts: it gets them (`id`, `messages` and
    `tools`, up to 262,144 rows at a time) as they are read.

    `system`, or what it says of prompt and answer, becomes the system message of records without
    one. `form`, `columns` and `template` are those of `formats.read_record`. A record's own text
    under `category` or `difficulty` goes before the source's. Of the track `text` a record is plain
    text under the key `text`.

    `personal` says what becomes of phone numbers, identity numbers, e-mail addresses and bank
    cards, before a row gets its id: they are kept, their record is dropped, or in their place stand
    tags or the pseudonyms that belong to them under the secret `key`. Raises `ValueError` for
    unknown parts in `columns` or a missing key, never for a record.
    """
    check_columns(columns)
    if personal != "keep" and not key:
        raise ValueError(f"personal: {personal} needs a key; see curation.personal_key")
    redaction = None if personal == "keep" else Redaction(personal, key)
    conversion = {"form": form, "columns": columns, "template": template, "system": system or ""}
    labels = {"source": source, "revision": revision, "track": track, "split": split}
    labels |= {"license": license, "category": category}
    parts, said, done = [_read_chunk((), conversion, labels, redaction)], time.monotonic(), 0
    stream = islice(records, max_rows)
    while chunk := list(islice(stream, CHUNK)):
        parts.append(_read_chunk(chunk, conversion, labels, redaction))
        done += len(chunk)
        if put_texts and sum(frame.height for frame in _texts(parts)) >= TEXTS:
            parts = _part_from_texts(parts, put_texts)
        if time.monotonic() - said > 2:
            said = time.monotonic()
            report(f"{source}: {done:,} records read")
    ingested = _join(_part_from_texts(parts, put_texts) if put_texts else parts)
    _prove(ingested)
    report(f"{source}: {count_line(ingested.counts)}")
    return ingested


def _read_chunk(
    records: Iterable[Record],
    conversion: Mapping[str, Any],
    labels: Mapping[str, str],
    redaction: Redaction | None,
) -> Ingested:
    """Rows and occurrences of some records of a source, as if there were no others."""
    rows: dict[str, dict[str, Any]] = {}
    occurrences: list[tuple[str, ...]] = []
    personal: list[tuple[Any, ...]] = []
    for record in records:
        row, reason, found = _row(record, conversion, labels, redaction)
        outcome = "quarantined" if reason else "duplicate" if row["id"] in rows else "new"
        if outcome == "new":
            rows[row["id"]] = row
        kept_raw = raw_text(record, redact=bool(redaction)) if reason and not found else ""
        reason = redact_text(reason)[0] if redaction else reason
        position = printable(record.position)
        said = (labels["source"], labels["revision"], position, outcome, row.get("id", ""))
        occurrences.append((*said, reason, kept_raw))
        personal += [(row.get("id", ""), position, *fact) for fact in found]
    return Ingested(
        pl.DataFrame(list(rows.values()), schema=ROW_SCHEMA),
        pl.DataFrame(occurrences, schema=OCCURRENCE_SCHEMA, orient="row"),
        pl.DataFrame(personal, schema=PERSONAL_SCHEMA, orient="row"),
    )


def _part_from_texts(
    parts: Sequence[Ingested], put_texts: Callable[[pl.DataFrame], object]
) -> list[Ingested]:
    """The parts without the texts of their rows, which are put away."""
    if texts := _texts(parts):
        put_texts(pl.concat(texts).unique("id", keep="first", maintain_order=True))
    return [replace(part, rows=part.rows.select(PLAIN)) for part in parts]


def _texts(parts: Sequence[Ingested]) -> list[pl.DataFrame]:
    """The texts of those parts that still hold them."""
    with_texts = (part.rows for part in parts if TEXT[0] in part.rows.columns)
    return [rows.select("id", *TEXT) for rows in with_texts]


def _join(parts: Sequence[Ingested]) -> Ingested:
    """Parts of one source in reading order: a row that an earlier part has is a duplicate.

    The columns of the parts' rows are taken out of them one by one: all of them twice would be
    most of the memory that a large source needs.
    """
    ids = pl.concat(part.rows["id"] for part in parts)
    occurrences = [part.occurrences for part in parts]
    lines = pl.DataFrame({"id": ids}).with_row_index("line")
    if ids.n_unique() < len(ids):
        ends = pl.Series([part.rows.height for part in parts]).cum_sum()
        first = lines.unique("id", keep="first", maintain_order=True)
        owner = ends.search_sorted(first["line"], side="right")
        for i, part in enumerate(parts):
            elsewhere = first.filter(owner != i).join(part.rows, on="id", how="semi")
            occurrences[i] = mark_known(part.occurrences, elsewhere)
        lines = first
    order = lines.sort("id")["line"]
    names = parts[0].rows.columns
    columns = (pl.concat(part.rows.drop_in_place(name) for part in parts) for name in names)
    rows = pl.DataFrame([column.gather(order) for column in columns])
    return Ingested(rows, pl.concat(occurrences), pl.concat(part.personal for part in parts))


def mark_known(occurrences: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Occurrences in which rows that are known by `id` count as duplicates."""
    if known.is_empty():
        return occurrences
    again = pl.col("id").is_in(known["id"].implode()) & (pl.col("outcome") == "new")
    outcome = pl.when(again).then(pl.lit("duplicate")).otherwise("outcome")
    return occurrences.with_columns(outcome=outcome)


def merge_sources(sources: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All sources as one: the rows, and which source's copy of a row gave way to which other's.

    A row that several sources delivered stays once. Whose labels it keeps does not depend on the
    order of `sources` (frames of `ROW_SCHEMA`): a test row goes before held-out traffic and that
    before training, so what one source measures on no other puts into training; then domain goes
    before general, then the source's name. The second frame has `SHARED_SCHEMA`. Raises
    `ValueError` when two frames carry the same source.
    """
    _check_names(sources)
    given = pl.concat(sources) if sources else ROW_SCHEMA.to_frame()
    again = given["id"].is_duplicated()
    order = [_rank("split", "test", "heldout", "train"), _rank("track", "domain", "general")]
    several = given.filter(again).sort(*order, "source", "revision")
    best = several.unique("id", keep="first", maintain_order=True)
    beaten = several.select("id", "source").join(best.select("id", kept_source="source"), on="id")
    beaten = beaten.filter(pl.col("source") != pl.col("kept_source"))
    return pl.concat([given.filter(~again), best]).sort("id"), beaten.sort("id", "source")


def count_line(counts: Mapping[str, int]) -> str:
    """`"12 records = 9 new + 2 duplicate + 1 quarantined"`."""
    parts = " + ".join(f"{counts[k]:,} {k}" for k in ("new", "duplicate", "quarantined"))
    return f"{counts['delivered']:,} records = {parts}"


def raw_text(record: Any, *, redact: bool = False) -> str:
    """The first 2,000 characters of a record as it was, in a form that can be stored.

    Of a `Record` that could not be read it is what its source kept; anything else is written as
    JSON where it can be. With `redact` tags stand in it for personal data.
    """
    if isinstance(record, Record) and record.data is None:
        raw = redact_cut(record.raw, _RAW_CHARS) if redact else record.raw
        return printable(raw[:_RAW_CHARS])
    data = record.data if isinstance(record, Record) else record
    try:
        said = canonical_json(data)
    except RecursionError:
        said = "nested too deeply to be written down"
    except (TypeError, ValueError):
        said = repr(data)
    said = redact_text(said)[0] if redact else said  # before the cut, which may halve a number
    return printable(said[:_RAW_CHARS])


def _row(
    record: Record,
    conversion: Mapping[str, Any],
    labels: Mapping[str, str],
    redaction: Redaction | None,
) -> tuple[dict[str, Any], str, list[Fact]]:
    """The record as a row, or `{}` and why it cannot be one; and what was personal in it."""
    if record.data is None:
        return {}, printable(record.error) or "the source gave no data and no reason", []
    try:
        is_text = labels["track"] == TEXT_TRACK
        parts = read_text(record.data) if is_text else read_record(record.data, **conversion)
        own = {k: record.data.get(k) for k in ("category", "difficulty")}
        own = {k: clean_text(v) for k, v in own.items() if isinstance(v, str) and v}
        found: list[Fact] = []
        if redaction:
            ours = choose_system(conversion["system"], parts["messages"])
            parts, found = redaction.apply(parts, system=ours)
            own = {k: v for k, v in own.items() if not find_personal(v)}
            if found and redaction.mode == "drop":
                return {}, f"personal data: {', '.join(kinds_of(found))}", found
        given: dict[str, Any] = parts | dict(labels) | own
        row = make_row(given.pop("messages"), **given)
        "".join([row["meta"], *own.values()]).encode()  # a lone surrogate cannot be stored
    except ValueError as error:
        reason = "text that UTF-8 cannot hold" if isinstance(error, UnicodeError) else str(error)
        return {}, printable(reason), []
    except Exception as error:  # whatever a record provokes costs that record and is written down
        return {}, printable(f"{type(error).__name__}: {error}"[:300]), []
    return row, "", found


def _check_names(sources: Sequence[pl.DataFrame]) -> None:
    names = [name for rows in sources for name in rows["source"].unique().to_list()]
    if twice := next((n for n in sorted(names) if names.count(n) > 1), None):
        raise ValueError(f"two sources are called {twice!r}; every source needs its own name")


def _rank(column: str, *order: str) -> pl.Expr:
    ranks = {name: rank for rank, name in enumerate(order)}
    return pl.col(column).replace_strict(ranks, default=len(order), return_dtype=pl.Int64)


def _prove(ingested: Ingested) -> None:
    """Delivered = new + duplicate + quarantined, and the new ones are exactly the rows."""
    counts = ingested.counts
    outcome, ids = ingested.occurrences["outcome"], ingested.rows["id"]
    new = ingested.occurrences["id"].filter(outcome == "new").sort()
    assert counts["delivered"] == sum(counts.values()) - counts["delivered"], counts
    assert new.equals(ids, check_names=False), f"{len(new)} new occurrences, {len(ids)} rows"
