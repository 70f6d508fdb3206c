"""The n-gram model is a distribution, and unusual text is unusual."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.perplexity import log_losses, perplexities, perplexity, train_ngrams
from curation.tasks.free_text import free_text

THINGS = ["空调", "车窗", "座椅", "天窗", "音响", "阅读灯", "后备箱", "雨刮"]
PLACES = ["主驾", "副驾", "后排", "左侧", "右侧", "全车"]
DEEDS = ["打开", "关闭", "调高", "调低", "请帮我打开", "麻烦关闭一下"]


def zh():
    return [f"{d}{p}的{t}。" for d in DEEDS for p in PLACES for t in THINGS]


def en():
    things, deeds = ("window", "heater", "radio", "light"), ("open", "close", "raise", "lower")
    places = ("left", "right", "front", "rear", "driver", "upper")
    return [f"please {d} the {p} {t} now" for d in deeds for p in places for t in things]


def rows_of(texts):
    return rows_frame(make_row(dialogue(t, "好的" if t[0] > "z" else "sure")) for t in texts)


def scores(rows, reference, **options):
    context = ScoreContext(task=free_text(), reference=reference)
    return dict(zip(rows["id"], perplexity(**options)(rows, context), strict=True))


def garbled(rows):
    rng = random.Random(3)
    texts = [r["messages"][0]["content"] for r in rows.to_dicts()]
    return rows_of(["".join(rng.sample(t, len(t))) for t in texts])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_chances_of_all_characters_after_a_text_sum_to_one(order):
    model = train_ngrams(["打开空调", "打开车窗", "关闭车窗", "abab"], order=order)
    for start in ("打开", "车", "没见", "ab", ""):
        followers = [*map(chr, np.flatnonzero(model.numbers > 1)), "￿"]
        chances = [np.exp(-log_losses(model, [start + c])[len(start)]) for c in followers]
        chances.append(np.exp(-log_losses(model, [start])[-1]))
        assert sum(chances) == pytest.approx(1, abs=1e-9)


TEXTS = st.lists(st.text("打开空调ab \uffff😀", max_size=12), min_size=1, max_size=12)


@given(TEXTS.filter(any), TEXTS, st.integers(1, 4))
def test_both_engines_give_the_same_bits(learned, asked, order):
    model = train_ngrams(learned, order=order)
    found = perplexities(model, asked, engine="kernel")
    assert found == perplexities(model, asked, engine="numpy")
    assert [value is None for value in found] == [not text for text in asked]


def test_a_text_has_one_perplexity_whatever_it_is_read_with(monkeypatch):
    """In few texts and in many, which the other engine reads, and in several batches."""
    texts = [text * 3 for text in [*zh(), *en()]]
    model = train_ngrams(texts[::2], order=4)
    alone = [perplexities(model, [text], engine="numpy")[0] for text in texts]
    monkeypatch.setattr("curation.scorers.perplexity._MANY", 2_000)
    monkeypatch.setattr("curation.scorers.perplexity._TOGETHER", 5_000)
    assert sum(map(len, texts)) > 10_000
    assert perplexities(model, texts) == alone == perplexities(model, texts, engine="numpy")


def test_what_was_read_often_is_expected():
    model = train_ngrams(["打开空调"] * 9 + ["关闭车窗"], order=4)
    found = perplexities(model, ["打开空调", "调空开打"])
    assert (pl.Series(found) < 2).to_list() == [True, False]
    assert perplexities(model, [""]) == [None]


def test_garbled_text_is_less_expected_in_chinese_and_in_english():
    for texts in (zh(), en()):
        rows = rows_of(texts)
        good = sorted(scores(rows, rows).values())
        bad = sorted(scores(garbled(rows), rows).values())
        assert good[len(good) * 9 // 10] * 3 < bad[len(bad) // 10]


def test_a_trusted_row_is_not_judged_by_a_model_that_saw_it():
    odd = rows_of(["囍囍魑魅魍魉囍囍"])
    rows = rows_of(zh())
    inside, outside = scores(odd, pl.concat([rows, odd])), scores(odd, rows)
    assert inside == outside and inside[odd["id"][0]] > 50


def test_a_score_depends_on_the_row_and_never_on_its_neighbours():
    rows = rows_of(zh()[:60] + en()[:60])
    whole = scores(rows, rows)
    alone = {i: v for n in range(0, 120, 17) for i, v in scores(rows[n], rows).items()}
    assert all(whole[i] == v for i, v in alone.items())
    assert scores(rows.reverse(), rows.reverse()) == whole


def test_a_scorer_that_has_learned_from_one_reference_learns_from_the_next():
    rows, scorer = rows_of(zh()[:60]), perplexity()
    for reference in (rows_of(zh()), rows_of(zh()[:60] + en())):
        context = ScoreContext(task=free_text(), reference=reference)
        assert dict(zip(rows["id"], scorer(rows, context), strict=True)) == scores(rows, reference)


def test_without_a_reference_there_is_no_score():
    rows = rows_of(zh()[:3])
    assert list(scores(rows, ROW_SCHEMA.to_frame()).values()) == [None] * 3
    assert scores(ROW_SCHEMA.to_frame(), rows) == {}


def test_a_rare_language_is_judged_by_all_of_them():
    rows = rows_of(zh() + en()[:10])
    assert all(v is not None for v in scores(rows, rows).values())


def test_an_order_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="order 5"):
        perplexity(order=5)
