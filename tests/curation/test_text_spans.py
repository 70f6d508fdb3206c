"""Texts are read where Polars has them, in whatever buffers that is."""

import numpy as np
import polars as pl
import pytest

from curation.text_spans import text_spans

TEXTS = ["打开空调", "", "close it", "关上左边的车窗然后播放一首歌", "turn the volume down please"]


def read(spans):
    ends = zip(spans.starts, spans.ends, strict=True)
    return [spans.data[start:end].tobytes().decode() for start, end in ends]


@pytest.mark.parametrize(
    "texts",
    [
        pl.Series(TEXTS),
        pl.Series(TEXTS)[1:4],
        pl.Series(TEXTS[:3]),  # of up to twelve bytes: in no buffer of their own
        pl.concat([pl.Series(TEXTS), pl.Series(TEXTS).reverse()], rechunk=False),
        pl.Series([text * 9 for text in TEXTS] * 2_000).filter([True, False] * 5_000),
        pl.Series([], dtype=pl.String),
    ],
)
def test_the_spans_of_texts_are_the_texts(texts):
    assert read(text_spans(texts)) == texts.to_list()


def test_texts_are_gathered_in_any_order_and_outlive_their_series():
    spans = text_spans(pl.Series([text * 9 for text in TEXTS] * 9_000)).gather(np.array([3, 0, 3]))
    pl.Series(["别的话" * 9] * 45_000)  # what would be where they were
    assert read(spans) == [TEXTS[3] * 9, TEXTS[0] * 9, TEXTS[3] * 9]
    assert not spans.data.flags.writeable
