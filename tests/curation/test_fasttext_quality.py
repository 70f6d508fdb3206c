"""The classifier is reproducible, finite, and knows garbage in Chinese and in English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.fasttext_quality import fasttext_quality, spoil_text, train_quality
from curation.tasks.free_text import free_text

PLACES, DEEDS = ("主驾", "副驾", "后排", "左侧", "右侧", "全车"), ("打开", "关闭", "调高", "调低")
THINGS = ("空调", "车窗", "座椅", "天窗", "音响")
ZH = [f"请帮我把{p}的{t}{d}，谢谢。" for p in PLACES for t in THINGS for d in DEEDS]
SIDES, ACTS = ("left", "right", "front", "rear"), ("open", "close", "raise", "lower")
PARTS = ("window", "heater", "radio", "light")
EN = [f"Please {a} the {s} {p} for me, thanks." for a in ACTS for s in SIDES for p in PARTS]


def rows_of(texts, answer="好的"):
    return rows_frame(make_row(dialogue(t, answer)) for t in texts)


def scores(rows, reference, **options):
    context = ScoreContext(task=free_text(), reference=reference)
    return fasttext_quality(**options)(rows, context)


def test_the_same_texts_train_the_same_model_to_the_last_byte():
    one, other = train_quality(ZH), train_quality(ZH)
    assert one.bytes() == other.bytes()
    assert one.bytes() != train_quality(ZH, seed=2).bytes()
    assert len(one.bytes()) < 200_000


@pytest.mark.parametrize("texts", [ZH, EN])
def test_rows_like_the_reference_score_above_their_corruptions(texts):
    reference = rows_of(texts)
    good = scores(reference, reference)
    bad = scores(
        rows_of([t for t in (spoil_text(t, seed=5) for t in texts) if t.strip()]), reference
    )
    assert good.null_count() == bad.null_count() == 0
    assert good.is_between(0, 1).all() and bad.is_between(0, 1).all()
    wins = sum(g > b for g in good for b in bad) / (len(good) * len(bad))
    assert wins > 0.9


def test_a_score_does_not_depend_on_the_other_rows():
    reference = rows_of(ZH)
    rows = rows_of([*ZH[:9], "锟斤拷锟斤拷锟斤拷"])
    whole = scores(rows, reference).to_list()
    assert [scores(rows[i], reference)[0] for i in range(10)] == whole
    assert scores(rows.reverse(), reference.reverse()).reverse().to_list() == whole


def test_a_trusted_row_is_judged_by_a_model_that_did_not_see_it():
    odd = rows_of(["囍囍魑魅魍魉"])
    reference = rows_of(ZH)
    both = rows_frame([*reference.to_dicts(), *odd.to_dicts()])
    assert scores(odd, both).to_list() == scores(odd, reference).to_list()


def test_without_a_reference_there_is_no_score():
    assert scores(rows_of(ZH[:2]), ROW_SCHEMA.to_frame()).to_list() == [None, None]
    assert scores(ROW_SCHEMA.to_frame(), rows_of(ZH)).to_list() == []
    assert train_quality(ZH).score(["", "  "]) == [None, None]


def test_training_says_nothing(capfd):
    train_quality(ZH[:20])
    assert capfd.readouterr() == ("", "")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), st.integers(0, 99))
def test_any_text_is_spoiled_in_the_same_way_each_time(text, seed):
    assert spoil_text(text, seed=seed) == spoil_text(text, seed=seed)
