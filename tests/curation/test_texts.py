"""Texts for the base model: each has one fate, and none of those it reads gives the exam away."""

import polars as pl

from curation.fates import require_conservation
from curation.rows import dialogue, make_row, rows_frame
from curation.texts import find_text_leaks, judge_texts

BRAKES = "制动液每两年更换一次，液位低于下限时不要继续驾驶，请联系服务站检查制动系统。"
TYRES = "Check the tyre pressure once a month, when the tyres are cold, and before long journeys."
ASKED = "车辆涉水行驶之后制动距离变长了很多，应该怎么处理才安全？"


def texts(*said: str, source: str = "manual") -> pl.DataFrame:
    return rows_frame(
        make_row([{"role": "text", "content": text}], track="text", source=source) for text in said
    )


def exam(*pairs: tuple[str, str]) -> pl.DataFrame:
    return rows_frame(make_row(dialogue(*pair), split="test") for pair in pairs)


def fates(given: pl.DataFrame, *pairs: tuple[str, str], **options) -> dict[str, tuple[str, str]]:
    """Text -> its fate and reason."""
    judged = judge_texts(given, exam(*pairs), **options)
    require_conservation(given, judged)
    said = {row["id"]: row["messages"][0]["content"] for row in given.to_dicts()}
    return {said[f["id"]]: (f["fate"], f["reason"]) for f in judged.to_dicts()}


def test_every_text_has_one_fate():
    near, hotline = BRAKES.replace("请联系", "务必联系"), f"{TYRES} Call +1 415-555-2671."
    again = TYRES.upper().replace(",", "，")
    given = pl.concat([texts(BRAKES, near, "目录", hotline, TYRES), texts(again, source="ticket")])
    found = fates(given, priority=["ticket", "manual"])
    assert found.pop("目录") == ("dropped", "too_short")
    assert found.pop(hotline) == ("dropped", "pii")
    assert found.pop(again) == ("kept", "") and found.pop(TYRES) == ("merged", "exact")
    assert sorted(found.values()) == [("kept", ""), ("merged", "near")]
    assert fates(texts(hotline), pii="keep") == {hotline: ("kept", "")}
    assert fates(texts("目录"), min_chars=2) == {"目录": ("kept", "")}


def test_texts_with_other_numbers_or_the_opposite_are_no_repeats():
    given = texts(BRAKES, BRAKES.replace("两年", "三年"), BRAKES.replace("低于下限", "高于上限"))
    assert {fate for fate, _ in fates(given).values()} == {"kept"}


def test_what_gives_the_exam_away_is_not_read():
    answer = "Pump the brake pedal gently while driving slowly until it grips as before."
    parts = [
        f"第三章 {ASKED} 见下文。",
        f"常见问题：{ASKED.replace('很多', '不少')}",
        f"{TYRES} {answer.upper()}",
        f"{BRAKES}问：打开后视镜加热。答：已为您打开。",
        f"按下按钮即可打开后视镜加热。{BRAKES}{TYRES}已为您打开",
        BRAKES,
    ]
    pairs = [(ASKED, answer), ("打开后视镜加热", "已为您打开")]
    found = fates(texts(*parts), *pairs, threshold=1.0)
    assert [found[part] for part in parts] == [("dropped", "leak")] * 4 + [("kept", "")] * 2
    leaks = find_text_leaks(texts(*parts), exam(*pairs))
    assert leaks["id"].is_sorted() and leaks.height == 4
    assert set(leaks["of"]) == set(exam(*pairs)["id"])


def test_no_texts_and_no_exam_are_judged_too():
    assert judge_texts(texts(), exam((ASKED, "好"))).is_empty()
    assert fates(texts(BRAKES)) == {BRAKES: ("kept", "")}
