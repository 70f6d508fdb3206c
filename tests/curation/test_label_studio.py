"""Label Studio: tasks go out, and what comes back in its documented form is a verdict or a reason.

The annotations are written as https://labelstud.io/guide/task_format shows them.
"""

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from curation.label_studio import CONFIG, read_tasks, write_tasks
from curation.review_queue import QUEUE_SCHEMA
from curation.rows import dialogue, make_row, row_id, rows_frame
from curation.sources._base import Record
from tests.curation.lineage_world import TASK, answer

ROWS = [
    make_row(dialogue("打开空调", answer("打开", "调"))),
    make_row(dialogue("Who wrote Hamlet?", "Bacon"), track="general"),
]
FRAME = rows_frame(ROWS)
RIGHT = answer("打开", "空调")


def read(ids: Iterable[str]) -> pl.DataFrame:
    return FRAME.filter(pl.col("id").is_in([*ids]))


def tasks() -> list[dict[str, Any]]:
    lines = [{"id": row["id"], "why": why, "detail": "", "wanted": 1}
             for row, why in zip(ROWS, ("gold", "borderline"), strict=True)]  # fmt: skip
    return write_tasks(FRAME, pl.DataFrame(lines, schema=QUEUE_SCHEMA))


def annotation(
    verdict: str, *, by: Any = 7, cancelled: bool = False, **texts: str
) -> dict[str, Any]:
    choice = {"id": "a1", "from_name": "verdict", "to_name": "answer", "type": "choices",
              "origin": "manual", "value": {"choices": [verdict]}}  # fmt: skip
    results = [
        {"id": "b2", "from_name": name, "to_name": "answer", "type": "textarea",
         "origin": "manual", "value": {"text": [text]}}
        for name, text in texts.items()
    ]  # fmt: skip
    return {
        "id": 1001, "result": [choice, *results], "was_cancelled": cancelled, "lead_time": 4.288,
        "ground_truth": False, "created_at": "2026-11-20T21:52:49.513742Z", "completed_by": by,
    }  # fmt: skip


def came_back(*annotations: dict[str, Any], which: int = 0) -> list[dict[str, str] | Record]:
    one = {**tasks()[which], "id": 1, "annotations": [*annotations]}
    return [said for _, said in read_tasks([Record("tasks.json:1", one)], read, task=TASK)]


def test_tasks_hold_what_their_labels_name_and_tell_no_gold():
    first, second = tasks()
    named = {tag.get("name") for tag in ElementTree.fromstring(CONFIG).iter()} - {None}
    asked = {tag.get("value", "")[1:] for tag in ElementTree.fromstring(CONFIG).iter("Text")}
    assert asked <= first["data"].keys() and first["data"]["why"] == "random"
    (prediction,) = second["predictions"]
    (result,) = prediction["result"]
    assert {result["from_name"], result["to_name"]} <= named
    assert (
        result["value"] == {"text": ["Bacon"]} and second["data"]["prompt"] == "Who wrote Hamlet?"
    )


def test_what_was_annotated_comes_back_as_verdicts():
    untouched = ROWS[0]["messages"][-1]["content"]
    accepted, rejected = came_back(
        annotation("accept", correction=untouched),
        annotation("reject", by={"id": 3, "email": "ann@example.com"}, reason="答非所问"),
    )
    at = "2026-11-20T21:52:49.513742Z"
    assert accepted == {"id": ROWS[0]["id"], "verdict": "accept", "by": "label-studio 7",
                        "reason": "", "at": at}  # fmt: skip
    assert rejected == {"id": ROWS[0]["id"], "verdict": "reject", "by": "ann@example.com",
                        "reason": "答非所问", "at": at}  # fmt: skip


def test_a_corrected_answer_is_an_edit():
    wrong, right = came_back(annotation("reject", correction=RIGHT.replace(",", " ,\n")))
    assert isinstance(wrong, dict) and isinstance(right, dict)
    assert (wrong["verdict"], wrong["answer"]) == ("reject", RIGHT)
    assert (right["verdict"], right["id"]) == ("accept", row_id(dialogue("打开空调", RIGHT)))
    _, general = came_back(annotation("reject", correction="Shakespeare"), which=1)
    assert isinstance(general, dict) and general["verdict"] == "accept"


def test_cancelled_annotations_and_tasks_without_any_say_nothing():
    assert came_back() == came_back(annotation("accept", cancelled=True)) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"text": "other"}, "annotations": []}, "no 'row_id' among the 'data'"),
        ({"data": {"row_id": "0" * 32}}, "no row has the id '000"),
        ({"annotations": ["accept"]}, "'annotations' is not a list of objects"),
        ({"annotations": [annotation("perhaps")]}, "the verdict is 'perhaps'"),
        ({"annotations": [annotation("accept", correction=RIGHT)]}, "reject what is set right"),
        ({"annotations": [annotation("reject", correction="{")]}, "is refused: not_json"),
        (
            {"annotations": [{"result": [3, {"from_name": "verdict", "value": ["accept"]}]}]},
            "verdict is ''",
        ),
    ],
)
def test_what_is_no_verdict_is_said_with_its_place_and_costs_no_other(change, reason):
    good = {**tasks()[0], "annotations": [annotation("accept")]}
    given = [
        Record("t.json:1", good | change),
        Record("t.json:2", good),
        Record("t.json:3", None, "x"),
    ]
    bad, fine, broken = read_tasks(given, read, task=TASK)
    assert bad[0] == "t.json:1" and isinstance(bad[1], Record) and reason in bad[1].error
    assert fine[0] == "t.json:2" and isinstance(fine[1], dict)
    assert isinstance(broken[1], Record) and broken[1].error == "x"
