"""Personal data at the door: dropped, redacted or replaced before a row gets its id."""

import json

import polars as pl
import pytest

from curation.formats import write_record
from curation.ingest import CHUNK, read_source
from curation.personal import find_personal
from curation.redaction import PERSONAL_SCHEMA
from curation.rows import row_id
from curation.sources._base import Record
from curation.tasks.json_slots import json_slots

KEY = b"a key that only this test knows"
ZH, EN = "13812345678", "(415) 555-2671"
TASK = json_slots(fields=["actions"])


def read(mode, *data, **options):
    records = [
        one if isinstance(one, Record) else Record(f"f:{i}", one) for i, one in enumerate(data, 1)
    ]
    return read_source(records, source="s", personal=mode, key=KEY, **options)


def call(number):
    return {"prompt": f"打给{number}", "answer": json.dumps({"actions": [{"what": number}]})}


def everything(read):
    """All that would go into the store, as text."""
    return "".join(frame.write_ndjson() for frame in (read.rows, read.occurrences, read.personal))


def test_a_dropped_record_leaves_its_kinds_and_nothing_of_its_text():
    got = read("drop", call(ZH), {"prompt": f"mail joe@mail.co.uk, {EN}", "answer": "ok"}, call(""))
    assert got.counts == {"delivered": 3, "new": 1, "duplicate": 0, "quarantined": 2}
    gone = got.occurrences.filter(pl.col("outcome") == "quarantined")
    assert gone["reason"].to_list() == ["personal data: phone", "personal data: phone, email"]
    assert set(gone["raw"]) == set(gone["id"]) == {""}
    assert set(got.personal["id"]) == {""} and got.personal["position"].n_unique() == 2
    assert ZH not in everything(got) and "joe" not in everything(got)
    assert ZH in everything(read("keep", call(ZH)))


def test_a_tag_is_in_the_language_of_the_row_and_the_id_is_that_of_what_is_stored():
    got = read("redact", call(ZH), {"prompt": f"call {EN}", "answer": "ok"})
    said = {row["messages"][0]["content"]: row for row in got.rows.to_dicts()}
    assert said.keys() == {"打给[电话号码]", "call [phone]"}
    assert TASK.check("打给[电话号码]", said["打给[电话号码]"]["messages"][1]["content"]) == ""
    assert all(row_id(row["messages"], row["tools"]) == row["id"] for row in said.values())


def test_two_people_who_said_the_same_become_one_row_and_two_facts():
    got = read("redact", call(ZH), call("13912345678"))
    assert got.counts["new"] == got.counts["duplicate"] == 1
    assert got.personal["id"].n_unique() == 1 and got.personal["digest"].n_unique() == 2


def test_a_pseudonym_is_the_same_in_prompt_and_answer_so_that_it_stays_grounded():
    got = read("pseudonymise", call(ZH), call("１３８１２３４５６７８"), call("joe@mail.co.uk"))
    answers = [(row["messages"][0], row["messages"][1]) for row in got.rows.to_dicts()]
    assert [TASK.check(asked["content"], said["content"]) for asked, said in answers] == ["", ""]
    assert got.counts["duplicate"] == 1, "the same number in full width is the same row"


def test_a_fact_says_where_the_replacement_stands():
    tools = [{"name": "dial", "description": f"mail joe@mail.co.uk or {EN}"}]
    arguments = {"number": int(ZH), "note": f"急：\n{ZH}"}
    turns = [
        {"role": "user", "content": f"先打{ZH}，再打{EN}"},
        {"role": "assistant", "tool_calls": [{"name": "dial", "arguments": arguments}]},
        {"role": "tool", "content": "好"},
        {"role": "assistant", "content": f"已打{ZH}"},
    ]
    got = read("pseudonymise", {"messages": turns, "tools": tools})
    (row,) = got.rows.to_dicts()
    assert got.personal.schema == PERSONAL_SCHEMA and set(got.personal["id"]) == {row["id"]}
    cut = []
    for fact in got.personal.to_dicts():
        text = row["messages"][fact["turn"]][fact["part"]] if fact["turn"] >= 0 else row["tools"]
        cut.append((fact["turn"], fact["part"], fact["kind"], text[fact["start"] : fact["end"]]))
    phone = cut[0][3]
    assert phone.startswith("129") and cut == [
        (0, "content", "phone", phone),
        (0, "content", "phone", cut[1][3]),
        (1, "tool_calls", "phone", phone),
        (1, "tool_calls", "phone", phone),
        (3, "content", "phone", phone),
        (-1, "tools", "email", cut[5][3]),
        (-1, "tools", "phone", cut[1][3]),
    ]
    given = json.loads(row["messages"][1]["tool_calls"])[0]["function"]["arguments"]
    assert given == {"number": int(phone), "note": f"急：\n{phone}"}


def test_labels_and_what_a_record_holds_beside_its_conversation_are_cleared_too():
    beside = {
        "prompt": "问",
        "answer": "答",
        "category": ZH,
        "phone": int(ZH),
        "difficulty": "hard",
    }
    rejected = {"prompt": "问二", "chosen": "答", "rejected": f"打{ZH}"}
    for mode in ("redact", "pseudonymise", "drop"):
        got = read(mode, beside, rejected, category="车控")
        assert ZH not in everything(got), mode
        hard = got.rows.filter(pl.col("difficulty") == "hard")
        assert hard["category"].to_list() == ["车控"] and "difference" not in hard["meta"][0]
    assert got.counts["quarantined"] == 1


def test_a_record_without_personal_data_is_written_back_as_it_came():
    given = {"prompt": "问", "answer": "答 ", "ticket": "七号"}
    (row,) = read("redact", given).rows.to_dicts()
    assert write_record(row, form="prompt_answer") == given


def test_the_instruction_of_the_recipe_is_nobodys():
    system = "客服邮箱 help@shop.com.cn"
    for mode in ("redact", "drop"):
        (row,) = read(mode, {"prompt": "问", "answer": "答"}, system=system).rows.to_dicts()
        assert row["messages"][0]["content"] == system
    told = {"prompt": "问", "answer": "答", "system": system}
    assert read("drop", told).counts["quarantined"] == 1


@pytest.mark.parametrize("mode", ["drop", "redact", "pseudonymise"])
def test_a_quarantined_record_is_kept_without_personal_data(mode):
    broken = Record("f:1", None, "broken JSON", f'{{"打给":"\\n{ZH}')
    halved = Record("f:2", None, "broken JSON", "坏" * 663 + "，1381234567")
    role = {"messages": [{"role": ZH, "content": "?"}]}
    long = {"messages": "x" * 1979 + f" {ZH}"}  # which a cut at 2,000 would halve
    got = read(mode, broken, halved, role, long)
    raws, reasons = got.occurrences["raw"].to_list(), got.occurrences["reason"].to_list()
    assert raws[0] == '{"打给":"\\n[电话号码]' and raws[1].endswith("坏，")
    assert reasons[2] == "unknown role '[phone]'" and raws[3].endswith("x [phone]")
    assert "1381" not in everything(got) and got.counts["quarantined"] == 4


def test_the_outcome_does_not_depend_on_how_a_source_is_cut():
    data = [call(f"138{i:08d}") for i in range(40)] + [call(ZH)] * 2
    whole = read("pseudonymise", *data)
    filler = [{"prompt": f"问{i}", "answer": "答"} for i in range(CHUNK - 20)]
    cut = read("pseudonymise", *filler, *data)  # the chunk ends among them
    ours = cut.rows.filter(pl.col("messages").list.len() > 1).join(whole.rows, on="id", how="semi")
    assert ours.equals(whole.rows)
    assert cut.personal.drop("position").equals(whole.personal.drop("position"))


def test_without_a_key_nothing_is_redacted_or_read():
    with pytest.raises(ValueError, match="personal: redact needs a key"):
        read_source([], source="s", personal="redact")


def test_what_joining_brings_together_is_found():
    data = {"area": "138", "number": "12345678", "answer": "好"}
    got = read("redact", data, template="打给{area}{number}")
    assert got.rows["messages"][0][0]["content"] == "打给[电话号码]"
    assert "12345678" not in everything(got) and not find_personal(everything(got))
