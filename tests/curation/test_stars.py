"""Greedy stars: the kernel and the index in Python decide alike."""

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import star_kernel, stars
from curation.bucket_kernel import name_buckets
from curation.dedup import sign_rows, with_texts
from curation.minhash import pack_bands
from curation.rows import dialogue, make_row, rows_frame
from curation.similarity import jaccard
from curation.stars import _band_columns, _cards, merge_stars, merge_texts, share_bands
from curation.tasks.json_slots import json_slots
from curation.text_spans import text_spans

TASK = json_slots(fields=["actions"], slots={"actions": ["do", "what"]})
WORDS = [
    "打开",
    "关闭",
    "空调",
    "主驾",
    "副驾",
    "车窗",
    "请",
    "帮我",
    "一下",
    "马上",
    "播放",
    "周杰伦",
]
WORDS += ["的", "歌", "不要", "26", "度", "18", "and ", "then ", "open ", "the ", "window "]


def signed_rows(number, *, seed, track, threshold):
    """Rows of few words in many combinations, some with slots, the best first."""
    rng = random.Random(seed)
    rows = []
    for _ in range(number):
        said = "".join(rng.choices(WORDS, k=rng.randint(3, 30)))
        answer = "".join(rng.choices(WORDS, k=rng.randint(1, 12)))
        if track == "domain":
            answer = f'{{"actions":[{{"do":"{rng.choice("开关")}","what":"窗"}}]}}'
        rows.append(make_row(dialogue(said, answer), source="s", track=track))
        edited = said.replace(rng.choice(WORDS), rng.choice(WORDS), 1)
        rows.append(make_row(dialogue(edited, answer), source="s", track=track))
    frame = rows_frame(rows).unique("id", maintain_order=True)
    task = TASK if track == "domain" else None
    signed = with_texts(sign_rows(frame, task=task, threshold=threshold), frame, task)
    return signed.join(frame.select("id", "split", "track"), on="id", maintain_order="left")


@pytest.mark.parametrize("track", ["domain", "general"])
@pytest.mark.parametrize("threshold", [0.4, 0.7, 0.8])
def test_the_kernel_decides_as_the_index_does(track, threshold):
    merged = 0
    for seed in range(4):
        rows = signed_rows(300, seed=seed, track=track, threshold=threshold)
        kernel, python = (
            merge_stars(rows, threshold=threshold, engine=engine) for engine in ("kernel", "python")
        )
        assert kernel.equals(python)
        merged += kernel.height
    assert merged > 20


def test_a_row_only_goes_because_of_one_that_stays():
    rows = signed_rows(400, seed=9, track="domain", threshold=0.7)
    stars = merge_stars(rows, threshold=0.7, engine="kernel")
    assert stars.height and not stars["into"].is_in(stars["id"].implode()).any()
    texts = dict(rows.select("id", "prompt_text").iter_rows())
    for one, into, similarity in stars.iter_rows():
        assert similarity == jaccard(texts[one], texts[into]) >= 0.7


def test_nothing_is_merged_of_nothing():
    rows = signed_rows(3, seed=1, track="general", threshold=0.8).clear()
    assert merge_stars(rows, threshold=0.8, engine="kernel").is_empty()
    assert merge_texts(pl.Series([], dtype=pl.String)).is_empty()


def compared_with_all(texts, threshold):
    """(into, similarity) of each text that goes, when all pairs are compared in Python."""
    kept, gone = [], {}
    for i, text in enumerate(texts):
        near = [(jaccard(text, texts[j]), -j) for j in kept]
        similarity, into = max(near, default=(0.0, 0))
        if similarity >= threshold:
            gone[i] = (-into, similarity)
        else:
            kept.append(i)
    return gone


def test_of_bare_texts_those_near_a_better_one_go():
    rng = random.Random(5)
    texts = ["".join(rng.choices(WORDS, k=rng.randint(6, 14))) for _ in range(150)]
    texts += [text.replace(rng.choice(WORDS), "", 1) for text in texts]
    gone = compared_with_all(texts, 0.8)
    found = merge_texts(pl.Series(texts), threshold=0.8)
    assert {line: (into, near) for line, into, near in found.iter_rows()} == gone and len(gone) > 50


def some_texts(kind):
    """Texts that are hard to compare, of each kind some that are near each other."""
    rng = random.Random(7)
    if kind == "few characters":
        return ["".join(rng.choices("开关a1\U00020000é", k=rng.randint(0, 5))) for _ in range(300)]
    if kind == "repeated":
        return [
            "".join(rng.choices(("开窗", "关", "ha "), k=rng.randint(9, 99))) for _ in range(300)
        ]
    texts = ["".join(rng.choices(WORDS, k=rng.randint(2, 60))) for _ in range(75)]
    if kind == "equal":
        return texts * 4
    return texts + [t + " and then open it" * rng.randint(1, 4) + t[:9] for t in texts] * 2


@pytest.mark.parametrize("kind", ["few characters", "repeated", "equal", "of two scripts"])
@pytest.mark.parametrize("threshold", [0.2, 1 / 3, 0.5, 2 / 3, 0.7, 0.75, 1.0])
def test_the_kernel_stops_early_only_where_a_pair_is_not_near_enough(kind, threshold):
    texts = some_texts(kind)
    n, compared = len(texts), _cards(text_spans(pl.Series(texts)), threshold)
    into, similarity = np.empty(n, np.int64), np.empty(n)
    one_bucket = np.arange(n, dtype=np.int32), np.zeros(n, np.int32), 1
    star_kernel.merge_stars(compared, compared, one_bucket, threshold, into, similarity)
    found = {i: (into[i], similarity[i]) for i in range(n) if into[i] >= 0}
    assert found == compared_with_all(texts, threshold) and len(found) > 20


@pytest.mark.parametrize("sets", [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("many, blocks", [(3_000, 2), (300_000, 1)])  # of one piece, and of some
def test_a_bucket_has_a_number_where_two_bands_of_a_block_are_the_same(sets, many, blocks):
    rng, step = np.random.default_rng(3), 5
    ends = (rng.integers(*sets, size=many, endpoint=True) * step).cumsum()
    bands = rng.integers(0, many * 7, ends[-1]).astype(np.uint32) * np.uint32(7_001)
    block = rng.integers(0, blocks, len(ends)).astype(np.uint64) << np.uint64(40)
    packed = pack_bands(bands, np.diff(ends, prepend=0))
    rows, names, number = name_buckets(*_band_columns(packed, pl.Series(block)), len(ends))
    owners = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    places = np.arange(len(bands)) - np.concatenate([[0], ends])[owners]
    keys = {"place": places % step, "block": block[owners], "band": bands}
    met = pl.DataFrame({**keys, "row": owners}).group_by(*keys).agg(pl.col("row").sort())
    shared = met.filter(pl.col("row").list.len() > 1)["row"]
    found = pl.DataFrame({"row": rows, "name": names}).cast(pl.Int64)
    found = found.group_by("name").agg(pl.col("row").sort())
    assert sorted(found["name"]) == list(range(number)) and number > 400
    assert {*map(tuple, found["row"])} == {*map(tuple, shared)}


def test_rows_that_were_in_a_bucket_by_themselves_get_no_second_one():
    keys = np.array([[7, 7, 7, 9, 9], [1, 2, 2, 4, 4], [3, 3, 5, 6, 6]], np.uint32)
    rows, names, number = name_buckets(keys, np.arange(5, dtype=np.int32), 5)
    found = [sorted(rows[names == name].tolist()) for name in range(number)]
    assert sorted(found) == [[0, 1], [0, 1, 2], [1, 2], [3, 4]]


@given(
    *2 * [st.text(st.sampled_from("打开关闭空调🚗ab cé1か"), max_size=60)],
    st.integers(0, 40),
    st.sampled_from([0.5, 0.7, 0.8]),
)
def test_an_outline_never_tells_two_texts_apart_that_are_near(text, added, at, threshold):
    texts = [text, text[:at] + added[:5] + text[at:], added]
    outlines = _cards(text_spans(pl.Series(texts)), threshold)[1]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        most = star_kernel._most_similar.py_func(outlines[i], outlines[j])
        assert most >= jaccard(texts[i], texts[j])


def test_an_outline_tells_most_texts_apart_that_share_a_word():
    rng = random.Random(2)
    han = [chr(0x4E00 + i) for i in range(900)]
    texts = ["".join(["开窗", *rng.choices(han, k=rng.randint(9, 28))]) for _ in range(100)]
    outlines = _cards(text_spans(pl.Series(texts)), 0.7)[1]
    near = [star_kernel._most_similar.py_func(one, outlines[0]) >= 0.7 for one in outlines[1:]]
    assert sum(near) < 10


@pytest.mark.parametrize("track", ["domain", "general"])
def test_the_kernel_marks_the_rows_that_share_a_band_with_another(monkeypatch, track):
    rows = signed_rows(200, seed=9, track=track, threshold=0.7)
    signed, bands = rows.drop("bands"), rows.select("id", "bands").sort("id")
    found = []
    for many, size in ((rows.height + 1, rows.height), (0, rows.height), (0, 37)):
        monkeypatch.setattr(stars, "_MANY", many)
        pieces = [*bands.iter_slices(size), bands.clear()]
        found.append(share_bands(signed, pieces).sort("id"))
    assert found[0].equals(found[1]) and found[0].equals(found[2])
    assert 0 < found[0].height < rows.height
    assert found[0].equals(bands.join(found[0], on="id", how="semi", maintain_order="left"))
