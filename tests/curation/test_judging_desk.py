"""The judging desk: who is asked what, which side an answer stands on, and what is kept of it."""

import json
from collections import Counter
from typing import Any

import pytest

from curation.judgements import INBOX, name_question, read_choices, read_marks, sides
from curation.judging_desk import JudgingDesk, Question
from curation.rows import digest
from curation.store import Store

DIMENSIONS: tuple[str, ...] = ("correctness", "语气")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def question(n: int, *answers: str) -> Question:
    row, turns = digest(n), ({"role": "user", "text": f"第{n}问"},)
    return Question(name_question(row, answers), row, turns, answers)


def pairs(n: int = 6) -> list[Question]:
    return [question(i, f"旧{i}", f"new {i}") for i in range(n)]


def judge_all(desk: JudgingDesk, reviewer: str, choice: str = "left") -> list[dict[str, Any]]:
    found = []
    while item := desk.next_item(reviewer):
        found.append(item)
        desk.choose(reviewer, item["id"], choice, seconds=2.0)
    return found


def test_an_answer_stands_on_each_side_as_often_and_nothing_tells_whose_it_is():
    asked = [question(n, f"old {n}", f"new {n}") for n in range(400)]
    seen = Counter(sides(q.id, q.answers, "甲")[0][:3] for q in asked)
    assert min(seen.values()) > 160
    for q in asked[:20]:
        turned = question(int(q.turns[0]["text"][1:-1]), *reversed(q.answers))
        assert turned.id == q.id  # of which version an answer is changes nothing that is shown
        assert sides(q.id, turned.answers, "甲") == sides(q.id, q.answers, "甲")
    others = [sides(q.id, q.answers, "B") == sides(q.id, q.answers, "甲") for q in asked]
    assert 160 < sum(others) < 240


def test_every_question_comes_once_and_what_is_said_is_on_disk(store):
    desk = JudgingDesk(store, pairs())
    assert desk.progress("甲") == {"done": 0, "left": 6, "median_s": None}
    asked = judge_all(desk, "甲")
    assert [item["id"] for item in asked] == [q.id for q in pairs()]
    assert desk.progress("甲") == {"done": 6, "left": 0, "median_s": 2.0}
    said = read_choices(INBOX.read(Store(store.root)))
    better = dict(said.select("question", "better").iter_rows())
    assert better == {item["id"]: digest(item["answers"][0]) for item in asked}
    again = JudgingDesk(store, pairs(8))  # more cases later: who goes on is asked the others
    assert [item["id"] for item in judge_all(again, "甲")] == [q.id for q in pairs(8)[6:]]


def test_a_question_is_before_one_at_a_time_and_asked_of_so_many_judges(store):
    desk, other = (JudgingDesk(store, pairs(3), judges=2) for _ in range(2))  # of two processes
    first, second = desk.next_item("甲"), other.next_item("B")
    assert first and second and first["id"] != second["id"]
    turns = [(desk, "甲"), (other, "B"), (desk, "甲")]  # at first one is before the other
    assert [len(judge_all(*turn)) for turn in turns] == [2, 3, 1]
    assert other.next_item("丙") is None
    assert desk.progress("丙") == {"done": 0, "left": 0, "median_s": None}


def test_the_last_choice_is_taken_back_after_a_restart_and_a_skipped_one_is_not_asked(store):
    desk = JudgingDesk(store, pairs(3))
    first = desk.next_item("甲")
    assert first
    desk.choose("甲", first["id"], "both_bad")
    desk.close()
    again = JudgingDesk(store, pairs(3))
    assert again.undo("甲") == first and read_choices(INBOX.read(store)).is_empty()
    assert again.next_item("甲") == first and again.undo("甲") is None
    again.skip("甲", first["id"])
    assert first["id"] not in {item["id"] for item in judge_all(again, "甲")}
    assert JudgingDesk(store, [question(9, "好")], dimensions=DIMENSIONS).undo("甲") is None


def test_marks_want_every_dimension_from_one_to_five(store):
    desk = JudgingDesk(store, [question(1, "好的"), question(2, "ok")], dimensions=DIMENSIONS)
    item = desk.next_item("甲")
    assert item and item["kind"] == "rating" and item["dimensions"] == [*DIMENSIONS]
    for marks, said in (
        ({"correctness": 5}, r"marks for \['correctness'\]; asked are"),
        (dict.fromkeys(DIMENSIONS, 6), "the mark of 'correctness' is 6, not 1 to 5"),
        (dict.fromkeys(DIMENSIONS, True), "is True, not 1 to 5"),
        ({}, "not a mark for each dimension"),
    ):
        with pytest.raises(ValueError, match=said):
            desk.rate("甲", item["id"], marks)
    with pytest.raises(ValueError, match="U\\+202E"):
        desk.rate("甲", item["id"], dict.fromkeys(DIMENSIONS, 5), comment="a\u202eb")
    with pytest.raises(ValueError, match="no answer to this question"):
        desk.choose("甲", item["id"], "left")
    assert not INBOX.read(store)
    desk.rate("甲", item["id"], {"correctness": 5, "语气": 2}, comment="太生硬")
    marks = read_marks(INBOX.read(store)).select("dimension", "mark", "comment").rows()
    assert marks == [("correctness", 5, "太生硬"), ("语气", 2, "太生硬")]


def test_a_choice_that_is_none_or_on_no_question_adds_nothing(store):
    desk = JudgingDesk(store, pairs(1))
    with pytest.raises(ValueError, match="'perhaps' is no answer"):
        desk.choose("甲", pairs(1)[0].id, "perhaps")
    with pytest.raises(LookupError, match="no question here has the id"):
        desk.choose("甲", "0" * 32, "left")
    with pytest.raises(ValueError, match="take your own name"):
        desk.choose("gold", pairs(1)[0].id, "left")
    with pytest.raises(ValueError, match="judges is 0"):
        JudgingDesk(store, pairs(1), judges=0)
    assert not INBOX.read(store)


def test_agreement_is_told_by_what_was_preferred_and_not_by_side(store):
    asked = pairs(30)
    desk = JudgingDesk(store, asked, judges=2)
    for name in ("甲", "B"):
        while item := desk.next_item(name):
            new = next(i for i, said in enumerate(item["answers"]) if said.startswith("new"))
            old_one = item["id"] == asked[0].id
            desk.choose(name, item["id"], ("left", "right")[new if not old_one else 1 - new])
    told = desk.agreement()
    assert told["rows"] == 30 and told["krippendorff"] == 1.0 and told["pairs"][0]["agreed"] == 30
    assert "new" not in json.dumps(told)
