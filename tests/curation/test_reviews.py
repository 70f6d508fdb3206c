"""The inbox of verdicts: nothing counts twice, no line costs another, and the majority decides."""

from typing import Any

import pytest

from curation.blobs import Corrupt
from curation.inbox import Delivery
from curation.reviews import (
    DECIDED_SCHEMA,
    FIX_SCHEMA,
    INBOX,
    account_verdicts,
    add_verdicts,
    decide_rows,
    find_fixes,
    read_said,
)
from curation.store import Store

A, B = "a" * 32, "b" * 32


def verdict(row_id: str, said: str = "reject", **more: Any) -> dict[str, Any]:
    return {"id": row_id, "verdict": said, **more}


def deliver(store: Store, *records: Any) -> Delivery:
    return add_verdicts(store, [(f"line {i}", record) for i, record in enumerate(records, 1)])


def decided(store: Store) -> dict[str, str]:
    rows = decide_rows(read_said(INBOX.read(store)))
    assert rows.schema == DECIDED_SCHEMA
    return dict(rows.select("id", "verdict").iter_rows())


def test_a_delivery_again_adds_nothing_and_takes_nothing_back(tmp_path):
    store = Store(tmp_path)
    first = verdict(A, reason="答非所问", by="审阅甲")
    assert len(deliver(store, first, verdict(B)).new) == 2
    deliver(store, verdict(A, "accept", by="审阅甲"))
    again = deliver(store, first, verdict(B), first)
    assert again.line() == "0 new verdicts, 3 already known, 0 quarantined"
    assert decided(store) == {A: "accept", B: "reject"}
    assert len(list((tmp_path / "verdicts").iterdir())) == 2


def test_the_later_word_of_a_reviewer_counts_and_he_may_go_back_to_the_first(tmp_path):
    store = Store(tmp_path)
    for at, said in enumerate(("reject", "accept", "reject")):
        deliver(store, verdict(A, said, by="reviewer-2", at=f"2026-11-2{at}"))
        assert decided(store) == {A: said}
    assert read_said(INBOX.read(store)).height == 1


def test_of_several_reviewers_the_majority_decides_and_a_tie_nothing(tmp_path):
    store = Store(tmp_path)
    for by, said, sofar in (
        ("甲", "reject", "reject"),
        ("乙", "accept", "undecided"),
        ("", "reject", "reject"),
        ("丙", "accept", "undecided"),
        ("甲", "accept", "accept"),
    ):
        deliver(store, verdict(A, said, by=by, reason=f"{by} says {said}"))
        assert decided(store) == {A: sofar}
    (row,) = decide_rows(read_said(INBOX.read(store))).to_dicts()
    assert (row["accepts"], row["rejects"], row["by"]) == (3, 1, "丙; 乙; 甲")
    assert row["reason"] == "丙 says accept; 乙 says accept; 甲 says accept"


def test_who_withdraws_has_said_nothing_and_may_say_something_again(tmp_path):
    store = Store(tmp_path)
    deliver(store, verdict(A, by="甲"), verdict(A, "accept", by="乙"), verdict(B, by="甲"))
    deliver(store, verdict(A, "withdraw", by="甲", at="1"), verdict(B, "withdraw", by="乙"))
    assert decided(store) == {A: "accept", B: "reject"}
    delivered = INBOX.read(store)
    account = account_verdicts(delivered, read_said(delivered))
    assert account.line() == "5 in = 2 standing + 1 replaced + 2 withdrawn"
    assert not account.problems()
    deliver(store, verdict(A, by="甲", at="2"))
    assert decided(store) == {A: "undecided", B: "reject"}


def test_what_gold_says_needs_no_majority(tmp_path):
    store = Store(tmp_path)
    deliver(store, *(verdict(A, "accept", by=by) for by in ("甲", "乙")), verdict(A, by="gold"))
    assert decided(store) == {A: "reject"}


def test_answers_given_for_rejected_rows_are_fixes_and_those_of_the_outvoted_are_none(tmp_path):
    store = Store(tmp_path)
    deliver(
        store,
        verdict(A, by="甲", answer="二十六度"),
        verdict(A, by="乙", answer="二十六度"),
        verdict(A, by="丙", answer="26 degrees"),
        verdict(A, "accept", by="丁"),
        verdict(B, by="甲", answer="right"),
        *(verdict(B, "accept", by=by) for by in ("乙", "丙")),
    )
    fixes = find_fixes(read_said(INBOX.read(store)))
    assert fixes.schema == FIX_SCHEMA and fixes["id"].is_unique().all()
    said = fixes.select("row_id", "answer", "by").sort("answer").rows()
    assert said == [(A, "26 degrees", "丙"), (A, "二十六度", "乙; 甲")]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"verdict": "accept"}, "'id' is None, not the id of a row"),
        (verdict("打开空调"), "'id' is '打开空调', not the id of a row (32 hex digits)"),
        (verdict(A.upper()), "not the id of a row (32 hex digits)"),
        (verdict(A, "不好"), "'verdict' is '不好', not 'accept', 'reject' or 'withdraw'"),
        (verdict(A, reason=["wrong"]), "'reason' is ['wrong'], not text"),
        (verdict(A, by=7), "'by' is 7, not text"),
        (verdict(A, answer={"what": "空调"}), "'answer' is {'what': '空调'}, not text"),
        (verdict(A, "accept", answer="好"), "an 'answer' beside 'accept'; only 'reject' has one"),
        (verdict(A, reason="a\u202eb"), "U+202E"),
        (verdict(A, by="\udc00"), "U+DC00"),
        (["reject"], "not a JSON object"),
    ],
)
def test_what_is_no_verdict_is_kept_with_its_place_and_costs_no_other(tmp_path, record, why):
    store = Store(tmp_path)
    delivery = deliver(store, verdict(A), record, verdict(B, "accept"))
    assert len(delivery.new) == 2 and decided(store) == {A: "reject", B: "accept"}
    ((position, reason),) = delivery.quarantined
    assert position == "line 2" and why in reason
    (kept,) = INBOX.quarantined(store)
    assert (kept["position"], kept["reason"]) == (position, reason) and kept["raw"]


def test_a_delivery_that_was_cut_is_damage_and_no_smaller_one(tmp_path):
    store = Store(tmp_path)
    deliver(store, verdict(A), verdict(B))
    (path,) = (tmp_path / "verdicts").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt, match=r"line 2 of verdicts/00000000.jsonl .* it is no verdict"):
        INBOX.read(store)


def test_a_verdict_that_was_turned_round_on_disk_is_damage(tmp_path):
    store = Store(tmp_path)
    deliver(store, verdict(A), verdict(B))
    (path,) = (tmp_path / "verdicts").iterdir()
    path.write_text(path.read_text().replace("reject", "accept", 1))
    with pytest.raises(Corrupt, match=r"line 1 of verdicts/00000000.jsonl"):
        INBOX.read(store)
