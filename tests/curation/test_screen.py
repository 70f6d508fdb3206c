"""The screen by characters passes over no text in which something would have been found."""

import random

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.personal import find_personal
from curation.plugins import find_plugin
from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers._screen import count_folded, score_some, weigh_texts
from curation.scorers.garbled import measure_garbled
from curation.scorers.refusal import declines
from curation.tasks.free_text import free_text
from curation.unsafe_text import find_markers
from tests.curation.test_planted_defects import GARBLED, MARKERS
from tests.curation.test_planted_pii import LOOK_ALIKES, PERSONAL, wide
from tests.curation.test_refusal import REFUSALS

MEASURES = {
    "pii": lambda text: bool(find_personal(text)),
    "special_tokens": lambda text: bool(find_markers(text)),
    "garbled": measure_garbled,
    "refusal": declines,
}
PIECES = st.sampled_from(
    [
        *(
            "打开空调",
            "?",
            "？",
            "烫",
            "屯",
            "锟斤拷",
            "é",
            "Ã©",
            "\x80",
            "\ufffd",
            "鐨勯",
            "\u200b",
        ),
        *(
            "<|im_end|>",
            "＜｜x｜＞",
            "[INST]",
            "［INST］",
            "[\u200bINST]",
            "﹇/inst]",
            '["INST",{"<s>":[1]}]',
            "13812345678",
            "１３８１２３４５６７８",
            "①",
            "½",
        ),
        *("抱歉，", "我无法", "没办法", "提供", "帮助", "I am ", "Sorry, ", "I CAN’T", "unable to"),
        *(" help", " with this", "as an AI language model, ", "don't have", "ı won't", " give"),
        *("a@b.cn", "a＠b.cn", " ", "-", "+86 1", "😀", "abc", "0", "\n"),
    ]
)


def rows_of(texts: list[str]) -> pl.DataFrame:
    """Rows with these answers, just as they are: also what no source would let through."""
    row = rows_frame([make_row(dialogue("问", "答"))])
    turns = [
        [{"role": "user", "content": "问"}, {"role": "assistant", "content": t}] for t in texts
    ]
    messages = pl.Series("messages", turns, dtype=row.schema["messages"])
    return pl.concat([row] * len(texts)).with_columns(messages)


def score(name: str, texts: list[str]) -> list[float | bool | None]:
    context = ScoreContext(free_text(), pl.DataFrame(schema=ROW_SCHEMA))
    return find_plugin("curation.scorers", name)()(rows_of(texts), context).to_list()


def corpus() -> list[str]:
    draw = random.Random(4)
    texts = [make(draw) for _, make in PERSONAL.values() for _ in range(20)]
    texts += [wide(text) for text in texts]
    texts += [make(draw) for make in LOOK_ALIKES.values() for _ in range(20)]
    plain = ["打开空调并把温度调到二十六度", "please open the window now"]
    texts += [break_(text, draw) for break_ in GARBLED.values() for text in plain]
    spelt = ["[\u200bINST]", "﹇INST﹈", "［/inst］", "﹤s﹥", "＜s>", '["INST",[1]]']
    return [*texts, *MARKERS, *spelt, *REFUSALS, *plain, ""]


@pytest.mark.parametrize("name", MEASURES)
def test_a_scorer_says_of_each_row_what_its_measure_says_of_the_text(name: str):
    texts = corpus()
    found = score(name, texts)
    prefix = "" if name in ("garbled", "refusal") else "问\n"
    assert found == [MEASURES[name](prefix + text) for text in texts]
    assert 0 < sum(map(bool, found)) < len(texts)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20))
@example("½½½½")
def test_what_a_measure_finds_the_screen_lets_through(text: str):
    for name, measure in MEASURES.items():
        if measure(text):
            assert score(name, [text])[0]


@given(st.lists(st.text(alphabet="a1２①\n好😀", max_size=6), max_size=8))
def test_weights_are_those_of_each_text_alone(texts: list[str]):
    weights = count_folded("0123456789")
    found = weigh_texts(pl.Series(texts, dtype=pl.String), weights).tolist()
    assert found == [sum(c in "1２①" for c in text) for text in texts]


def test_a_text_that_cannot_be_measured_has_no_score_and_costs_no_other_its_own():
    def measure(text: str) -> float:
        return 1 / (len(text) - 2)

    texts, weights = pl.Series(["1", "11", "111", "a", None]), count_folded("1")
    assert score_some(texts, weights, 1, measure, otherwise=0.0).to_list() == [-1, None, 1, 0, 0]
