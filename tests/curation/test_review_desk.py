"""The review desk on a store made by the real steps: who gets which row, and what becomes of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from curation.review_book import BOOK
from curation.review_desk import Desk
from curation.reviews import INBOX, decide_rows, find_fixes, read_said
from curation.store import Store
from tests.curation.lineage_world import answer
from tests.curation.review_world import EITHER, KEEP, MADE, SEEDS, build_store, id_of, open_desk


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("built"))


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(built, tmp_path / "store"))


def decided(store: Store) -> dict[str, str]:
    rows = decide_rows(read_said(INBOX.read(store)))
    return dict(rows.select("id", "verdict").iter_rows())


def every(desk: Desk, reviewer: str) -> list[dict[str, Any]]:
    """All items that a reviewer gets, each skipped."""
    found = []
    while item := desk.next_item(reviewer):
        found.append(item)
        desk.skip(reviewer, item["id"])
    return found


def test_every_row_comes_once_with_why_and_what_is_known_of_it(store):
    items = {item["id"]: item for item in every(open_desk(store), "甲")}
    conflict = items[min(id_of(*pair) for pair in EITHER)]
    assert conflict["why"] == "label_conflict" and conflict["kind"] == "row"
    assert [rival["id"] for rival in conflict["rivals"]] == [max(id_of(*p) for p in EITHER)]
    assert items[id_of(*MADE[:2])]["why"] == "new_type"  # of which no earlier version knew
    near = items[id_of(*SEEDS[0])]
    assert (near["why"], near["detail"], near["threshold"]) == ("borderline", KEEP[0], 60.0)
    assert near["value"] == len(SEEDS[0][0] + SEEDS[0][1]) and near["json"] and not near["check"]
    assert near["turns"] == [{"role": "user", "text": "打开空调"}] and near["answer"] == SEEDS[0][1]
    assert near["about"]["source"] == "seeds" and near["about"]["lang"]
    assert len(items) == len([*SEEDS, *EITHER, MADE]) + 40


def test_a_row_is_before_one_reviewer_at_a_time_until_his_lease_ends(store):
    first, second = open_desk(store), open_desk(store)  # of two processes
    mine = first.next_item("甲")
    other = second.next_item("reviewer-2")
    assert mine and other and mine["id"] != other["id"]
    again = second.next_item("甲")
    assert again and again["id"] == mine["id"]
    short = open_desk(store, lease_s=-1)
    given = [item["id"] for item in (short.next_item("B"), short.next_item("C")) if item]
    assert given[0] == given[1]


def test_a_verdict_is_on_disk_when_it_is_acknowledged_and_may_be_taken_back(store):
    here = open_desk(store)
    item = here.next_item("审阅甲")
    assert item
    here.say("审阅甲", item["id"], "reject", reason="wrong_answer", seconds=4.0)
    assert decided(Store(store.root)) == {item["id"]: "reject"}
    (said,) = read_said(INBOX.read(store)).to_dicts()
    assert (said["by"], said["reason"]) == ("审阅甲", "wrong_answer") and said["said_at"]
    progress = here.progress("审阅甲")
    assert (progress["done"], progress["median_s"]) == (1, 4.0)
    following = here.next_item("审阅甲")
    assert following and following["id"] != item["id"]
    undone = open_desk(store).undo("审阅甲")  # after a restart too
    assert undone and undone["id"] == item["id"]
    assert decided(store) == {} and here.progress("审阅甲")["done"] == 0
    again = here.next_item("审阅甲")
    assert again and again["id"] == item["id"]
    assert here.undo("审阅甲") is None


def test_a_book_that_a_power_cut_damaged_is_begun_anew_and_no_verdict_is_lost(store):
    here = open_desk(store)
    item = here.next_item("甲")
    assert item
    here.say("甲", item["id"], "accept")
    here.close()
    book = store.root / BOOK
    for damage in (b"not a database, but long enough to be one", book.read_bytes()[:5000]):
        book.write_bytes(damage)
        again = open_desk(store)
        following = again.next_item("甲")
        assert following and following["id"] != item["id"] and again.undo("甲") is None
        again.close()
    assert decided(store) == {item["id"]: "accept"}


def test_an_edit_is_checked_says_two_things_and_is_taken_back_whole(store):
    here, row = open_desk(store), id_of(*SEEDS[0])
    typed = '{"actions": [{"do": "打开",\n "what": "调"}]}'
    assert here.check(row, "{") == "not_json"
    with pytest.raises(ValueError, match="the answer is refused: not_json"):
        here.say("甲", row, "reject", answer="{")
    assert decided(store) == {}
    here.say("甲", row, "reject", answer=typed)
    right = id_of(SEEDS[0][0], answer("打开", "调"))
    assert decided(store) == {row: "reject", right: "accept"}
    (fix,) = find_fixes(read_said(INBOX.read(store))).to_dicts()
    assert (fix["row_id"], fix["answer"]) == (row, answer("打开", "调"))
    here.undo("甲")
    assert decided(store) == {}


def test_gold_rows_come_to_everybody_as_if_they_were_drawn_and_measure_him(store):
    from curation.reviews import add_verdicts

    gold = [id_of(*SEEDS[1]), id_of(*SEEDS[2])]
    known = {"verdict": "reject", "by": "gold"}
    add_verdicts(store, [(i, {"id": i, **known}) for i in gold])
    here = open_desk(store, size=20)
    for name in ("甲", "reviewer-2"):
        items = {item["id"]: item["why"] for item in every(here, name)}
        assert [items[i] for i in gold] == ["random", "random"] and "gold" not in items.values()
    here.say("reviewer-2", gold[0], "accept")
    here.say("reviewer-2", gold[1], "reject")
    assert here.agreement()["gold"] == [{"by": "reviewer-2", "rows": 2, "right": 1}]
    assert decided(store) == dict.fromkeys(gold, "reject")


def test_what_the_others_settled_is_not_asked_and_a_tie_is_asked_of_a_third(store):
    here, row = open_desk(store), id_of(*SEEDS[3])
    here.say("甲", row, "accept")
    assert row not in {item["id"] for item in every(here, "B")}
    here.say("B", row, "reject")
    later = open_desk(store)
    told = {item["id"]: item["why"] for item in every(later, "丙")}
    assert told[row] == "tie"
    assert row not in {item["id"] for item in every(open_desk(store), "B")}


def test_samples_are_told_by_source_and_error_type(store):
    lines = {line["group"]: line for line in open_desk(store).samples()}
    assert lines["source general"]["rows"] == 40 and lines["source general"]["needed"] == 29
    assert lines["not_json"]["state"] == "more" and lines["not_json"]["new"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "1 to 60 characters"), ("x" * 61, "1 to 60"), ("gold", "take your own name"),
     ("a\u202e", "U\\+202E")],
)  # fmt: skip
def test_a_name_that_cannot_be_kept_is_refused(store, name, said):
    with pytest.raises(ValueError, match=said):
        open_desk(store).next_item(name)


def test_a_verdict_that_is_none_or_on_no_row_adds_nothing(store):
    here = open_desk(store)
    with pytest.raises(ValueError, match="'perhaps' is no verdict; say 'accept' or 'reject'"):
        here.say("甲", id_of(*SEEDS[0]), "perhaps")
    with pytest.raises(LookupError, match="no row of 'w' has the id"):
        here.say("甲", "0" * 32, "accept")
    with pytest.raises(ValueError, match="U\\+202E"):
        here.say("甲", id_of(*SEEDS[0]), "reject", reason="a\u202eb")
    assert not INBOX.read(store)
