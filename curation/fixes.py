"""Fixes: the rows that people set right, each made from the row that it takes the place of.

A row is never changed. Whoever gives the right answer to one rejects it, and the same question with
that answer is another row, with an edge `fix` to the first.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from curation.augmenters._base import Augmented
from curation.json_text import parse_json
from curation.reviews import FIX_SCHEMA
from curation.rows import canonical_json, make_row
from curation.tasks._base import Task

SOURCE = "reviews"
"""The source of rows that people set right."""
ReadRows = Callable[[Iterable[str]], pl.DataFrame]
"""Ids to the rows (`ROW_SCHEMA`) that there are of them, imported ones and made ones."""


def fix_rows(fixes: pl.DataFrame, read: ReadRows, *, task: Task) -> Augmented:
    """The rows that fixes (`reviews.FIX_SCHEMA`) come to, with edges; and those that come to none.

    What was set right may be set right again, so that its row is one that is made here. Refused are
    fixes whose row is not there or is no row to train on, whose answer is wrong by the task, and
    those that say what another row says.
    """
    made, edges, rejected = dict[str, dict[str, Any]](), list[dict[str, Any]](), []
    waiting = fixes.select(FIX_SCHEMA.names()).sort("id").to_dicts()
    rows = {row["id"]: row for row in read(fixes["row_id"].unique()).to_dicts()}
    while ready := [fix for fix in waiting if fix["row_id"] in rows]:
        waiting = [fix for fix in waiting if fix["row_id"] not in rows]
        fixed = [(fix, *_fix(rows[fix["row_id"]], fix, task)) for fix in ready]
        known = {*read([row["id"] for _, row, _ in fixed if row])["id"]}
        for fix, row, reason in fixed:
            reason = reason or ("known" if row["id"] in known | made.keys() else "")
            if reason:
                rejected.append({"text": fix["answer"], "reason": reason, "call": fix["id"]})
                continue
            made[row["id"]] = rows[row["id"]] = row
            edge = {"child": row["id"], "parent": fix["row_id"], "kind": "fix", "call": fix["id"]}
            edges.append(edge)
    rejected += [{"text": f["answer"], "reason": "no_row", "call": f["id"]} for f in waiting]
    return Augmented([*made.values()], edges, rejected, {}, fixes.height)


def check_answer(row: Mapping[str, Any], answer: str, *, task: Task) -> str:
    """Why this may not take the place of the answer of a row (`ROW_SCHEMA`); "" where it may.

    The reason is the task's own for its rows, `empty` or `unchanged`, `tool_call` where the row
    answers with one, and in words where the text may not stand in a row.
    """
    if row["messages"][-1]["tool_calls"]:
        return "tool_call"
    if not answer.strip():
        return "empty"
    try:
        fixed = correct_row(row, answer, task=task)
    except ValueError as error:
        return str(error)
    return "unchanged" if fixed["id"] == row["id"] else check_present(fixed, task=task)


def check_present(row: Mapping[str, Any], *, task: Task) -> str:
    """What the task says against the answer that a row has; "" for general rows."""
    asked = [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
    answer = row["messages"][-1]["content"]
    return task.check(asked[-1], answer) if row["track"] == "domain" else ""


def correct_row(
    row: Mapping[str, Any], answer: str, *, task: Task, call: str = ""
) -> dict[str, Any]:
    """The row (`make_row`) with this answer in the place of its own, which is kept as the rejected.

    Raises `ValueError` for a text that may not stand in a row.
    """
    *asked, last = row["messages"]
    written = write_answer(answer, like=last["content"], task=task)
    return make_row(
        [*asked, {**last, "content": written}],
        tools=row["tools"],
        track=row["track"],
        origin="human",
        source=SOURCE,
        license=row["license"],
        category=row["category"],
        difficulty=row["difficulty"],
        created_by=call,
        meta={"rejected": last["content"]},
    )


def write_answer(answer: str, *, like: str, task: Task) -> str:
    """An answer as rows have it: JSON of a task that wants it on one line, however it was typed.

    Spaces behind commas and colons are those of the answer it is `like`.
    """
    if not task.fields:
        return answer.strip()
    try:
        said = parse_json(answer)
        spaced = like == json.dumps(parse_json(like), ensure_ascii=False)
    except ValueError:
        return answer.strip()
    return json.dumps(said, ensure_ascii=False) if spaced else canonical_json(said)


def edit_records(
    row: Mapping[str, Any], answer: str, *, task: Task, **said: str
) -> list[dict[str, str]]:
    """The verdicts of somebody who sets a row right: the row is wrong, and the one fixed is right.

    `said` are `by`, `at` and `reason`. Raises `ValueError` for an answer that may not stand.
    """
    if refused := check_answer(row, answer, task=task):
        raise ValueError(f"the answer is refused: {refused}")
    fixed = correct_row(row, answer, task=task)
    wrong = {"id": row["id"], "verdict": "reject", "answer": fixed["messages"][-1]["content"]}
    right = {"id": fixed["id"], "verdict": "accept"}
    return [wrong | said, right | said]


def _fix(row: Mapping[str, Any], fix: Mapping[str, str], task: Task) -> tuple[dict[str, Any], str]:
    """The row that a fix makes, or {} and the reason why it makes none."""
    if row["split"] != "train":
        return {}, f"not_trained_on:{row['split']}"
    if reason := check_answer(row, fix["answer"], task=task):
        return {}, reason.split("=")[0]
    return correct_row(row, fix["answer"], task=task, call=fix["id"]), ""
