"""A search through the index finds what a search through every row finds."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curation.frames import ROW_GROUP
from curation.rows import dialogue, make_row, rows_frame
from curation.text_index import groups_to_search, index_texts

TEXTS = st.lists(
    st.text(alphabet="开空调度 ab\n0😀", min_size=1, max_size=8), min_size=1, max_size=6
)


def texts(*prompts: str) -> pl.DataFrame:
    rows = rows_frame(make_row(dialogue(prompt, "好的")) for prompt in prompts)
    return rows.select("id", "messages", "tools")


@given(prompts=TEXTS, wanted=st.text(alphabet="开空调度 ab\n0😀", min_size=1, max_size=8))
def test_a_group_that_holds_a_text_is_searched(prompts: list[str], wanted: str):
    found = texts(*(f"。{prompt}。" for prompt in prompts))
    held = any(wanted in turn["content"] for turns in found["messages"] for turn in turns)
    assert list(groups_to_search(index_texts(found), wanted)) or not held


def test_only_the_groups_that_may_hold_a_text_are_searched():
    found = texts("打开天窗", *(f"把空调调到{n}度" for n in range(ROW_GROUP + 10)))
    index = index_texts(found)
    asked = [turns[-2]["content"] for turns in found["messages"]]
    window, last = asked.index("打开天窗"), asked[-1]
    assert list(groups_to_search(index, "打开天窗")) == [(window - window % ROW_GROUP, ROW_GROUP)]
    assert (ROW_GROUP, ROW_GROUP) in list(groups_to_search(index, last))
    assert list(groups_to_search(index, "关闭天窗")) == []
    assert len(list(groups_to_search(index, "空调"))) == 2


def test_a_text_does_not_reach_from_one_turn_into_the_next():
    assert list(groups_to_search(index_texts(texts("打开", "天窗")), "打开天窗")) == []
    assert index_texts(texts("打开")[:0]).is_empty()
