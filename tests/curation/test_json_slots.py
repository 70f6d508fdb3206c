"""The slot task: what it accepts, what it holds for equal, and how it names an error."""

import json

import pytest

from curation.tasks.json_slots import json_slots

TASK = json_slots(
    fields=["conditions", "actions"],
    optional=["conditions"],
    ordered=["actions"],
    slots={"conditions": ["what?", "is"], "actions": ["do", "what", "value?"]},
    closed={"do": ["打开", "关闭", "设为"]},
    aliases={"空调": ["冷气"]},
)


def answer(*actions: tuple[str, ...], conditions: list[dict] | None = None) -> str:
    keys = ("do", "what", "value")
    made = {"actions": [dict(zip(keys, action, strict=False)) for action in actions]}
    return json.dumps(
        {"conditions": conditions, **made} if conditions else made, ensure_ascii=False
    )


def test_a_grounded_answer_is_valid():
    gold = answer(("设为", "空调", "26度"), conditions=[{"what": "车速", "is": "超过80"}])
    assert TASK.check("车速超过80的话把空调调到26度", gold) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("好的，马上打开", "not_json"),
        ('{"actions":[{"do":"打开","what":"空调"}]', "not_json"),
        ('{"actions":[],"actions":[{"do":"打开","what":"空调"}]}', "not_json"),
        ('["打开"]', "wrong_type:answer"),
        ('{"actions":[{"do":"打开","what":"空调"}],"mood":"开心"}', "unknown_field:mood"),
        ('{"conditions":[{"is":"打开"}]}', "missing_field:actions"),
        ('{"actions":"打开空调"}', "wrong_type:actions"),
        ('{"actions":[]}', "empty:actions"),
        ('{"conditions":[],"actions":[{"do":"打开","what":"空调"}]}', "empty:conditions"),
        ('{"actions":["打开"]}', "wrong_type:actions[0]"),
        ('{"actions":[{"do":"打开","what":1}]}', "wrong_type:actions[0].what"),
        ('{"actions":[{"do":"打开"}]}', "missing_slot:actions[0].what"),
        ('{"actions":[{"do":"打开","what":"空调","who":"我"}]}', "unknown_slot:actions[0].who"),
        ('{"actions":[{"do":"炸开","what":"空调"}]}', "not_allowed:actions[0].do=炸开"),
        ('{"actions":[{"do":"打开","what":"车窗"}]}', "ungrounded:actions[0].what=车窗"),
    ],
)
def test_each_defect_has_its_reason(text, reason):
    assert TASK.check("打开空调", text) == reason


@pytest.mark.parametrize(
    ("utterance", "value", "grounded"),
    [
        ("把空调调到26度", "26度", True),
        ("把空调调到２６ 度", "26度", True),
        ("把空调调到126度", "26度", False),
        ("低于-10度就开", "10度", False),
        ("低于-10度就开", "-10度", True),
        ("零下5度就开", "5度", False),
        ("20-26度都行", "26度", True),
        ("调到8.5", "85", False),
        ("调到8.5", "8", False),
        ("音量10%", "10", False),
        ("空调二十二度", "二度", False),
        ("turn on the ACC", "AC", False),
        ("Turn on the Rear  Window", "rear window", True),
        ("把冷气打开", "空调", True),
        ("把空调打开", "冷气", True),
    ],
)
def test_a_value_is_grounded_whole_or_not_at_all(utterance, value, grounded):
    assert TASK.grounds(utterance, value) is grounded


def test_typography_aliases_and_key_order_do_not_count():
    a = '{"actions":[{"do":"设为","what":"空调","value":"26度"}]}'
    b = '{ "conditions": [], "actions": [{"value": "２６ 度", "what": "冷气", "do": "设为"}] }'
    assert TASK.canonical(a) == TASK.canonical(b)


@pytest.mark.parametrize(
    "pair", [("22度", "26度"), ("-10", "10"), ("8.5", "85"), ("10%", "10"), ("1 5", "15")]
)
def test_numbers_signs_and_units_are_never_folded(pair):
    one, other = (TASK.canonical(answer(("设为", "音量", value))) for value in pair)
    assert one != other


def test_conditions_have_no_order_and_actions_have():
    rain, dark = {"is": "下雨"}, {"is": "天黑"}
    first, second = ("打开", "大灯"), ("关闭", "天窗")
    want = TASK.canonical(answer(first, second, conditions=[rain, dark]))
    assert want == TASK.canonical(answer(first, second, conditions=[dark, rain]))
    assert want != TASK.canonical(answer(second, first, conditions=[rain, dark]))


def test_what_does_not_parse_is_its_own_canonical_form():
    assert TASK.canonical(" 打开空调 ") == "打开空调"
    assert TASK.slots("打开空调") == []


def test_slots_are_a_flat_multiset():
    slots = TASK.slots(answer(("打开", "冷气"), ("打开", "车窗")))
    assert slots == ["actions.do=打开", "actions.do=打开", "actions.what=空调", "actions.what=车窗"]


@pytest.mark.parametrize(
    ("predicted", "signature"),
    [
        (answer(("打开", "空调"), ("关闭", "车窗"), conditions=[{"is": "下雨"}]), ""),
        ("不知道", "not_json"),
        ('{"x":[{"a":"b"}]}', "unknown_field"),
        (answer(("打开", "空调"), ("关闭", "车窗")), "missing:conditions"),
        (answer(("打开", "空调"), conditions=[{"is": "下雨"}]), "too_few:actions"),
        (
            answer(("关闭", "车窗"), ("打开", "空调"), conditions=[{"is": "下雨"}]),
            "wrong_order:actions",
        ),
        (
            answer(("打开", "空调", "一点"), ("关闭", "车窗"), conditions=[{"is": "下雨"}]),
            "extra_slot:actions.value",
        ),
        (
            answer(("打开", "天窗"), ("关闭", "车窗"), conditions=[{"is": "下雨"}]),
            "wrong_value:actions.what",
        ),
    ],
)
def test_the_signature_names_the_first_error(predicted, signature):
    gold = answer(("打开", "空调"), ("关闭", "车窗"), conditions=[{"is": "下雨"}])
    assert TASK.signature(gold, predicted) == signature


def test_corruptions_are_wrong_repeatable_and_of_many_kinds():
    said = "下雨的话把空调调到26度再关闭天窗"
    gold = answer(("设为", "空调", "26度"), ("关闭", "天窗"), conditions=[{"is": "下雨"}])
    made = TASK.corrupt(gold, said, seed=1)
    assert made == TASK.corrupt(gold, said, seed=1) != TASK.corrupt(gold, said, seed=2)
    assert all(TASK.canonical(text) != TASK.canonical(gold) for text, _ in made)
    assert len({kind for _, kind in made}) >= 9
    assert (
        TASK.corrupt("不是JSON", said, seed=1) == TASK.corrupt('{"actions":[]}', said, seed=1) == []
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optional": ["action"]}, "did you mean 'actions'"),
        ({"slots": {"actions": ["do"]}, "closed": {"du": ["开"]}}, "did you mean 'do'"),
        ({"aliases": {"空调": "冷气"}}, "expected a list of texts"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_the_door(options, message):
    with pytest.raises(ValueError, match=message):
        json_slots(fields=["actions"], **options)
