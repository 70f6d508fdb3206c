"""One item of a review as a page shows it: the row, why it is asked about, and what is known of it.

`kind` is `row` for a verdict on one row; other questions about a row will have other kinds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from curation.fixes import check_present
from curation.lineage.views import View
from curation.review_queue import HIDDEN
from curation.tasks._base import Task

_ABOUT = ("source", "track", "origin", "lang", "category", "difficulty", "license")


def describe_item(
    row: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    task: Task,
    scores: Mapping[str, Any],
    rivals: list[dict[str, Any]],
) -> dict[str, Any]:
    """A row (`ROW_SCHEMA`) and its line of the queue (`QUEUE_SCHEMA`) as a JSON object.

    `rivals` are other rows with the same question and another answer.
    """
    *before, last = row["messages"]
    said = [turn["content"] for turn in before if turn["role"] == "user"]
    own = task.part(said[-1], last["content"])[1]
    return {
        "kind": "row",
        "id": row["id"],
        "why": HIDDEN.get(asked["why"], asked["why"]),
        "detail": asked["detail"],
        "value": asked["value"],
        "threshold": asked["threshold"],
        "turns": [{"role": m["role"], "text": m["content"] or m["tool_calls"]} for m in before],
        "answer": last["content"] or last["tool_calls"],
        "editable": not last["tool_calls"],
        "json": bool(own.fields) and row["track"] == "domain",
        "tools": row["tools"],
        "check": check_present(row, task=task),
        "about": {name: row[name] for name in _ABOUT if row[name]},
        "scores": {name: value for name, value in scores.items() if name != "id"},
        "rivals": rivals,
    }


def read_scores(view: View, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The scores of rows by name, by their ids; rows that have none are not among them."""
    step = view.steps.get("kept_rows")
    found = step.lookup("scores", ids).to_dicts() if step else []
    return {scores["id"]: scores for scores in found}
