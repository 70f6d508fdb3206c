"""Waiting: what a build could not decide and asks people, as the newest rows and verdicts have it.

A row that only seems to be wanted, because no build has it any more, is not asked about.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from curation.conflicts import KINDS, list_open
from curation.dedup import CONFLICT_SCHEMA
from curation.lineage.finding import find_ids, row_places, rows_by_id
from curation.lineage.views import newest_view
from curation.plugins import nearest
from curation.reviews import INBOX, decide_rows, read_said
from curation.store import Store


def list_waiting(store: Store, recipe: str, *, kind: str = "") -> list[dict[str, Any]]:
    """What waits for people, most rows first, of one `kind` or of all (`conflicts.KINDS`).

    Each has its `kind`, its `prompt` and its `answers`: `answer`, the `ids` of the rows that give
    it, and their `sources`. Verdicts count from the moment they are in the inbox. Raises
    `ValueError` for a kind that there is not.
    """
    if kind not in ("", *KINDS):
        raise ValueError(f"nothing of the kind {kind!r} waits{nearest(kind, KINDS)}")
    view = newest_view(store, recipe)
    step = view.steps.get("duplicates")
    conflicts = step.table("conflicts") if step else pl.DataFrame(schema=CONFLICT_SCHEMA)
    waiting = list_open(conflicts, decide_rows(read_said(INBOX.read(store))))
    waiting = [one for one in waiting if kind in ("", one["kind"])]
    ids = sorted({i for one in waiting for some in one["answers"] for i in some})
    rows = {row["id"]: row for row in rows_by_id(row_places(view), ids).iter_rows(named=True)}
    there = (one for one in waiting if rows.keys() >= {i for some in one["answers"] for i in some})
    return [_describe(one, rows) for one in there]


def find_reviewed(store: Store, recipe: str, wanted: Iterable[str]) -> list[str]:
    """The ids of the rows that these are, or are the beginning of.

    Raises `LookupError` for one that is of no row, and `ValueError` for one that is of several.
    """
    places, found = row_places(newest_view(store, recipe)), []
    held = [v.table("waiting", ["id"])["id"] for v in places if "waiting" in v.tables]
    for word in wanted:
        ids = find_ids(places, word) or [i for some in held for i in some if i.startswith(word)]
        if len(ids) > 1:
            raise ValueError(f"{word!r} is the beginning of {len(ids)} ids; give more of it")
        if not ids:
            raise LookupError(f"no row of {recipe!r} has an id that begins with {word!r}")
        found += ids
    return found


def _describe(one: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    first = rows[one["answers"][0][0]]
    asked = [turn["content"] for turn in first["messages"][:-1] if turn["role"] != "system"]
    answers = [
        {
            "answer": _answer(rows[ids[0]]),
            "ids": ids,
            "sources": sorted({rows[i]["source"] for i in ids}),
        }
        for ids in one["answers"]
    ]
    return {"kind": one["kind"], "prompt": "\n".join(asked), "answers": answers}


def _answer(row: Mapping[str, Any]) -> str:
    last = row["messages"][-1]
    return last["content"] or last["tool_calls"] or ""
