"""Label Studio: rows that wait for people as its tasks, and its annotations as verdicts.

The JSON is that of https://labelstud.io/guide/task_format: a list of tasks, each with `data`,
`predictions` (here the answer as it is, to be corrected) and, when it comes back, `annotations`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from curation.fixes import ReadRows, edit_records, write_answer
from curation.review_queue import HIDDEN
from curation.rows import UTTERANCE
from curation.sources._base import Record
from curation.tasks._base import Task
from curation.verdicts import ACCEPT, REJECT

CONFIG = """<View>
  <Text name="prompt" value="$prompt"/>
  <Text name="answer" value="$answer"/>
  <Choices name="verdict" toName="answer" choice="single" required="true">
    <Choice value="accept"/>
    <Choice value="reject"/>
  </Choices>
  <TextArea name="correction" toName="answer" editable="true" maxSubmissions="1"/>
  <TextArea name="reason" toName="answer" editable="true" maxSubmissions="1"/>
</View>
"""
"""The labelling interface that the tasks are made for."""


def write_tasks(rows: pl.DataFrame, queue: pl.DataFrame) -> list[dict[str, Any]]:
    """A task for each line of the queue (`QUEUE_SCHEMA`) whose row is among `rows`, in order."""
    found = rows.with_columns(prompt=UTTERANCE)
    told = {row["id"]: row for row in found.select("id", "prompt", "messages").to_dicts()}
    lines = (line for line in queue.iter_rows(named=True) if line["id"] in told)
    return [_task(told[line["id"]], line) for line in lines]


def read_tasks(
    tasks: Iterable[Record], read: ReadRows, *, task: Task
) -> Iterator[tuple[str, dict[str, str] | Record]]:
    """Position and record of each verdict (`reviews.add_verdicts`) that annotations give.

    A record is the reason where a task or an annotation gives none: an answer that the task
    refuses, a row that is not there, an accepted row that was also corrected. Cancelled annotations
    and tasks without any say nothing.
    """
    for one in tasks:
        try:
            if one.data is None:
                raise ValueError(one.error)
            for record in _verdicts(one.data, read, task):
                yield one.position, record
        except ValueError as error:
            yield one.position, Record(one.position, None, str(error), one.raw)


def _task(row: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    answer = row["messages"][-1]["content"] or row["messages"][-1]["tool_calls"]
    why = HIDDEN.get(line["why"], line["why"])
    given = {"from_name": "correction", "to_name": "answer", "type": "textarea"}
    return {
        "data": {"row_id": row["id"], "prompt": row["prompt"], "answer": answer, "why": why},
        "predictions": [
            {"model_version": "row", "result": [{**given, "value": {"text": [answer]}}]}
        ],
    }


def _verdicts(task: Mapping[str, Any], read: ReadRows, rules: Task) -> Iterator[dict[str, str]]:
    data = task.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("row_id"), str):
        raise ValueError("no 'row_id' among the 'data' of the task")
    given = task.get("annotations") or []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise ValueError("'annotations' is not a list of objects")
    standing = [one for one in given if not one.get("was_cancelled")]
    rows = read([data["row_id"]]).to_dicts() if standing else []
    if standing and not rows:
        raise ValueError(f"no row has the id {data['row_id']!r:.80}")
    # All annotations of a task are read before one is given: of a task that is refused none counts.
    yield from [record for one in standing for record in _read(one, rows[0], rules)]


def _read(
    annotation: Mapping[str, Any], row: Mapping[str, Any], rules: Task
) -> list[dict[str, str]]:
    values = _values(annotation.get("result"))
    verdict = _first(values.get("verdict", {}).get("choices"))
    said = {
        "reason": _first(values.get("reason", {}).get("text")),
        "by": _name(annotation.get("completed_by")),
        "at": str(annotation.get("updated_at") or annotation.get("created_at") or ""),
    }
    if verdict not in (ACCEPT, REJECT):
        raise ValueError(f"the verdict is {verdict!r:.80}, not {ACCEPT!r} or {REJECT!r}")
    before = row["messages"][-1]["content"]
    answer = _first(values.get("correction", {}).get("text"))
    changed = answer and write_answer(answer, like=before, task=rules) != before
    if not changed:
        return [{"id": row["id"], "verdict": verdict, **said}]
    if verdict == ACCEPT:
        raise ValueError("the row was accepted and its answer changed; reject what is set right")
    return edit_records(row, answer, task=rules, **said)


def _values(results: Any) -> dict[str, Mapping[str, Any]]:
    """What each control of the labelling interface says, by its name."""
    given = (
        [one for one in results if isinstance(one, Mapping)] if isinstance(results, list) else []
    )
    named = {str(one.get("from_name")): one.get("value") for one in given}
    return {name: value for name, value in named.items() if isinstance(value, Mapping)}


def _first(values: Any) -> str:
    """The only value of a control; "" for none. Label Studio gives lists, and text for one."""
    values = values if isinstance(values, list) else [values]
    return values[0].strip() if values and isinstance(values[0], str) else ""


def _name(completed_by: Any) -> str:
    """Who annotated: an e-mail address or a name where the export has them, else the number."""
    if isinstance(completed_by, Mapping):
        named = (completed_by.get(key) for key in ("email", "username", "first_name", "id"))
        completed_by = next((one for one in named if one), "")
    return (
        f"label-studio {completed_by}" if isinstance(completed_by, int) else str(completed_by or "")
    )
