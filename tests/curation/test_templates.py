"""Templates: prompts are compared by what fills them, so that no different row is merged."""

import polars as pl
import pytest

from curation.dedup import find_duplicates, sign_rows
from curation.rows import dialogue, make_row, rows_frame
from curation.split import find_leaks
from curation.tasks.json_slots import json_slots
from curation.templates import cut_templates, fixed_parts
from curation.text import text_key

ZH = (
    "请阅读下面这条用户对车载语音助手的评价，判断它是好评还是差评，"
    "只回答好评或者差评两个字，不要解释，也不要重复原文：{text}"
)
EN = (
    "Read what a driver says about the voice assistant and answer with one word, good or bad: "
    "{text} (one word)"
)
SHORT = ["很好用", "反应慢", "不好用", "很聪明", "听不懂", "声音小", "真方便", "太吵了"]
LONG = (
    "昨天在高速上连续三次让它打开副驾的座椅加热，它都听成了座椅通风，最后还是我自己停车去按的按钮"
)
SHORT_EN = ["it works", "so slow", "no use", "smart", "too deaf", "quiet", "handy", "loud"]


def asked(template, texts, answer="差评"):
    made = (template.replace("{text}", text) for text in texts)
    return rows_frame(make_row(dialogue(prompt, answer)) for prompt in made)


@pytest.mark.parametrize(("template", "texts"), [(ZH, SHORT), (EN, SHORT_EN)])
def test_short_texts_in_a_long_template_all_stay(template, texts):
    rows = asked(template, texts)
    assert find_duplicates(rows).pairs.height > 1  # it hides how they differ
    assert find_duplicates(rows, templates=[template]).pairs.is_empty()
    given = find_duplicates(
        rows, templates=[template], signed=sign_rows(rows, templates=[template])
    )
    assert given.fates["fate"].to_list() == ["kept"] * rows.height


def test_what_fills_a_template_still_repeats():
    rows = asked(ZH, [LONG, LONG + "。", LONG.replace("自己", ""), *SHORT])
    pairs = find_duplicates(rows, templates=[ZH]).pairs
    assert sorted(pairs["kind"]) == ["exact", "near"]


def test_the_same_text_in_other_templates_is_another_prompt():
    other = ZH.replace("好评还是差评", "中文还是英文")
    rows = pl.concat([asked(ZH, [LONG]), asked(other, [LONG])])
    assert find_duplicates(rows, templates=[ZH, other]).pairs.is_empty()


def test_a_task_with_slots_compares_whole_prompts():
    task = json_slots(fields=["actions"], grounded=False)
    said = ["请帮我把主驾驶的车窗玻璃打开", "请帮我把主驾驶的车窗玻璃打开吧"]
    answer = '{"actions": [{"do": "打开", "what": "车窗"}]}'
    rows = rows_frame(make_row(dialogue(text, answer), track="domain") for text in said)
    found = [find_duplicates(rows, task=task, templates=t).pairs for t in ((), ("请帮我{}",))]
    assert found[0].equals(found[1]) and found[0].height == 1


def test_what_an_exam_row_has_of_the_template_gives_nothing_away():
    test = asked(ZH, [LONG]).with_columns(split=pl.lit("test"))
    train = asked(ZH, [*SHORT, LONG + "吧"])
    leaks = find_leaks(train, test, templates=[ZH])
    assert leaks["kind"].to_list() == ["near"] and leaks["of"].to_list() == test["id"].to_list()


def test_the_longest_template_that_fits_is_cut():
    templates = ["判断：{a}", "判断：{a}。答案是？", "{a}和{b}", "{}"]
    assert fixed_parts(templates) == [("判断", "答案是"), ("判断", "")]
    said = ["判断：好用。答案是？", "判断：好用", "判断：", "好用", "Ｐｌａｙ it"]
    prompts = pl.Series([text_key(text) for text in said])
    cut = cut_templates(prompts, templates)
    assert cut["rest"].to_list() == ["好用", "好用", "判断", "好用", text_key("play it")]
    assert cut["template"].to_list() == ["判断\x1f答案是", "判断\x1f", "", "", ""]
