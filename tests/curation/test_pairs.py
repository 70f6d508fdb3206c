"""Bad cases as pairs: who may be one, who not and why, in Chinese and English."""

from typing import Any

import polars as pl
import pytest

from curation.bad_cases import BAD_CASE_SCHEMA
from curation.pairs import case_pairs, corrupted_pairs, leave_out, pair_rows
from curation.rows import dialogue, make_row, row_id, rows_frame
from tests.curation.lineage_world import TASK, answer, case


def cases(*some: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**one, "half": one.get("half", "learn")} for one in some],
                        schema=BAD_CASE_SCHEMA)  # fmt: skip


def learn(prompt: str, gold: str, predicted: str = "{}") -> dict[str, Any]:
    return {**case(prompt, gold, predicted), "half": "learn"}


RIGHT = answer("打开", "空调")


def test_a_case_is_a_pair_with_the_right_answer_above_the_wrong_one():
    wrong = answer("打开", "open the trunk")
    english = learn("open the trunk", answer("打开", "the trunk"), wrong)
    pairs, left = case_pairs(cases(learn("打开空调", RIGHT), english), task=TASK)
    assert left.is_empty() and set(pairs["kind"]) == {"bad_case"}
    said = {p["of"]: (p["prompt"], p["chosen"], p["rejected"]) for p in pairs.to_dicts()}
    assert said[english["id"]] == ("open the trunk", answer("打开", "the trunk"), wrong)
    assert set(pairs["row_id"]) == {english["row_id"], row_id(dialogue("打开空调", RIGHT))}
    assert set(pair_rows(pairs, task=TASK)["id"]) == set(pairs["row_id"])


def test_the_held_half_is_no_pair_and_no_case_to_learn_from():
    held = {**learn("关闭天窗", answer("关闭", "天窗")), "half": "hold"}
    pairs, left = case_pairs(cases(held, learn("打开空调", RIGHT)), task=TASK)
    assert held["id"] not in {*pairs["of"], *left["of"]} and pairs.height == 1


@pytest.mark.parametrize(
    ("some", "reasons"),
    [
        ([learn("打开空调", RIGHT, RIGHT.replace(":", ": "))], ["same_answer"]),
        ([learn("打开空调", answer("打开", "天窗"))], ["ungrounded:actions[0].what"]),
        ([learn("打开空调", RIGHT), learn("打开空调！", answer("关闭", "空调"))],
         ["label_conflict", "label_conflict"]),
    ],
)  # fmt: skip
def test_a_case_that_teaches_nothing_or_the_wrong_thing_is_left_out(some: Any, reasons: list[str]):
    pairs, left = case_pairs(cases(*some), task=TASK)
    assert pairs.is_empty() and left["reason"].to_list() == reasons
    assert set(left["of"]) == {one["id"] for one in some}


def test_pairs_are_left_out_by_their_row():
    pairs, _ = case_pairs(cases(learn("打开空调", RIGHT)), task=TASK)
    kept, left = leave_out(pairs, {pairs["row_id"][0]: "rejected", "another": "leak_near"})
    assert kept.is_empty() and left.rows() == [(pairs["of"][0], "rejected")]
    assert leave_out(pairs, {})[0].equals(pairs)


def test_trusted_rows_are_made_wrong_by_the_task_itself():
    two_turns = [*dialogue("打开空调", RIGHT), *dialogue("再关闭空调", answer("关闭", "空调"))]
    rows = [make_row(dialogue("打开空调", RIGHT)), make_row(two_turns)]
    rows.append(make_row(dialogue("打开空调吧", answer("打开", "天窗"))))  # not grounded
    pairs = corrupted_pairs(rows_frame(rows), task=TASK)
    assert pairs.height > 1 and set(pairs["of"]) == {rows[0]["id"]} == set(pairs["row_id"])
    assert RIGHT not in pairs["rejected"] and pairs["id"].n_unique() == pairs.height
