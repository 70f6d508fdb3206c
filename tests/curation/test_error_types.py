"""Error types: parted by signature and topic, renamed, merged and muted by people."""

import json

import polars as pl
import pytest

from curation.bad_cases import BAD_CASE_SCHEMA
from curation.error_types import (
    INBOX,
    add_changes,
    cases_by_type,
    changes_digest,
    find_error_types,
    read_changes,
)
from curation.store import Store
from curation.tasks.json_slots import json_slots

TASK = json_slots(fields=["actions"], closed={"do": ["打开", "关闭", "open"]})
WRONG, MISSING = "wrong_value:actions.what", "missing:actions"


def cases(**counts):
    """So many cases to learn from, and one held back, of each `signature do`."""
    rows = []
    for place, n in counts.items():
        signature, do = place.split(" ")
        for i in range(n + 1):
            gold = json.dumps({"actions": [{"do": do, "what": f"灯{i}"}]}, ensure_ascii=False)
            row = dict.fromkeys(BAD_CASE_SCHEMA, "") | {"signature": signature, "gold": gold}
            rows.append(row | {"id": f"{place}{i}", "half": "learn" if i < n else "hold"})
    return pl.DataFrame(rows, schema=BAD_CASE_SCHEMA).sort("id")


def changes(tmp_path, *said):
    store = Store(tmp_path)
    names = ("act", "signature", "value")
    records = [(str(i), dict(zip(names, one, strict=True)) | {"at": str(i)})
               for i, one in enumerate(said)]  # fmt: skip
    assert not add_changes(store, records).quarantined
    return read_changes(INBOX.read(store))


def told(types, *columns):
    return dict(zip(types["signature"], types.select(columns).rows(), strict=True))


def test_quotas_go_with_the_root_of_the_frequency_and_hold_no_held_case():
    found = find_error_types(cases(**{f"{WRONG} 打开": 16, f"{MISSING} 打开": 4}), rows_per_case=3)
    assert told(found, "n", "quota") == {WRONG: (16, 40), MISSING: (4, 20)}
    assert told(found, "name_zh")[WRONG] == ("取值错误：actions.what",)
    assert told(found, "name")[WRONG] == ("wrong value: actions.what",)
    held = cases(**{f"{WRONG} 打开": 0})
    assert find_error_types(held).is_empty()


def test_cases_that_ask_for_the_same_are_a_type_where_there_are_enough():
    given = cases(**{f"{WRONG} 打开": 5, f"{WRONG} 关闭": 4, f"{WRONG} open": 1})
    found = find_error_types(given, task=TASK, topic_cases=4)
    assert told(found, "n") == {f"{WRONG}/打开": (5,), f"{WRONG}/关闭": (4,), WRONG: (1,)}
    held = found.filter(signature=f"{WRONG}/打开")["cases"].item().to_list()
    assert len(held) == 6 and f"{WRONG} 打开5" in held
    assert told(found, "name_zh")[f"{WRONG}/打开"] == ("取值错误：actions.what，打开",)
    moved = cases_by_type(given, found).select("id", "signature")
    assert dict(moved.rows())[f"{WRONG} 打开0"] == f"{WRONG}/打开"


def test_a_merged_type_adds_its_cases_and_a_muted_one_gets_no_rows(tmp_path):
    given = cases(**{f"{WRONG} 打开": 4, f"{MISSING} 打开": 5, "not_json 打开": 9})
    said = changes(
        tmp_path, ("merge", MISSING, WRONG), ("mute", "not_json", "yes"), ("rename", WRONG, "认错")
    )
    found = find_error_types(given, changes=said, rows_per_case=2)
    assert told(found, "n", "quota", "stopped", "name") == {
        WRONG: (9, 18, "", "认错"),
        "not_json": (9, 0, "muted", "not json"),
    }
    left = cases_by_type(given, found)
    assert left["signature"].unique().to_list() == [WRONG] and left.height == 11


def test_the_last_word_counts_and_a_circle_joins_nothing(tmp_path):
    given = cases(**{f"{WRONG} 打开": 2, f"{MISSING} 打开": 2})
    words = [("mute", WRONG, "yes"), ("mute", WRONG, "no")]
    words += [("rename", WRONG, "名"), ("rename", WRONG, "")]
    words += [("merge", WRONG, MISSING), ("merge", MISSING, WRONG)]
    said = changes(tmp_path, *words)
    found = find_error_types(given, changes=said)
    assert told(found, "n", "stopped", "name") == {
        WRONG: (2, "", "wrong value: actions.what"),
        MISSING: (2, "", "missing: actions"),
    }
    apart = changes(tmp_path, ("merge", MISSING, MISSING), ("merge", WRONG, WRONG))
    assert find_error_types(given, changes=apart).height == 2


def test_a_stalled_type_keeps_its_quota():
    found = find_error_types(cases(**{f"{WRONG} 打开": 2}), stalled=[WRONG])
    assert told(found, "quota", "stopped") == {WRONG: (12, "no gain")}


def test_what_is_said_once_more_is_nothing_new(tmp_path):
    store, said = Store(tmp_path), {"act": "mute", "signature": WRONG, "value": "yes"}
    assert add_changes(store, [("1", said)]).new
    before = changes_digest(INBOX.read(store))
    assert add_changes(store, [("1", said)]).duplicate == 1
    assert changes_digest(INBOX.read(store)) == before
    add_changes(store, [("2", said | {"value": "no"})])
    assert changes_digest(INBOX.read(store)) != before


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"act": "drop", "signature": "a"}, "'act' is 'drop', not rename, merge or mute"),
        ({"act": "merge", "signature": "a"}, "no error type is named to merge"),
        ({"act": "mute", "signature": "a", "value": "是"}, "'value' is '是'; a type is muted"),
        ({"act": "rename", "signature": 3}, "'signature' is 3, not text"),
    ],
)
def test_what_is_no_change_is_kept_with_its_reason(tmp_path, record, reason):
    ((_, said),) = add_changes(Store(tmp_path), [("1", record)]).quarantined
    assert said.startswith(reason)
