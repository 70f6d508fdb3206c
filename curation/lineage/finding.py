"""Finding: from what a person types, an id or the start of one or some text, to rows and cases."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import polars as pl

from curation.lineage.shared import ids_starting, ids_where, lookup_each, texts_holding
from curation.lineage.views import View, read_occurrences
from curation.rows import ROW_SCHEMA
from curation.store import Version

_HEX = re.compile(r"[0-9a-f]{6,32}")


def find_ids(versions: Sequence[Version], wanted: str) -> list[str]:
    """Ids in the `rows` tables that are, or begin with, what is wanted.

    Raises `ValueError` when a beginning fits several ids.
    """
    held = _held(versions, _starting(versions, wanted))
    return _one_id({i for ids in held.values() for i in ids}, wanted)


def find_rows(view: View, wanted: str, *, limit: int | None = None) -> pl.DataFrame:
    """Rows (`ROW_SCHEMA`) by id, beginning of an id, position, or text; whole turns first.

    At most `limit` of them. Imported rows go before made ones.
    """
    places = row_places(view)
    ((ids, _),) = find_in_each([view], [places], wanted)
    rows = rows_by_id(places, ids[:limit])
    order = pl.DataFrame({"id": ids[:limit]}, schema={"id": pl.String})
    return order.join(rows, on="id", maintain_order="left").select(rows.columns)


def row_places(view: View) -> list[Version]:
    """The versions whose rows a view knows: the imported ones, the made ones, and plain texts."""
    inputs = view.steps["texts"].manifest["inputs"] if "texts" in view.steps else ()
    texts = sorted(name for name in inputs if name.startswith("sources/"))
    return [view.steps[n] for n in ("rows", "augmented_rows", *texts) if n in view.steps]


def find_in_each(
    views: Sequence[View], places: Sequence[Sequence[Version]], wanted: str
) -> list[tuple[list[str], int]]:
    """For each view the ids meant, in its places, and how many of the first have it as a turn.

    A text is looked for when no view knows such an id or position. What the views share is read
    once. Raises `ValueError` for the beginning of several ids.
    """
    every = list({v.key: v for some in places for v in some}.values())
    positions = _positions(views, wanted)
    starting = _held(every, _starting(every, wanted))
    ids = [
        _one_id({i for v in some for i in starting[v.key]}, wanted)
        or _at_position(view, wanted, positions)
        for view, some in zip(views, places, strict=True)
    ]
    if any(ids):
        return [(own, 0) for own in ids]
    whole = texts_holding(every, wanted)
    held = _held(every, whole)
    found = []
    for some in places:
        hits = {i for v in some for i in held[v.key]}
        ranked = sorted(hits, key=lambda i: (not whole[i], i))
        found.append((ranked, sum(whole[i] for i in hits)))
    return found


def rows_by_id(places: Iterable[Version], ids: list[str]) -> pl.DataFrame:
    """`ROW_SCHEMA` of the ids, the first place that has one before the others.

    Made rows that wait for people are found, too.
    """
    names = ROW_SCHEMA.names()
    held = [(v, t) for v in places for t in ("rows", "waiting") if t in v.tables]
    found = [v.lookup(table, ids).select(names) for v, table in held] if ids else []
    rows = pl.concat([ROW_SCHEMA.to_frame(), *found])
    return rows.unique("id", keep="first", maintain_order=True)


def find_cases(cases: pl.DataFrame, wanted: str) -> pl.DataFrame:
    """Bad cases by id, by id of the corrected row, or by their prompt: the whole one before a part.

    `cases` has id, row_id and prompt. Raises `ValueError` for the beginning of several ids.
    """
    if _HEX.fullmatch(wanted):
        starts = pl.col("id").str.starts_with(wanted) | pl.col("row_id").str.starts_with(wanted)
        found = cases.filter(starts)
        if found["id"].n_unique() > 1:
            raise ValueError(
                f"{wanted!r} is the beginning of {found.height} ids "
                f"({', '.join(found['id'].head(3))}); give more of it"
            )
        if found.height:
            return found
    whole = cases.filter(pl.col("prompt") == wanted)
    return whole if whole.height else cases.filter(_holds("prompt", wanted))


def one_case(cases: pl.DataFrame, wanted: str, what: str = "bad cases") -> dict[str, Any] | None:
    """The one case that is wanted, None when there is none; `ValueError` when several are."""
    found = find_cases(cases, wanted).unique("id", maintain_order=True)
    if found["prompt"].n_unique() > 1:
        few = ", ".join(repr(p) for p in found["prompt"].unique(maintain_order=True).head(3))
        raise ValueError(f"{wanted!r} is in {found.height} {what} ({few}); give the whole of one")
    return next(found.iter_rows(named=True), None)


def texts(row: dict[str, Any]) -> list[str]:
    """The turns of a row, such as `user: 打开空调`."""
    return [f"{m['role']}: {m['content'] or m['tool_calls']}" for m in row["messages"]]


def one_line(row: dict[str, Any], chars: int = 100) -> str:
    """A row's turns but the system's on one line."""
    turns = (m["content"] or m["tool_calls"] for m in row["messages"] if m["role"] != "system")
    said = " ⏎ ".join(turns).replace("\n", " ")
    return said if len(said) <= chars else said[: chars - 1] + "…"


def _starting(versions: Sequence[Version], wanted: str) -> list[str]:
    """Ids that a part of the `rows` tables has and that begin with what is wanted."""
    if not _HEX.fullmatch(wanted):
        return []
    return ids_starting(versions, "rows", wanted)


def _held(versions: Sequence[Version], ids: Collection[str]) -> dict[str, Collection[str]]:
    """Key of each version -> those of the ids that its rows really have."""
    found = lookup_each(versions, "rows", ids, ["id"])
    return {v.key: rows.keys() for v, rows in zip(versions, found, strict=True)}


def _one_id(found: Collection[str], wanted: str) -> list[str]:
    if len(found) > 1:
        few = ", ".join(sorted(found)[:3])
        raise ValueError(
            f"{wanted!r} is the beginning of {len(found)} ids ({few}); give more of it"
        )
    return sorted(found)


def _positions(views: Sequence[View], wanted: str) -> list[str]:
    """Ids of which any source says that they were delivered at a position such as `a.jsonl:12`."""
    if not re.fullmatch(r"\S+:\d+", wanted):
        return []
    sources = {
        step.key: step
        for view in views
        for name, step in view.steps.items()
        if name.startswith("sources/") and "rows" in view.steps
    }
    return ids_where(sources.values(), "occurrences", pl.col("position") == wanted)


def _at_position(view: View, wanted: str, positions: Sequence[str]) -> list[str]:
    """Which of the rows was delivered there in this view."""
    if not positions:
        return []
    occurrences = read_occurrences(view, ["id", "position"], positions)
    at = occurrences.filter((pl.col("position") == wanted) & (pl.col("id") != ""))
    return at["id"].unique().to_list()


def _holds(column: str, wanted: str) -> pl.Expr:
    return pl.col(column).str.contains(wanted, literal=True)
