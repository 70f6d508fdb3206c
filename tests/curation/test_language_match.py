"""An answer in another language than the question is noticed; code and translations are not."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.rows import ROW_SCHEMA, dialogue, make_row
from curation.scorers._base import ScoreContext
from curation.scorers._screen import weigh_texts
from curation.scorers.language_match import _counted, language_match, match_languages
from curation.tasks.free_text import free_text

ENGLISH = "You can lower the window with the switch on the door."
CHINESE = "您可以按车门上的开关降下车窗。"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("怎么打开车窗？", CHINESE),
        ("How do I open the window?", ENGLISH),
        ("把这句话翻译成英文：您可以按车门上的开关。", ENGLISH),
        ("How do you say that in Chinese?", CHINESE),
        ("写一个打印问候的函数", "```python\nprint('hello, this is a long English line')\n```"),
        ("把 what 设为红色的森林，写成JSON", '{"actions":[{"do":"set","what":"red forest"}]}'),
        ("打开车窗", "OK"),
        ("首都是哪里？", "Paris"),
        (
            "什么是 CPU 和 GPU 的区别？",
            "CPU（Central Processing Unit）通用，GPU 擅长并行。",
        ),
        ("", ENGLISH),
        ("12345", CHINESE),
    ],
)
def test_an_answer_in_the_language_of_its_question(prompt, answer):
    assert match_languages(pl.Series([prompt]), pl.Series([answer])).to_list() == [True]


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("怎么打开车窗？", ENGLISH),
        ("How do I open the window?", CHINESE),
        ("请写一封感谢信", "Dear team, thank you for your work this year. Best regards."),
    ],
)
def test_an_answer_in_another_language(prompt, answer):
    assert match_languages(pl.Series([prompt]), pl.Series([answer])).to_list() == [False]


def test_a_row_of_the_domain_answers_in_the_form_of_its_task():
    pairs = [make_row(dialogue("怎么打开车窗？", ENGLISH), track=t) for t in ("domain", "general")]
    rows = pl.DataFrame(pairs, schema=ROW_SCHEMA)
    context = ScoreContext(task=free_text(), reference=ROW_SCHEMA.to_frame())
    assert language_match()(rows, context).to_list() == [True, False]


@given(st.lists(st.text() | st.text("好a ㄱé😀Ａ9\n", max_size=30), max_size=6))
def test_characters_are_counted_as_the_patterns_say(texts):
    counts = weigh_texts(said := pl.Series(texts, dtype=pl.String), _counted())
    for field, kind in enumerate(("[\u3400-\u9fff\uf900-\ufaff]", "[A-Za-z]", r"\p{L}")):
        found = (counts >> 20 * field & (1 << 20) - 1).tolist()
        assert found == said.str.count_matches(kind).to_list()
