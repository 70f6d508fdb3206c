"""Rows that wait for people: an augmenter wrote them, and the sample of their error type failed.

They lie in the table `waiting` of `augmented_rows`, pass no step, and have no fate before somebody
has judged them one by one.
"""

import json
import re
from typing import Any

import polars as pl

from curation.lineage.views import View
from curation.rows import ROW_SCHEMA

_HEX = re.compile(r"[0-9a-f]{6,32}")


def find_waiting(view: View, wanted: str) -> pl.DataFrame:
    """Rows (`ROW_SCHEMA`) that wait, by the beginning of an id, else by text; whole turns first."""
    rows = _waiting(view)
    if _HEX.fullmatch(wanted):
        found = rows.filter(pl.col("id").str.starts_with(wanted))
        if found.height:
            return found.sort("id")
    turns = pl.col("messages").list.eval(pl.element().struct.field("content"))
    holds = turns.list.eval(pl.element().str.contains(wanted, literal=True)).list.any()
    return rows.filter(holds).sort(~turns.list.contains(wanted), "id")


def say_waits(view: View, ids: list[str]) -> dict[str, str]:
    """Of each of these ids that waits: why, and what to do."""
    step = view.steps.get("augmented_rows")
    if step is None or "waiting" not in step.tables or not ids:
        return {}
    found = step.lookup("waiting", ids, ["id", "meta"])
    return {id: _reason(id, json.loads(meta or "{}")) for id, meta in found.iter_rows()}


def _waiting(view: View) -> pl.DataFrame:
    step = view.steps.get("augmented_rows")
    if step is None or "waiting" not in step.tables:
        return ROW_SCHEMA.to_frame()
    return step.table("waiting").select(ROW_SCHEMA.names())


def _reason(id: str, meta: dict[str, Any]) -> str:
    return (
        f"waits at augmented_rows: the sample of its error type {meta['error_type']!r} failed, "
        f"and nobody had judged this row when it was built; judge it with `winnow review`, or "
        f"`winnow reviews accept {id[:12]}` or `reject`, and build again"
    )
