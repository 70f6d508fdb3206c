"""Rows that people set right: what they become, and which fixes are refused and why."""

import json
from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest

from curation.fixes import check_answer, edit_records, fix_rows
from curation.reviews import FIX_SCHEMA
from curation.rows import ROW_SCHEMA, digest, make_row, rows_frame
from curation.tasks.json_slots import json_slots

TASK = json_slots(fields=["actions"], slots={"actions": ["do", "what"]}, closed={"do": ["打开"]})
WRONG = '{"actions":[{"do":"打开","what":"天窗"}]}'
RIGHT = WRONG.replace("天窗", "车窗")
TURNS = [
    {"role": "system", "content": "把指令转成JSON"},
    {"role": "user", "content": "打开车窗"},
    {"role": "assistant", "content": WRONG},
]
ROW = make_row(TURNS, license="cc-by-4.0", category="windows", source="seeds")
GENERAL = make_row(
    [{"role": "user", "content": "Who wrote Hamlet?"}, {"role": "assistant", "content": "Bacon"}],
    track="general",
)
ROWS = rows_frame([ROW, GENERAL])


def read(ids: Iterable[str]) -> pl.DataFrame:
    return ROWS.filter(pl.col("id").is_in([*ids]))


def fixes(*given: tuple[str, str]) -> pl.DataFrame:
    lines = [
        {"id": digest([*fix]), "row_id": fix[0], "answer": fix[1], "by": "甲"} for fix in given
    ]
    return pl.DataFrame(lines, schema=FIX_SCHEMA)


def test_a_fixed_row_asks_the_same_keeps_its_labels_and_knows_where_it_comes_from():
    found = fix_rows(fixes((ROW["id"], RIGHT), (GENERAL["id"], "Shakespeare")), read, task=TASK)
    rows = {row["messages"][-1]["content"]: row for row in found.rows}
    fixed = rows[RIGHT]
    assert fixed["messages"][:-1] == ROW["messages"][:-1]
    labels = ("track", "split", "license", "category", "prompt_id")
    assert [fixed[name] for name in labels] == [ROW[name] for name in labels]
    assert (fixed["origin"], fixed["source"]) == ("human", "reviews")
    assert json.loads(fixed["meta"]) == {"rejected": WRONG}
    assert rows["Shakespeare"]["track"] == "general"
    assert {(edge["child"], edge["parent"], edge["kind"]) for edge in found.edges} == {
        (fixed["id"], ROW["id"], "fix"),
        (rows["Shakespeare"]["id"], GENERAL["id"], "fix"),
    }
    assert rows_frame(found.rows).schema == ROW_SCHEMA and found.proposed == 2


def test_what_was_set_right_may_be_set_right_again():
    first, second = edit_records(ROW, RIGHT, task=TASK, by="甲")
    better = RIGHT.replace("车窗", "窗")
    chain = fixes((first["id"], first["answer"]), (second["id"], better))
    found = fix_rows(chain, read, task=TASK)
    assert [row["messages"][-1]["content"] for row in found.rows] == [RIGHT, better]
    assert found.edges[1]["parent"] == found.edges[0]["child"] == second["id"]


def test_an_edit_says_that_the_one_row_is_wrong_and_the_other_right():
    typed = RIGHT.replace(",", ",\n  ")
    wrong, right = edit_records(ROW, typed, task=TASK, by="审阅甲", at="now", reason="窗")
    assert wrong == {"id": ROW["id"], "verdict": "reject", "answer": RIGHT, "by": "审阅甲",
                     "at": "now", "reason": "窗"}  # fmt: skip
    (made,) = fix_rows(fixes((wrong["id"], wrong["answer"])), read, task=TASK).rows
    assert (right["id"], right["verdict"], right["by"]) == (made["id"], "accept", "审阅甲")


def test_json_is_written_as_the_row_has_it():
    spaced = WRONG.replace(",", ", ").replace(":", ": ")
    row = make_row([*TURNS[:2], {"role": "assistant", "content": spaced}])
    (wrong, _) = edit_records(row, RIGHT, task=TASK)
    assert wrong["answer"] == RIGHT.replace(",", ", ").replace(":", ": ")


@pytest.mark.parametrize(
    ("row", "answer", "reason"),
    [
        (ROW, "打开车窗", "not_json"),
        (ROW, RIGHT.replace("车窗", "空调"), "ungrounded:actions[0].what"),
        (ROW, " \n", "empty"),
        (GENERAL, "", "empty"),
        (GENERAL, "a\u202eb", "text holds the unsafe character U+202E"),
        (GENERAL, " Bacon ", "unchanged"),
        (GENERAL, "William Shakespeare", ""),
        (ROW, RIGHT, ""),
    ],
)
def test_an_answer_is_checked_by_the_task_of_its_row(row, answer, reason):
    assert check_answer(row, answer, task=TASK).split("=")[0] == reason


def test_a_row_that_calls_a_tool_is_not_set_right_as_text():
    call = {"role": "assistant", "content": "", "tool_calls": '[{"name":"open"}]'}
    row: dict[str, Any] = make_row([*TURNS[:2], call])
    assert check_answer(row, RIGHT, task=TASK) == "tool_call"


def test_fixes_that_come_to_no_row_are_refused_with_the_reason():
    tested = make_row([*TURNS[:2], {"role": "assistant", "content": "{}"}], split="test")
    others = rows_frame([tested, make_row([*TURNS[:2], {"role": "assistant", "content": RIGHT}])])

    def read_both(ids: Iterable[str]) -> pl.DataFrame:
        return pl.concat([ROWS, others]).filter(pl.col("id").is_in([*ids]))

    given = fixes(
        *((ROW["id"], answer) for answer in ("no JSON", RIGHT)),
        (GENERAL["id"], "Bacon"),
        *((i, RIGHT) for i in ("f" * 32, tested["id"])),
    )
    found = fix_rows(given, read_both, task=TASK)
    assert not found.rows and not found.edges
    assert sorted(one["reason"] for one in found.rejected) == [
        "known", "no_row", "not_json", "not_trained_on:test", "unchanged",
    ]  # fmt: skip
