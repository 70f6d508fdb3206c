"""Several tasks in one: which part a row belongs to, and that each part judges its own rows."""

import polars as pl
import pytest

from curation.augmenters._known import NEAR, KnownRows
from curation.bad_cases import add_bad_cases, snapshot_inbox
from curation.dedup import text_rows
from curation.error_types import find_error_types
from curation.ingest import read_source
from curation.rows import dialogue, make_row, rows_frame
from curation.sources._base import Record
from curation.store import Store
from curation.tasks._base import names_slots, sign_error
from curation.tasks.several import several

COMMAND = {"use": "json_slots", "fields": ["actions"], "closed": {"do": ["打开", "关闭"]}}
CHAT = {"use": "free_text", "system": "陪用户聊天。"}
TASK = several(tasks={"command": COMMAND, "chat": CHAT}, system="你是车载助手。")
SPLIT = several(
    tasks={"command": COMMAND, "translate": {"use": "free_text", "when": "^(翻译|Translate)[：:]"}}
)
OPEN = '{"actions":[{"do":"打开","what":"空调"}]}'


@pytest.mark.parametrize(
    ("prompt", "answer", "part"),
    [
        ("打开空调", OPEN, "command"),
        ("打开空调", '{"actions":[', "command"),  # cut off, and still no prose
        ("今天好累", "那就歇一会儿吧。", "chat"),
        ("how are you", "I'm fine.", "chat"),
    ],
)
def test_the_form_of_the_right_answer_tells_the_part(prompt, answer, part):
    assert TASK.part(prompt, answer) == (part, TASK.parts[part])


def test_a_pattern_goes_before_the_form_and_a_row_of_no_part_is_refused():
    assert SPLIT.part("翻译：打开空调", OPEN)[0] == "translate"
    assert (
        SPLIT.check("打开空调", "好的") == "not_json"
    )  # a command by its prompt, whatever it says
    assert SPLIT.check("Translate: 你好", "hello") == ""
    only = several(tasks={"command": COMMAND | {"when": "打开|关闭"}})
    assert only.part("你好", "你好呀") == ("", only)
    assert (
        only.check("你好", "你好呀") == "no_task" and only.corrupt("你好呀", "你好", seed=0) == []
    )


def test_each_part_judges_compares_and_spoils_its_own_rows():
    assert TASK.check("打开空调", OPEN.replace("空调", "天窗")).startswith("ungrounded:")
    assert TASK.canonical('{"actions": [{"what": "空调", "do": "打开"}]}') == TASK.canonical(OPEN)
    assert TASK.slots(OPEN) and TASK.slots("好的") == []
    assert TASK.signature(OPEN, "好的") == "command.not_json"
    assert TASK.signature("Fine!", " fine!") == ""
    assert sign_error(SPLIT, "翻译：你好", "hello there, you", "hi") == "translate.too_short"
    kinds = {kind for _, kind in TASK.corrupt(OPEN, "打开空调", seed=0)}
    assert "drop_slot" in kinds and "echo" not in kinds
    assert TASK.fields == ("actions",) and TASK.closed == {"do": ("打开", "关闭")}
    assert not names_slots(TASK) and names_slots(TASK.parts["command"])


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({}, "at least one"),
        ({"a": COMMAND, "b": COMMAND}, "'actions' is one of 'a'"),
        ({"a": {"use": "json_slot"}}, "did you mean 'json_slots'"),
        ({"a": {"fields": []}}, "with 'use'"),
        ({"a": CHAT | {"sytem": "x"}}, "task.tasks.a: unknown key 'sytem'"),
        ({"a": CHAT | {"when": "("}}, "task.tasks.a.when: '\\(' is no pattern"),
        ({"a": {"use": "several", "tasks": {}}}, "no part of"),
        ({"a b": CHAT}, "a name is"),
    ],
)
def test_parts_that_cannot_be_are_refused_with_the_place(tasks, said):
    with pytest.raises(ValueError, match=said):
        several(tasks=tasks)


def test_rows_get_the_instruction_of_their_part():
    pairs = [("打开空调", OPEN), ("今天好累", "歇一会儿吧。")]
    given = [Record(f"f:{n}", {"prompt": p, "answer": a}) for n, (p, a) in enumerate(pairs)]
    read = read_source(given, source="s", system=lambda p, a: TASK.part(p, a)[1].system)
    said = {r["messages"][1]["content"]: r["messages"][0]["content"] for r in read.rows.to_dicts()}
    assert said == {"打开空调": "你是车载助手。", "今天好累": "陪用户聊天。"}


def test_bad_cases_have_the_row_and_the_error_type_of_their_part(tmp_path):
    store = Store(tmp_path)
    cases = [
        ("打开空调", OPEN, "好的"),
        ("今天好累", "那就歇一会儿吧。", "歇"),
        ("hi", "hello", ""),
    ]
    add_bad_cases(
        store,
        [(str(n), dict(zip(("prompt", "gold", "predicted"), c, strict=True)))
         for n, c in enumerate(cases)],
    )  # fmt: skip
    frame = snapshot_inbox(store, task=TASK)
    signs = dict(frame.select("prompt", "signature").iter_rows())
    assert signs == {
        "打开空调": "command.not_json",
        "今天好累": "chat.too_short",
        "hi": "chat.empty",
    }
    row = make_row(dialogue(*cases[1][:2], system="陪用户聊天。"))
    assert row["id"] in {*frame["row_id"]}
    types = find_error_types(frame.with_columns(half=pl.lit("learn")))
    assert "chat，太短" in {*types["name_zh"]}


def test_only_answers_with_slots_prove_that_near_prompts_ask_the_same():
    pairs = [("打开空调", OPEN), ("今天好累", "好的")]
    texts = text_rows(rows_frame(make_row(dialogue(p, a)) for p, a in pairs), TASK)
    assert sorted(texts.select("prompt", "certain").rows()) == [
        ("今天好累", False),
        ("打开空调", True),
    ]
    known = KnownRows(TASK, ["请你现在马上帮我打开车里面的空调好吗"], [OPEN])
    assert known.find("请你现在马上帮我打开车里面的空调好嘛", OPEN) == NEAR
