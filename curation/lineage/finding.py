"""Finding: from what a person types, an id or the start of one or some text, to rows and cases."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from curation.lineage.views import View, read_occurrences
from curation.rows import ROW_SCHEMA
from curation.store import Version

ID_CHARS, SHORTEST = 32, 6
_HEX = re.compile(r"[0-9a-f]{6,32}")


def find_ids(versions: Iterable[Version], wanted: str) -> list[str]:
    """Ids in the `rows` tables that are, or begin with, what is wanted.

    A whole id is taken as it is. Raises `ValueError` when a beginning fits several ids.
    """
    if not _HEX.fullmatch(wanted):
        return []
    if len(wanted) == ID_CHARS:
        found = {i for v in versions for i in v.lookup("rows", [wanted])["id"].to_list()}
    else:
        starts = pl.col("id").str.starts_with(wanted)
        found = {
            i
            for v in versions
            for i in v.table("rows", columns=["id"]).filter(starts)["id"].to_list()
        }
    if len(found) > 1:
        few = ", ".join(sorted(found)[:3])
        raise ValueError(
            f"{wanted!r} is the beginning of {len(found)} ids ({few}); give more of it"
        )
    return sorted(found)


def find_rows(view: View, wanted: str, *, places: Sequence[Version] | None = None) -> pl.DataFrame:
    """Rows (`ROW_SCHEMA`) by id, beginning of an id, position, or text; whole turns first.

    Looked for is in `places`, else in the imported rows and then in the made ones.
    """
    if places is None:
        places = [view.steps[name] for name in ("rows", "augmented_rows") if name in view.steps]
    ids = find_ids(places, wanted) or _at_position(view, wanted)
    if ids:
        return rows_by_id(places, ids)
    found = [_with_text(place, wanted) for place in places]
    hits = pl.concat([pl.DataFrame(schema={"id": pl.String, "whole": pl.Boolean}), *found])
    hits = hits.sort("whole", "id", descending=[True, False]).unique("id", maintain_order=True)
    rows = rows_by_id(places, hits["id"].to_list())
    return hits.select("id").join(rows, on="id", maintain_order="left").select(rows.columns)


def rows_by_id(places: Iterable[Version], ids: list[str]) -> pl.DataFrame:
    """`ROW_SCHEMA` of the ids, the first place that has one before the others."""
    names = ROW_SCHEMA.names()
    found = [v.lookup("rows", ids).select(names) for v in places] if ids else []
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


def _at_position(view: View, wanted: str) -> list[str]:
    """The row that was delivered at a position such as `seeds.jsonl:12`."""
    if not re.fullmatch(r"\S+:\d+", wanted) or "rows" not in view.steps:
        return []
    occurrences = read_occurrences(view, ["id", "position"])
    at = occurrences.filter((pl.col("position") == wanted) & (pl.col("id") != ""))
    return at["id"].unique().to_list()


def _with_text(version: Version, wanted: str) -> pl.DataFrame:
    contents = pl.col("messages").list.eval(pl.element().struct.field("content"))
    rows = version.table("rows", columns=["id", "messages"])
    turns = rows.select("id", text=contents).explode("text")
    hits = turns.filter(_holds("text", wanted))
    return hits.group_by("id").agg(whole=(pl.col("text") == wanted).any())


def _holds(column: str, wanted: str) -> pl.Expr:
    return pl.col(column).str.contains(wanted, literal=True)
