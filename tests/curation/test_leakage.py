"""Leakage: what gives the exam away is found from keys and n-grams alone, and nothing else is."""

import random

import polars as pl
import pytest

from curation.leakage import LEAKAGE_SCHEMA, count_kinds, find_leakage, stemming_from
from curation.once import name_prompts
from curation.rows import EDGE_SCHEMA, dialogue, make_row, rows_frame
from curation.similarity import gram_size, jaccard
from curation.split import find_leaks
from curation.tasks.free_text import free_text
from curation.tasks.json_slots import json_slots
from curation.text import text_key
from tests.assets._project import HAN

TASK = json_slots(fields=["actions"], grounded=False)
ONE, OTHER = '{"actions":[{"do":"a"}]}', '{"actions":[{"do":"b"}]}'
NONE = EDGE_SCHEMA.to_frame()
ZH = "麻烦你现在把后排左边的车窗打开一下"
EN = "Please open the left rear window for me now"
LONG_ZH = "请问从北京南站出发乘坐高速列车到上海虹桥站大约需要几个小时才能到达目的地呢第{}次"
LONG_EN = "How many hours does the fast train from Paris to Marseille usually take on day {}?"


def row(prompt, answer=ONE, *, system="", **options):
    return make_row(dialogue(prompt, answer, system=system), **options)


def edge(child, parent):
    return {"child": child, "parent": parent, "kind": "augment_seed", "call": ""}


def kinds(trained, exam, *edges, held=(), gone=(), task=TASK):
    links = pl.DataFrame(edges, schema=EDGE_SCHEMA) if edges else NONE
    found = find_leakage(rows_frame(trained), rows_frame(exam), links, held, gone, task=task)
    assert found.schema == LEAKAGE_SCHEMA and found["id"].is_sorted()
    return dict(found.select("id", "kind").iter_rows())


@pytest.mark.parametrize(
    ("prompt", "answer", "kind"),
    [
        (ZH, ONE, "exact"),
        ("麻煩你現在，把後排左邊的車窗打開一下！", OTHER, "exact"),
        (ZH + "吧", ONE, "near"),
        (ZH + "吧", OTHER, None),
        ("关闭空调", ONE, None),
        ("please OPEN the left rear window, for me now!", OTHER, "exact"),
        (EN + " ok", ONE, "near"),
        (EN + " ok", OTHER, None),
        ("Close the sunroof", ONE, None),
    ],
)
def test_a_prompt_of_the_exam_leaks_with_any_answer_and_a_near_one_with_the_same(
    prompt, answer, kind
):
    trained = row(prompt, answer)
    exam = [row(ZH), row(EN)]
    assert kinds([trained, row("打开音乐")], exam) == ({trained["id"]: kind} if kind else {})


@pytest.mark.parametrize("exam", [[], [row("关闭空调")]])
def test_a_prompt_that_was_in_the_exam_once_leaks_and_a_near_one_does_not(exam):
    was = rows_frame([row(ZH), row(LONG_EN, track="general")])
    gone = name_prompts(was)["prompt"]
    again = [
        row("麻煩你現在，把後排左邊的車窗打開一下！", OTHER),
        row(LONG_EN, "42", track="general"),
    ]
    others = [row(ZH + "吧"), row(LONG_EN.upper(), track="general")]
    found = kinds([*again, *others], exam, gone=gone)
    assert found == {one["id"]: "withdrawn" for one in again}


@pytest.mark.parametrize("text", [LONG_ZH, LONG_EN])
def test_free_text_is_near_only_with_the_same_numbers_and_the_same_answer(text):
    exam = [row(text.format(3), "四个半小时", track="general")]
    near = row(text.format(3) + "好吗", "四个半小时", track="general")
    number = row(text.format(8), "四个半小时", track="general")
    answer = row(text.format(3) + "啊", "不知道", track="general")
    assert kinds([near, number, answer], exam) == {near["id"]: "near"}


ANSWER = "一般要四个半小时才能到，早上七点发车，票价也不算太贵，可以在网上提前预订座位"


def test_without_slots_near_answers_say_the_same_in_general_rows_alone():
    prompt, task = LONG_ZH.format(3), free_text()
    for track in ("domain", "general"):
        exam = [row(prompt, ANSWER, track=track)]
        same, near = (row(prompt + "啊", ANSWER + end, track=track) for end in ("", "的呀"))
        number = row(prompt + "啊", ANSWER.replace("七点", "八点"), track=track)
        found = kinds([same, near, number], exam, task=task)
        expected = [same["id"]] if track == "domain" else [same["id"], near["id"]]
        assert found == dict.fromkeys(sorted(expected), "near")


@pytest.mark.parametrize("long", [HAN[:20], "open the left sunshade of my car for you"])
def test_texts_on_two_sides_of_a_limit_of_length_are_compared_in_the_smaller_n_grams(long):
    short = long[: len(long) // 2] + long[len(long) // 2 + 1 :]
    keys = [text_key(long), text_key(short)]
    assert len({gram_size(key) for key in keys}) == 2 and jaccard(*keys) >= 0.8
    for trained, exam in ((row(long), row(short)), (row(short), row(long))):
        assert kinds([trained], [exam]) == {trained["id"]: "near"}


def test_what_stems_from_the_exam_or_from_a_held_case_is_a_sibling_in_any_generation():
    exam, made = row(ZH), [row(f"取消{what}") for what in ("香氛", "除雾", "按摩", "导航")]
    child, grandchild, of_case, fine = (r["id"] for r in made)
    edges = edge(child, exam["id"]), edge(grandchild, child), edge(of_case, "held")
    edges += edge(fine, "learned"), edge("nobody", exam["id"])
    siblings = dict.fromkeys([child, grandchild, of_case], "sibling")
    assert kinds(made, [exam], *edges, held=["held"]) == siblings
    assert kinds(made, [], *edges, held=["held"]) == {of_case: "sibling"}


def test_a_circle_of_parents_ends():
    links = pl.DataFrame([edge("a", "b"), edge("b", "a"), edge("c", "b")], schema=EDGE_SCHEMA)
    found = stemming_from(links, pl.Series(["a", "a"]))
    assert sorted(found.iter_rows()) == [("b", "a"), ("c", "a")]


def test_a_row_of_several_kinds_counts_once_as_the_first():
    exam = row(ZH)
    same, near = row(ZH + "！", OTHER), row(ZH + "吧")
    found = kinds([same, near], [exam], edge(same["id"], exam["id"]), edge(near["id"], exam["id"]))
    assert found == {same["id"]: "exact", near["id"]: "sibling"}


def test_another_instruction_is_another_prompt_but_for_the_products_own():
    exam = [row(LONG_ZH, "甲", track="general"), row(ZH)]
    other = row(LONG_ZH, "甲", system="你是海盗。", track="general")
    ours = row(ZH, OTHER, system="你是车机助手。")
    assert kinds([other, ours], exam) == {ours["id"]: "exact"}


@pytest.mark.parametrize(
    ("template", "exam", "near", "other"),
    [
        (
            "请阅读下面这条对车载语音助手的评价，判断它是好评还是差评，只回答两个字：{text}",
            "反应又快又准，夜里走高速也听得清我说的每一句话",
            "反应又快又准，夜里走高速也听得清我说的每一句话呀",
            "很聪明",
        ),
        (
            "Is this review of the voice assistant good or bad? One word only, please: {text}",
            "It understood every word I said on the motorway at night",
            "It understood every word I said on the motorway at night ok",
            "Too loud",
        ),
    ],
)
def test_prompts_of_a_template_are_compared_by_what_fills_it(template, exam, near, other):
    def filled(text, answer="好评"):
        return row(template.replace("{text}", text), answer, track="general")

    asked, leak, fine = filled(exam), filled(near), filled(other)
    short = filled(other + "啊")
    trained, tested = rows_frame([leak, fine]), rows_frame([asked, short])
    found = [
        dict(find_leakage(trained, tested, NONE, task=TASK, templates=named)["id", "kind"].rows())
        for named in ([template], [])
    ]
    assert found == [{leak["id"]: "near"}, {leak["id"]: "near", fine["id"]: "near"}]


def test_every_turn_before_the_answer_is_the_prompt():
    def talk(first):
        turns = [
            ("user", first),
            ("assistant", "好的。"),
            ("user", "谢谢"),
            ("assistant", "不客气"),
        ]
        return make_row([{"role": r, "content": c} for r, c in turns], track="general")

    exam, trained = talk("讲一个关于月亮的故事"), talk("写一首诗")
    assert kinds([trained], [exam]) == {}
    assert kinds([talk("讲一个关于月亮的故事！")], [exam]) == {
        talk("讲一个关于月亮的故事！")["id"]: "exact"
    }


def test_the_kinds_are_counted_with_those_that_are_none():
    found = find_leakage(rows_frame([row(ZH)]), rows_frame([row(ZH)]), NONE, task=TASK)
    none = {"exact": 0, "sibling": 0, "near": 0, "withdrawn": 0}
    assert count_kinds(found) == {**none, "exact": 1}
    assert count_kinds(found.clear()) == none


PARTS = (
    ("请", "麻烦", "帮我把", ""), ("后排", "前排", "左边的", ""), ("车窗", "天窗", "空调", "音乐"),
    ("打开", "开一下", "关闭"), ("到22度", "到26度", "", "吧"), ("，谢谢你一直都这么可靠", ""),
)  # fmt: skip
WORDS = (
    ("Please ", "Could you ", ""), ("open ", "close ", "set "), ("the left ", "the rear ", "the "),
    ("window", "sunroof", "radio"), (" to 22", " to 26", ""), (" right now if you can, thanks", ""),
)  # fmt: skip


@pytest.mark.parametrize("task", [TASK, free_text()], ids=["slots", "free text"])
@pytest.mark.parametrize("track", ["domain", "general"])
def test_what_the_split_step_would_drop_and_no_more_is_found(task, track):
    draw = random.Random(7)

    def drawn(n):
        parts = [draw.choice([PARTS, WORDS]) for _ in range(n)]
        made = [row("".join(map(draw.choice, p)), draw.choice([ONE, OTHER]), track=track)
                for p in parts]  # fmt: skip
        return rows_frame(made).unique("id").sort("id")

    trained, exam = drawn(400), drawn(60)
    expected = find_leaks(trained, exam, task=task)
    found = find_leakage(trained, exam, NONE, task=task)
    assert set(found["id"]) == set(expected["id"]) and expected["kind"].n_unique() == 2
    assert count_kinds(found)["exact"] == expected.filter(kind="prompt").height > 10
