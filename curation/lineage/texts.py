"""Plain texts: they pass no step that rows pass, but one of their own, and then the base model."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from curation.lineage.views import View
from curation.rows import TEXT_TRACK

SAID = {
    "read": "the base model read it",
    "held": "held out: the base model was measured on it before and after it read the others",
    "unread": "the base model could not read it: it encodes to a control token",
}


def text_fates(view: View, rows: pl.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """For each id among these rows that is a plain text: its fate in the step `texts`, if any."""
    ids = rows.filter(pl.col("track") == TEXT_TRACK)["id"].to_list()
    found: dict[str, dict[str, dict[str, Any]]] = {i: {} for i in ids}
    if ids and "texts" in view.steps:
        for fate in view.steps["texts"].lookup("fates", ids).drop("source").to_dicts():
            said = {k: v for k, v in fate.items() if v not in (None, "")}
            found[fate["id"]] = {"texts": said}
    return found


def say_text(
    view: View,
    id: str,
    fates: Mapping[str, Mapping[str, Any]],
    say_fate: Callable[[str, Mapping[str, Any]], str],
) -> str:
    """The whole way of a plain text in one sentence; what the base model did goes first."""
    base, fate = view.steps.get("base_model"), fates.get("texts", {})
    gone = say_fate("texts", fate) if fate.get("fate", "kept") != "kept" else ""
    parts = base.lookup("rows", [id]) if base is not None and "texts" in view.steps else None
    if parts is not None and parts.height and "part" in parts.columns:
        return SAID[parts["part"][0]] + (f"; since then it is {gone}" if gone else "")
    if gone:
        return gone
    return "kept at texts; it waits for the next edition of the reference"
