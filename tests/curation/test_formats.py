"""Forms: a record comes back as it was in its own form, and no turn is lost in another."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.formats import read_record, write_record
from curation.rows import canonical_json, make_row

OPENAI = {
    "messages": [
        {"role": "developer", "content": "你是车载助手。"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "打开"}, {"type": "text", "text": "空调"}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_abc",
                    "type": "function",
                    "function": {"name": "set_ac", "arguments": '{"on":  true}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_abc", "content": "{}"},
        {"role": "assistant", "content": "空调已打开。", "weight": 1},
    ],
    "tools": [{"type": "function", "function": {"name": "set_ac", "parameters": {}}}],
    "parallel_tool_calls": False,
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "查一下新闻"},
        {"from": "function_call", "value": '{"name": "news", "arguments": {"topic": "科技"}}'},
        {"from": "observation", "value": "[]"},
        {"from": "gpt", "value": "没有新闻。"},
    ],
    "system": "你是助手。",
    "tools": '[{"name": "news", "parameters": {}}]',
    "score": 0.5,
}
ALPACA = {
    "instruction": "翻译",
    "input": "你好",
    "output": "hello",
    "system": "你是译者。",
    "history": [["早", "morning"], ["晚", "evening"]],
    "id": 7,
}
PAIR = {
    "conversations": [{"from": "system", "value": "礼貌"}, {"from": "human", "value": "在吗"}],
    "chosen": {"from": "gpt", "value": "在的。"},
    "rejected": {"from": "gpt", "value": "不在"},
}
RECORDS = [
    OPENAI,
    SHAREGPT,
    ALPACA,
    PAIR,
    {"instruction": "问", "chosen": "好", "rejected": "坏"},
    {"prompt": "问", "chosen": "好", "rejected": "坏"},
    {
        "prompt": [{"role": "user", "content": "问"}],
        "chosen": [{"role": "assistant", "content": "好"}],
        "rejected": [{"role": "assistant", "content": "坏"}],
    },
    {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    },
    {"question": "1+1=?", "answer": 2, "level": None},
    {"instruction": "output JSON", "input": "", "output": {"actions": [{"what": "空调"}]}},
    {
        "conversations": [
            {"role": "user", "content": "a\r\nb"},
            {"role": "assistant", "content": "c"},
        ]
    },
    {
        "messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]',
        "n": 1.0,
    },
]


def row_of(record, **options):
    parts = read_record(record, **options)
    return make_row(parts["messages"], tools=parts["tools"], meta=parts["meta"])


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: "+".join(r)[:40])
def test_a_record_comes_back_as_it_was(record):
    row = row_of(record)
    assert same_json(write_record(row, form=json.loads(row["meta"])["form"]), record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: "+".join(r)[:40])
@pytest.mark.parametrize("form", ["messages", "sharegpt"])
def test_no_turn_is_lost_in_a_form_that_holds_everything(record, form):
    row = row_of(record)
    again = row_of(write_record(row, form=form))
    assert (again["messages"], again["tools"]) == (row["messages"], row["tools"])
    assert json.loads(again["meta"]).get("rejected") == json.loads(row["meta"]).get("rejected")


def test_plain_records_leave_only_their_form_in_meta():
    record = {"instruction": "问", "input": "", "output": "答"}
    assert read_record(record)["meta"] == {"form": "alpaca"}


def test_the_same_tool_call_has_one_id_in_every_form():
    row = row_of(SHAREGPT)
    assert row_of(write_record(row, form="messages"))["id"] == row["id"]


def test_an_instruction_and_its_input_are_one_prompt():
    assert row_of({"instruction": "翻译", "input": "你好", "output": "hi"})["messages"][0][
        "content"
    ] == ("翻译\n你好")


def test_a_target_that_is_an_object_becomes_json_text():
    row = row_of({"instruction": "q", "input": "", "output": {"b": 1, "a": "空调"}})
    assert row["messages"][-1]["content"] == '{"b":1,"a":"空调"}'


def test_a_preference_pair_trains_on_the_chosen_answer_and_keeps_the_other():
    parts = read_record(PAIR)
    assert parts["messages"][-1]["content"] == "在的。" and parts["meta"]["rejected"] == "不在"


def test_a_labelled_table_is_read_by_columns_and_template():
    record = {"title": "好看", "body": "值得一看", "label": 1}
    row = row_of(record, columns={"answer": "label"}, template="评价：{title}，{body}")
    assert [m["content"] for m in row["messages"]] == ["评价：好看，值得一看", "1"]
    assert same_json(write_record(row, form="prompt_answer"), record)


def test_a_template_reads_columns_and_never_attributes():
    row = row_of({"a": "x", "answer": "y"}, template="{a.__class__} {a}")
    assert row["messages"][0]["content"] == "{a.__class__} x"


def test_a_given_system_text_is_used_where_the_record_has_none():
    without = {"instruction": "问", "input": "", "output": "答"}
    row = row_of(without, system="你是助手。")
    assert row["messages"][0]["content"] == "你是助手。"
    assert write_record(row, form="alpaca") == without
    assert row_of(ALPACA, system="别的")["messages"][0]["content"] == "你是译者。"


def test_a_changed_row_is_written_as_it_is_now():
    row = row_of(ALPACA)
    row["messages"][-1]["content"] = "hi"
    assert write_record(row, form="alpaca")["output"] == "hi"


def test_alpaca_refuses_tool_turns_instead_of_losing_them():
    with pytest.raises(ValueError, match="write sharegpt or messages"):
        write_record(row_of(SHAREGPT), form="alpaca")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"foo": 1}, "no known form has the keys foo"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "unknown role 'alien'"),
        ({"conversations": ["x"]}, "a turn is str"),
        (
            {"conversations": [{"from": "function_call", "value": "call it"}]},
            "function call: broken",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "content part is 'image_url'",
        ),
        ({"instruction": "a", "output": "b", "history": ["x"]}, "history is not a list of"),
        ({"instruction": "a", "output": "b\x00"}, "unsafe character U\\+0000"),
        ({"messages": [], "tools": "[1"}, "broken JSON"),
    ],
)
def test_what_has_no_reading_is_refused_with_a_short_reason(record, reason):
    with pytest.raises(ValueError, match=reason):
        read_record(record)


text = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=8)
words = text.filter(lambda t: t.strip())
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
extras = st.dictionaries(
    text.map("x_".__add__), scalars | st.lists(scalars, max_size=3), max_size=3
)
calls = st.dictionaries(text, scalars, max_size=2).map(
    lambda arguments: [{"type": "function", "function": {"name": "f", "arguments": arguments}}]
)


@st.composite
def conversations(draw):
    """Messages of the inner form with optional system, tool calls and tool answers."""
    turns = [("system", draw(words), "")] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(("user", draw(words), ""))
        if draw(st.booleans()):
            turns.append(("assistant", draw(text), canonical_json(draw(calls))))
            turns.append(("tool", draw(text), ""))
        turns.append(("assistant", draw(words), ""))
    keys = ("role", "content", "tool_calls")
    return make_row([dict(zip(keys, t, strict=True)) for t in turns])


@settings(max_examples=150, deadline=None)
@given(conversations(), st.sampled_from(["messages", "sharegpt", "alpaca", "prompt_answer"]))
def test_any_conversation_survives_a_form_or_is_refused(row, form):
    try:
        record = write_record(row, form=form)
    except ValueError as error:
        assert "write sharegpt or messages" in str(error)
        return
    assert row_of(json.loads(json.dumps(record)))["id"] == row["id"]


@settings(max_examples=150, deadline=None)
@given(conversations(), extras, st.sampled_from(["messages", "sharegpt"]), st.data())
def test_unknown_keys_anywhere_come_back(row, extra, form, data):
    record = write_record(row, form=form) | extra
    turns = record["messages" if form == "messages" else "conversations"]
    turns[data.draw(st.integers(0, len(turns) - 1))].update(extra)
    assert same_json(write_record(row_of(record), form=form), record)


def same_json(left, right):
    """Equal as JSON, where true is not 1 and 1 is not 1.0; the order of keys does not count."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
