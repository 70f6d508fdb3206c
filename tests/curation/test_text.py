"""Typography does not count and numbers do, in Chinese and in English."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.text import is_negated, meaning_marks, named_senses, text_key, text_keys

SAME = [
    ("打開空調", "打开空调。"),
    ("打开 空调！", "打开空调"),
    ("把溫度調到２６度", "把温度调到26度"),
    ("「打开」车窗", "打开车窗"),
    ("裏面的頭髮", "里面的头发"),
    ("Turn on the A/C, please!", "turn on the a/c please"),
    ("Hello,  World", "hello world"),
    ("播放QQ音乐～", "播放 qq 音乐"),
    ("iPhone 15", "iphone15"),
    ("5 km", "5KM"),
    ("温度调到 - 10 度", "温度调到−10度"),
    ("don’t stop", "Don't stop!"),
    ("今天\u200b天气", "今天天气"),
    ("Straße", "STRASSE"),
    ("1 + 1 = ?", "1+1="),
]
APART = [
    ("8.5", "85"),
    ("-10", "10"),
    ("调到-10度", "调到10度"),
    ("温度——10度", "温度-10度"),
    ("10:30", "1030"),
    ("3-5个", "35个"),
    ("3~5个", "35个"),
    ("1 2", "12"),
    ("1,5", "15"),
    ("10²", "102"),
    ("2①", "21"),
    ("3½", "31/2"),
    ("½", "12"),
    ("50%", "50"),
    ("5 mW", "5 MW"),
    ("10MB", "10Mb"),
    ("4g", "4G"),
    (".5", "5"),
    ("-.5", ".5"),
    ("-$5", "$5"),
    ("$5", "¥5"),
    ("26°C", "26°F"),
    ("一、五", "一五"),
    ("3, -5 + 1", "3-5 + 1"),
    ("(3+5)*2", "3+5*2"),
    ("a*b", "a/b"),
    ("C++", "C"),
    ("C#", "C"),
    ("打开", "关闭"),
    ("therapist", "the rapist"),
    ("we'll", "well"),
    ("snake_case", "snakecase"),
    ("？？？", "！"),
    ("😀", "😭"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_typography_does_not_count(one, other):
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_changes_the_meaning_counts(one, other):
    assert text_key(one) != text_key(other)


numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,2})?", fullmatch=True)
around = st.sampled_from(
    ["", " ", "到", "x", "to ", "：", ", ", "(", "第", "。", "①", "²", "/", "+"]
)


@given(around, numbers, numbers, around)
def test_two_numbers_never_share_a_key(before, one, other, after):
    keys = text_key(f"调{before}{one}{after}度"), text_key(f"调{before}{other}{after}度")
    assert (keys[0] == keys[1]) == (one == other)


@given(numbers, numbers, st.sampled_from([" ", ",", "、", ":", "-", "~", " - ", "…", "——", "\n"]))
def test_two_numbers_side_by_side_do_not_become_one(one, other, between):
    assert text_key(f"{one}{between}{other}") != text_key(f"{one}{other}")


wide = st.text(st.sampled_from("打開关空調温度 8.5-10，。!?AbcW%°①²½(+)~'\n"), max_size=12)


@given(wide)
def test_a_key_is_its_own_key(text):
    assert text_key(text_key(text)) == text_key(text)


@given(st.text(max_size=20))
def test_any_text_has_a_key_and_only_an_empty_one_has_none(text):
    assert bool(text_key(text)) == bool(text.strip())


def test_keys_of_a_series_keep_its_order_and_its_gaps():
    texts = pl.Series(["打開", None, "打开。", "", "打開"])
    assert text_keys(texts).to_list() == ["打开", None, "打开", "", "打开"]
    assert text_keys(texts.clear()).dtype == pl.String


@pytest.mark.parametrize(
    ("one", "other"),
    [("调到22度", "调到26度"), ("可以", "不可以"), ("打开车窗", "关闭车窗"), ("三天", "五天")]
    + [("do it", "don't do it"), ("turn on", "turn off"), ("从3到5", "从5到3"), ("8.5", "85")],
)
def test_meaning_marks_tell_numbers_negations_and_opposites_apart(one, other):
    assert meaning_marks(text_key(one)) != meaning_marks(text_key(other))
    assert meaning_marks(text_key(one + "吧")) == meaning_marks(text_key(one))


def test_words_of_one_sense_name_it_in_chinese_and_in_english():
    on, off = named_senses(text_key("打開空調")), named_senses(text_key("Turn it OFF"))
    assert on == named_senses("turn on the fan") == named_senses("启动") and len(on) == 1
    assert {(pair, 1 - side) for pair, side in off} == on
    assert named_senses("offer a song") == frozenset()


@pytest.mark.parametrize(
    ("key", "negated"),
    [("别打开", True), ("打开", False), ("don't open", True), ("note it", False)],
)
def test_a_negated_text_is_known(key, negated):
    assert is_negated(key) is negated
