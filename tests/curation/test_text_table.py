"""The kernel's keys are `text_key`'s, for every character and every neighbour."""

import unicodedata

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.text import text_key
from curation.text_table import fold_texts

TRICKY = "0159０９①²½Ⅷ-−—–.．,，、…·'’ \u3000\u00a0\t~/*+$￥%℃°μkKmMGWhBbpsTtAaZzÅßﬁİ"
TRICKY += "一二兩半萬開关ｱﾞ한ㅎ\u200d\ufe0f\u0301\u202e🚗"


@given(st.lists(st.text(st.sampled_from(TRICKY), max_size=12), min_size=1, max_size=40))
@example(["-…5", "3 K", "5 mW", "5 MW", "3 -5", "a'b", "a  b", "、。", "", "３．５ＫＷ", "等…5分"])
def test_the_kernel_folds_as_text_key_does(texts):
    assert fold_texts(pl.Series(texts)).to_list() == [text_key(text) for text in texts]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=20))
def test_so_it_does_for_any_text(texts):
    assert fold_texts(pl.Series(texts)).to_list() == [text_key(text) for text in texts]


@pytest.mark.parametrize("frame", ["{}", "a{}b", "3{}5", "开{}k", " {}3"])
def test_every_character_between_these_neighbours(frame):
    codes = (c for c in range(0x20000) if not 0xD800 <= c < 0xE000)
    assigned = [chr(c) for c in codes if unicodedata.category(chr(c)) != "Cn"]
    texts = [frame.format(c) for c in assigned if not "\u4e00" <= c < "\u9f00" or ord(c) % 8 == 0]
    keys = fold_texts(pl.Series(texts)).to_list()
    wrong = [t for t, key in zip(texts, keys, strict=True) if key != text_key(t)]
    assert wrong == []
