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


CAR = json_slots(
    fields=["actions"],
    slots={"actions": ["do", "what", "value?"]},
    closed={"do": ["打开", "关闭", "调高", "调低", "设为", "lock", "unlock"]},
    aliases={"lock": ["secure", "上锁"]},
    opposites={"lock": "unlock"},
)


@pytest.mark.parametrize(
    ("utterance", "actions", "reason"),
    [
        ("关掉空调", [("打开", "空调")], "opposite:actions[0].do=打开"),
        ("關掉空調", [("打开", "空調")], "opposite:actions[0].do=打开"),
        ("能不能把音量调低", [("调高", "音量")], "opposite:actions[0].do=调高"),
        ("turn off the AC on the left", [("打开", "AC")], "opposite:actions[0].do=打开"),
        ("Please increase the volume", [("调低", "volume")], "opposite:actions[0].do=调低"),
        ("secure the door", [("unlock", "door")], "opposite:actions[0].do=unlock"),
        ("打开空调，不对，关闭车窗", [("打开", "车窗")], "opposite:actions[0].do=打开"),
        (
            "打开空调再关闭车窗",
            [("打开", "空调"), ("打开", "车窗")],
            "opposite:actions[1].do=打开",
        ),
        (
            "open the trunk and close the sunroof",
            [("关闭", "trunk"), ("关闭", "sunroof")],
            "opposite:actions[0].do=关闭",
        ),
        (
            "空调调到26度，音量调到18",
            [("设为", "空调", "18"), ("设为", "音量", "26")],
            "ungrounded:actions[0].value=18",
        ),
        (
            "set fan to 3 and volume to 5",
            [("设为", "fan", "5"), ("设为", "volume", "5")],
            "ungrounded:actions[0].value=5",
        ),
    ],
)
def test_what_is_said_of_one_thing_is_no_ground_for_the_opposite_or_for_another(
    utterance, actions, reason
):
    assert CAR.check(utterance, answer(*actions)) == reason


@pytest.mark.parametrize(
    ("utterance", "actions"),
    [
        ("别打开空调", [("关闭", "空调")]),
        ("别打开空调", [("打开", "空调")]),
        ("don't open the window", [("关闭", "window")]),
        ("空调关了太热，开一下", [("打开", "空调")]),
        ("车窗还开着呢", [("关闭", "车窗")]),
        ("the window is open", [("关闭", "window")]),
        ("音量有点高", [("调低", "音量")]),
        ("温度低了", [("调高", "温度")]),
        ("离开的时候把灯熄掉", [("关闭", "灯")]),
        ("高峰期把音量变小", [("调低", "音量")]),
        ("I'm on a call, mute the music", [("关闭", "music")]),
        ("打开空调、车窗", [("打开", "空调"), ("打开", "车窗")]),
        ("把空调关了把窗打开", [("关闭", "空调"), ("打开", "窗")]),
        ("空调再调高2度，音量调到18", [("调高", "空调", "2度"), ("设为", "音量", "18")]),
        ("空调26度，座椅也一样", [("设为", "空调", "26度"), ("设为", "座椅", "26度")]),
        ("both seats and the fan to 3", [("设为", "seats", "3"), ("设为", "fan", "3")]),
        ("lock the door", [("lock", "door")]),
    ],
)
def test_where_clauses_cannot_tell_nothing_is_said_against_an_answer(utterance, actions):
    assert CAR.check(utterance, answer(*actions)) == ""


def test_opposites_are_not_asked_for_where_nothing_has_to_be_grounded():
    free = json_slots(fields=["actions"], closed={"do": ["打开", "关闭"]}, grounded=False)
    assert free.check("关掉空调", answer(("打开", "空调"))) == ""


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
        (
            {"closed": {"do": ["lock", "unlock"]}, "opposites": {"lock": "unlok"}},
            "did you mean 'unlock'",
        ),
        (
            {"closed": {"do": ["开", "关"]}, "opposites": {"开": ["关"]}},
            r"task.opposites.开: expected a closed value, got \['关'\]",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_at_the_door(options, message):
    with pytest.raises(ValueError, match=message):
        json_slots(fields=["actions"], **options)
