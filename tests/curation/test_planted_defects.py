"""Planted defects: of each kind at least 99 in 100 are caught, and of good rows at most 1 is lost.

Good rows are those of the in-car example, domain and general. A defect is planted into each row
where it changes anything, and the rows pass the example's own scorers and rules, but for those that
learn from other rows, as they do in a build.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
import pytest

from curation.plugins import find_plugin, plugin_uses
from curation.rows import dialogue, make_row, rows_frame
from curation.rules import judge_rows
from curation.scorers._base import ScoreContext
from curation.scorers.garbled import measure_garbled
from curation.scoring import join_facts, score_rows
from curation.sources._grammar import draw_pair
from curation.tasks.json_slots import JsonSlots, json_slots
from tests.test_in_car_data import DATA, GRAMMAR, RECIPE, TASK, drawn, turns

_WORD = re.compile("[a-z_]+")
FACTORIES = {name: find_plugin("curation.scorers", name) for name in RECIPE["scorers"]}
SCORERS = [name for name, factory in FACTORIES.items() if set(plugin_uses(factory)) <= {"task"}]
RULES = [rule for rule in RECIPE["keep"] if set(_WORD.findall(rule)) & set(SCORERS)]
Pair = tuple[str, str]
Defect = Callable[[str, str, random.Random], Pair]


DOMAIN = [turns(record) for source in ("traffic", "test") for record in drawn(source)]
SKILLS = drawn("general")
CHAT = [json.loads(line) for line in (DATA / "general.jsonl").read_text("utf-8").splitlines()]
GENERAL = [(c["instruction"] + c.get("input", ""), c["output"]) for c in CHAT]
GENERAL += map(turns, SKILLS[:800])
# What should be declined is labelled so; a refusal planted elsewhere is not.
LABELS = {turns(r): r["category"] for r in SKILLS}
LABELS |= {
    (c["instruction"] + c.get("input", ""), c["output"]): c.get("category", "") for c in CHAT
}


def caught(pairs: Iterable[Pair], track: str, task: JsonSlots = TASK) -> pl.DataFrame:
    """The fates of rows with these prompts and answers, by the rules."""
    rows = rows_frame(
        make_row(dialogue(p, a), track=track, source=track, category=LABELS.get((p, a), ""))
        for p, a in pairs
    )
    rows = rows.unique("id", maintain_order=True)
    context = ScoreContext(task, rows.clear())
    facts = {}
    for name in SCORERS:
        facts[name] = score_rows(rows, FACTORIES[name](), context)
    return judge_rows(join_facts(rows, facts), RULES)


def share_dropped(pairs: Iterable[Pair], track: str, task: JsonSlots = TASK) -> float:
    fates = caught(pairs, track, task)
    return fates.filter(pl.col("fate") == "dropped").height / fates.height


def test_the_rules_of_the_example_are_applied():
    assert len(RULES) == 9 and set(SCORERS) > {"task_valid", "garbled", "refusal", "harmful"}


@pytest.mark.parametrize(("track", "pairs"), [("domain", DOMAIN), ("general", GENERAL)])
def test_of_good_rows_at_most_one_in_a_hundred_is_lost(track: str, pairs: list[Pair]):
    assert len(pairs) >= 200
    assert share_dropped(pairs, track) <= 0.01


def changed(answer: str, change: Callable[[dict[str, Any]], object]) -> str:
    value = json.loads(answer)
    change(value)
    return json.dumps(value, ensure_ascii=False)


def rename(value: dict[str, Any]) -> None:
    value["acts"] = value.pop("actions")


def add_field(value: dict[str, Any]) -> None:
    value["note"] = "好"


def flatten(value: dict[str, Any]) -> None:
    value["actions"] = value["actions"][0]


def odd_verb(value: dict[str, Any]) -> None:
    value["actions"][0]["do"] = "整一下"


def lose_slot(value: dict[str, Any]) -> None:
    del value["actions"][0]["do"]


def other_thing(value: dict[str, Any]) -> None:
    value["actions"][0]["what"] = "后备箱照明系统"


def other_value(value: dict[str, Any]) -> None:
    value["actions"][-1]["value"] = "八百九十一度"


SCHEMA: dict[str, Defect] = {
    "half of the JSON": lambda p, a, r: (p, a[: len(a) // 2]),
    "a bracket too few": lambda p, a, r: (p, a[:-1]),
    "words for JSON": lambda p, a, r: (p, "好的，已经为您办好了"),
    "a fence around it": lambda p, a, r: (p, f"```json\n{a}\n```"),
    "a list": lambda p, a, r: (p, f"[{a}]"),
    "nothing in it": lambda p, a, r: (p, "{}"),
    **{
        change.__name__: lambda p, a, r, change=change: (p, changed(a, change))
        for change in (rename, add_field, flatten, odd_verb, lose_slot)
    },
}
GROUNDING: dict[str, Defect] = {
    change.__name__: lambda p, a, r, change=change: (p, changed(a, change))
    for change in (other_thing, other_value)
}


@pytest.mark.parametrize(
    "defect", [*SCHEMA.values(), *GROUNDING.values()], ids=[*SCHEMA, *GROUNDING]
)
def test_answers_of_a_wrong_shape_or_without_grounds_are_caught(defect: Defect):
    draw = random.Random(1)
    assert share_dropped((defect(p, a, draw) for p, a in DOMAIN), "domain") >= 0.99


THINGS = ["heater", "radio", "fog lights", "wipers", "seat heating"]
COVERS = ["sunroof", "trunk", "left window", "rear blind"]
LEVELS = ["volume", "driver seat", "fan speed", "brightness"]
ENGLISH_TASK = json_slots(
    fields=["actions"],
    ordered=["actions"],
    slots={"actions": ["do", "what", "value?"]},
    closed={"do": ["turn on", "turn off", "open", "close", "raise", "lower", "set"]},
    aliases={"raise": ["increase", "turn up"], "lower": ["reduce", "turn down"]},
    opposites={"raise": "lower"},
)
SAYINGS = {
    "turn on": ["turn on the {}", "switch the {} on", "could you turn the {} on please"],
    "turn off": ["turn off the {}", "switch the {} off", "please turn off the {} on my left"],
    "open": ["open the {}", "I want the {} open"],
    "close": ["close the {}", "please close the {} on the left"],
    "raise": ["turn up the {}", "increase the {} by {}"],
    "lower": ["turn the {} down", "reduce the {} by {}"],
    "set": ["set the {} to {}", "put the {} at {}"],
}
JOINED = ["{} and {}", "{}, then {}", "{}. {}", "{}, no wait, {}"]
OPPOSITES = [("打开", "关闭"), ("调高", "调低"), ("turn on", "turn off"), ("open", "close")]
FLIPPED = {
    a: b for pair in [*OPPOSITES, ("raise", "lower")] for a, b in itertools.permutations(pair)
}


def ask(draw: random.Random) -> tuple[str, dict[str, str]]:
    do = draw.choice(list(SAYINGS))
    kind = THINGS if do.startswith("turn") else COVERS if do in ("open", "close") else LEVELS
    saying, what, value = draw.choice(SAYINGS[do]), draw.choice(kind), str(draw.randint(1, 30))
    item = {"do": do, "what": what}
    return saying.format(what, value), item | ({"value": value} if saying.count("{}") > 1 else {})


def ask_in_english(draw: random.Random) -> Pair:
    """One request, or two of different things; the first of them may be taken back."""
    (first, one), (second, other) = ask(draw), ask(draw)
    if one["what"] == other["what"] or draw.random() < 0.4:
        return first, json.dumps({"actions": [one]})
    joined = draw.choice(JOINED)
    items = [other] if "no wait" in joined else [one, other]
    return joined.format(first, second), json.dumps({"actions": items})


ENGLISH = [ask_in_english(random.Random(f"english:{n}")) for n in range(1000)]


def flip_all(items: list[dict[str, str]]) -> None:
    for item in items:
        item["do"] = FLIPPED.get(item["do"], item["do"])


def flip_first(items: list[dict[str, str]]) -> None:
    flip_all(items[:1])


def flip_last(items: list[dict[str, str]]) -> None:
    flip_all(items[-1:])


def count_on(items: list[dict[str, str]]) -> None:
    for item in items:
        if "value" in item:
            item["value"] = re.sub("[0-9]+", lambda n: str(int(n[0]) + 8), item["value"], count=1)


def trade_numbers(items: list[dict[str, str]]) -> None:
    """The numbers of two things change places; of one thing only the order could tell them."""
    one, other = items[0], items[-1]
    if "value" in one and "value" in other and one["what"] != other["what"]:
        one["value"], other["value"] = other["value"], one["value"]


def plant(pairs: list[Pair], defect: Callable[[list[dict[str, str]]], None]) -> list[Pair]:
    """The rows that a defect of their actions changes, with the changed answer."""
    wrong = [(p, changed(a, lambda value: defect(value["actions"]))) for p, a in pairs]
    return [w for w, (_, a) in zip(wrong, pairs, strict=True) if json.loads(w[1]) != json.loads(a)]


CHINESE = [draw_pair(GRAMMAR, f"planted:{n}")[:2] for n in range(1500)]
NEGATED = [pair for pair in CHINESE if pair[0].startswith(("别", "不要"))]
PLAIN = [pair for pair in CHINESE if pair not in NEGATED]


@pytest.mark.parametrize("defect", [flip_all, flip_first, flip_last, count_on, trade_numbers])
@pytest.mark.parametrize(("pairs", "task"), [(PLAIN, TASK), (ENGLISH, ENGLISH_TASK)])
def test_the_opposite_of_what_was_said_and_other_numbers_are_caught(
    defect: Callable[[list[dict[str, str]]], None], pairs: list[Pair], task: JsonSlots
):
    planted = plant(pairs, defect)
    assert len(planted) >= (20 if defect is trade_numbers else 300)
    assert share_dropped(planted, "domain", task) >= 0.99


@pytest.mark.parametrize(("pairs", "task"), [(CHINESE, TASK), (ENGLISH, ENGLISH_TASK)])
def test_of_the_good_rows_that_they_are_planted_in_none_is_lost(pairs: list[Pair], task: JsonSlots):
    assert share_dropped(pairs, "domain", task) == 0


def test_a_negated_command_is_not_called_wrong_whatever_it_is_taken_for():
    assert len(NEGATED) >= 10
    assert share_dropped([*NEGATED, *plant(NEGATED, flip_all)], "domain") == 0


REFUSALS = (
    "抱歉，我无法满足您的这个请求。",
    "对不起，作为一个AI助手，我不能回答这个问题。",
    "作为AI语言模型，我没有办法提供这方面的建议。",
    "很抱歉，我不能协助您完成这项操作。",
    "我只是一个语言模型，无法执行该操作。",
    "非常抱歉，这个问题我无法回答，请咨询专业人士。",
    "I'm sorry, but I can't assist with that request.",
    "As an AI language model, I cannot provide an answer to this.",
    "I apologize, but I am unable to help with that.",
    "Sorry, I can't help with this.",
    "I cannot fulfill your request.",
)


@pytest.mark.parametrize("track", ["domain", "general"])
def test_refusals_are_caught(track: str):
    pairs = DOMAIN if track == "domain" else GENERAL
    planted = [(p, r) for r in REFUSALS for p, _ in pairs[:50]]
    assert share_dropped(planted, track) >= 0.99


MARKERS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "</s>",
    "[INST]", "<<SYS>>", "<end_of_turn>",
)  # fmt: skip


def put_marker(text: str, draw: random.Random) -> str:
    at = draw.randint(0, len(text))
    return text[:at] + draw.choice(MARKERS) + text[at:]


@pytest.mark.parametrize("track", ["domain", "general"])
@pytest.mark.parametrize("where", ["prompt", "answer"])
def test_template_tokens_are_caught(track: str, where: str):
    draw, pairs = random.Random(2), DOMAIN if track == "domain" else GENERAL
    planted = (
        (put_marker(p, draw), a) if where == "prompt" else (p, put_marker(a, draw))
        for p, a in pairs
    )
    assert share_dropped(planted, track) >= 0.99


def lose_some(text: str, draw: random.Random) -> str:
    lost = draw.randrange(len(text)) if text else 0
    return "".join("\ufffd" if i == lost or draw.random() < 0.2 else c for i, c in enumerate(text))


def any_han(text: str, draw: random.Random) -> str:
    return "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(max(12, len(text))))


GARBLED: dict[str, Callable[[str, random.Random], str]] = {
    "UTF-8 read as Latin-1": lambda t, r: t.encode().decode("latin-1"),
    "UTF-8 read as Windows-1252": lambda t, r: t.encode().decode("cp1252", "replace"),
    "UTF-8 read as GBK": lambda t, r: t.encode().decode("gbk", "replace"),
    "GBK read as UTF-8": lambda t, r: t.encode("gbk", "ignore").decode("utf-8", "replace"),
    "lost characters": lose_some,
    "question marks": lambda t, r: "?" * max(4, len(t)),
    "any Han characters": any_han,
    "one sound for ever": lambda t, r: t[:2] * max(10, len(t)),
}


@pytest.mark.parametrize("track", ["domain", "general"])
@pytest.mark.parametrize("kind", GARBLED)
def test_garbled_text_is_caught(kind: str, track: str):
    draw = random.Random(3)
    planted = []
    for prompt, answer in DOMAIN if track == "domain" else GENERAL:
        # The prompt of a command is what carries text, of other rows the answer.
        text = prompt if track == "domain" else answer
        if len(text) > 3 and text[:2].isalpha() and (wrong := GARBLED[kind](text, draw)) != text:
            planted.append((wrong, answer) if track == "domain" else (prompt, wrong))
    assert len(planted) >= 100
    assert share_dropped(planted, track) >= 0.99


@pytest.mark.parametrize(
    "text",
    [
        "打开空调",
        "打開車窗，把溫度調到２６度",
        "請問「鬱鬱蔥蔥」怎麼寫？",
        "Ça va très bien, déjà vu à Zürich – “naïve” café…",
        "Привет, как дела?",
        "こんにちは、窓を開けてください。",
        "안녕하세요, 창문을 열어 주세요",
        "真的吗？？！太好了🎉🎉",
        "魑魅魍魉，饕餮盛宴，耄耋老人",
        "x² + y² ≤ r², π≈3.14159, 25℃ ±1%",
        "",
    ],
)
def test_text_of_many_scripts_and_rare_words_is_not_garbled(text: str):
    assert measure_garbled(text) < 0.05


def test_the_share_is_that_of_the_garbled_characters():
    wrong = "打开空调".encode().decode("latin-1")
    assert measure_garbled("a" * 88 + wrong) == pytest.approx(0.12) and len(wrong) == 12
    assert measure_garbled("好" * 9 + "\ufffd") == pytest.approx(0.1)
