"""The bad-case inbox: what cannot be a case is kept as it was, and no line costs another."""

import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from curation.bad_cases import (
    account_inbox,
    add_bad_cases,
    read_deliveries,
    read_inbox,
    read_quarantine,
    snapshot_inbox,
)
from curation.blobs import Corrupt
from curation.store import Store
from curation.tasks.json_slots import json_slots
from pipelines.cli import main

TASK = json_slots(fields=["actions"], slots={"actions": ["do", "what"]})
GOOD = [
    {"prompt": f"打开{thing}", "gold": "{}", "predicted": "好的", "found_by": "测试"}
    for thing in ("空调", "the radio", "天窗", "雨刮")
]
# A line of bytes that is no bad case: what is kept of it, and the beginning of the reason.
POISON: dict[str, tuple[bytes, str, str]] = {
    "lone surrogate": (
        rb'{"prompt": "\ud83d open it", "gold": "{}", "predicted": ""}',
        r"\ud83d open it",
        "lone surrogate U+D83D",
    ),
    "surrogate in who found it": (
        rb'{"prompt": "open it", "gold": "{}", "predicted": "", "found_by": "\udc00"}',
        r'"found_by": "\udc00"',
        "lone surrogate U+DC00",
    ),
    "NUL, escaped": (
        rb'{"prompt": "a\u0000open", "gold": "{}", "predicted": ""}',
        r"a\u0000open",
        "NUL character U+0000",
    ),
    "NUL": (
        b'{"prompt": "a\x00open", "gold": "{}", "predicted": ""}',
        "a\x00open",
        "broken JSON",
    ),
    "bidi": (
        '{"prompt": "打开\u202e空调", "gold": "{}", "predicted": ""}'.encode(),
        "打开\u202e空调",
        "text holds the unsafe character U+202E",
    ),
    "bidi in who found it": (
        '{"prompt": "打开", "gold": "{}", "predicted": "", "found_by": "a\u2066b"}'.encode(),
        "a\u2066b",
        "text holds the unsafe character U+2066",
    ),
    "escape sequence": (
        rb'{"prompt": "\u001b[2Jopen", "gold": "{}", "predicted": ""}',
        r"\u001b[2Jopen",
        "text holds the unsafe character U+001B",
    ),
    "broken JSON": (
        '{"prompt": "打开空调", "gold": '.encode(),
        '{"prompt": "打开空调", "gold":',
        "broken JSON",
    ),
    "not UTF-8": (
        b'{"prompt": "open \xff it", "gold": "{}", "predicted": ""}',
        r"open \xff it",
        "not UTF-8: byte 0xff",
    ),
    "no object": ('["打开空调"]'.encode(), '["打开空调"]', "a list, not an object"),
    "no gold": ('{"prompt": "打开空调"}'.encode(), '{"prompt":"打开空调"}', "no text under 'gold'"),
}


def jsonl(*lines: bytes | dict[str, str]) -> bytes:
    said = [
        x if isinstance(x, bytes) else json.dumps(x, ensure_ascii=False).encode() for x in lines
    ]
    return b"".join(line + b"\n" for line in said)


def prompts(store: Store) -> list[str]:
    return [case["prompt"] for case in read_inbox(store)]


@pytest.mark.parametrize("kind", POISON)
def test_a_poisoned_line_is_kept_as_it_was_and_costs_no_other(tmp_path, capsys, kind):
    line, kept, reason = POISON[kind]
    (tmp_path / "cases.jsonl").write_bytes(jsonl(GOOD[0], line, GOOD[1]))
    place = ["--store", str(tmp_path / "s")]
    assert main(["bad-cases", "add", str(tmp_path / "cases.jsonl"), *place]) == 0
    said = capsys.readouterr()
    assert said.out == "2 new bad cases, 0 already known, 1 quarantined\n"
    assert said.err.startswith(f"cases.jsonl:2: {reason}")
    assert prompts(Store(tmp_path / "s")) == [case["prompt"] for case in GOOD[:2]]

    assert main(["bad-cases", "list", "--quarantined", "--json", *place]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["position"] == "cases.jsonl:2" and found["reason"].startswith(reason)
    assert kept in found["raw"]
    assert main(["bad-cases", "list", "--quarantined", *place]) == 0
    shown = capsys.readouterr().out
    assert "1 lines quarantined" in shown and shown.replace("\n", "").isprintable()


def test_all_poison_at_once_beside_many_good_lines(tmp_path, capsys):
    lines = [x for case, (line, _, _) in zip(GOOD * 3, POISON.values(), strict=False)
             for x in (line, case)]  # fmt: skip
    (tmp_path / "cases.jsonl").write_bytes(jsonl(*lines, GOOD[3]))
    arguments = [str(tmp_path / "cases.jsonl"), "--store", str(tmp_path / "s")]
    for new, known in ((4, 8), (0, 12)):  # what is delivered again adds nothing
        assert main(["bad-cases", "add", *arguments]) == 0
        assert f"{new} new bad cases, {known} already known" in capsys.readouterr().out
        kept = read_quarantine(Store(tmp_path / "s"))
        assert [k in line["raw"] for (_, k, _), line in zip(POISON.values(), kept, strict=True)]
        assert len(read_deliveries(Store(tmp_path / "s"))) == len(POISON) + 4
    assert main(["bad-cases", "list", *arguments[1:]]) == 0
    shown = capsys.readouterr().out
    assert "测试" in shown and "打开the radio" in shown
    assert f"4 bad cases, {len(POISON)} lines quarantined: `winnow bad-cases list" in shown


@pytest.mark.parametrize(
    "record",
    [
        GOOD[0] | {"prompt": "打开\ud83d"},
        GOOD[0] | {"found_by": "\udc00"},
        {"prompt\ud800": "打开"},
        GOOD[0] | {"gold": datetime(2026, 1, 1)},
        GOOD[0] | {"gold": float("nan")},
        None,
        7,
    ],
    ids=["surrogate", "found by", "key", "date", "nan", "none", "number"],
)
def test_a_record_from_a_program_that_cannot_be_stored_costs_that_record(tmp_path, record: Any):
    records = [("1", GOOD[0]), ("2\udcff", record), ("3", GOOD[1])]
    delivery = add_bad_cases(Store(tmp_path), records)
    assert len(delivery.new) == 2 and delivery.quarantined[0][0] == r"2\udcff"
    (kept,) = read_quarantine(Store(tmp_path))
    said = record if isinstance(record, dict) else {"": record}
    assert all(part in kept["raw"] for part in ("打开",) if part in str(said))
    assert kept["raw"] and (kept["position"], kept["reason"]) == delivery.quarantined[0]


def test_a_byte_order_mark_is_no_part_of_a_case(tmp_path):
    marked = {name: f"\ufeff{text}\ufeff" for name, text in GOOD[0].items()}
    assert len(add_bad_cases(Store(tmp_path), [("1", marked), ("2", GOOD[0])]).new) == 1
    (case,) = read_inbox(Store(tmp_path))
    assert {name: case[name] for name in GOOD[0]} == GOOD[0]


def test_a_name_for_all_that_no_text_may_hold_is_refused_before_anything_is_delivered(tmp_path):
    with pytest.raises(ValueError, match=r"U\+202E"):
        add_bad_cases(Store(tmp_path), [("1", GOOD[0])], found_by="\u202eatset")
    assert read_deliveries(Store(tmp_path)) == []


@pytest.mark.parametrize("gone", [2, 20, 10_000])
def test_a_delivery_that_was_cut_is_damage_and_no_smaller_delivery(tmp_path, gone):
    add_bad_cases(Store(tmp_path), [("1", GOOD[0]), ("2", GOOD[1])])
    (path,) = (tmp_path / "intake").iterdir()
    path.write_bytes(path.read_bytes()[:-gone])
    with pytest.raises(Corrupt, match="of intake/00000000.jsonl"):
        read_inbox(Store(tmp_path))


def test_an_inbox_adds_up_and_a_case_that_is_lost_or_exchanged_shows(tmp_path):
    store = Store(tmp_path)
    add_bad_cases(store, [(str(i), case) for i, case in enumerate([*GOOD, {"prompt": "?"}])])
    add_bad_cases(store, [("9", GOOD[0] | {"prompt": "关闭车窗", "found_by": "v2"})])
    path = tmp_path / "intake" / "00000002.jsonl"  # two processes that delivered one case at once
    path.write_bytes((tmp_path / "intake" / "00000001.jsonl").read_bytes())
    delivered = read_deliveries(store)

    def account(snapshot: pl.DataFrame, found_by: str = "") -> Any:
        return account_inbox(delivered, snapshot, found_by=found_by)

    cases, ours = (snapshot_inbox(store, task=TASK, found_by=by) for by in ("", "v2"))
    assert account(cases).problems() == account(ours, "v2").problems() == []
    left = {label: n for label, tally in account(ours, "v2").left.items()
            for n, _ in tally.values()}  # fmt: skip
    assert left.pop("not asked for") == 4 and left.pop("duplicate") == 1
    assert left.pop("quarantined") == 1 and sum(left.values()) == 1
    lost = account(cases[1:]).problems()
    assert lost and "7 rows" in lost[0] and "6 rows" in lost[0]
    twice = pl.concat([cases[1:], cases[1:2]])  # as many as before
    assert account(twice).problems() and account(ours).problems()
