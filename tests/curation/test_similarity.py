"""MinHash proposes, the n-grams decide."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.minhash import sign_keys
from curation.similarity import NearIndex, gram_size, jaccard, solve_bands

HAN = [chr(0x4E00 + i) for i in range(600)]


def test_short_chinese_has_short_n_grams():
    assert [gram_size(t) for t in ("打开", "打" * 20, "open it", "open it " * 9)] == [2, 3, 3, 5]


def test_one_character_is_a_text_like_any_other():
    assert jaccard("开", "开") == 1.0 and jaccard("开", "关") == 0.0
    assert jaccard("打开", "关闭") == 0.0


def test_the_bands_find_a_pair_at_the_threshold_almost_always():
    assert solve_bands(0.8, 128) == (21, 6) and solve_bands(1.0, 128) == (1, 128)
    assert solve_bands(0.7, 128) == (25, 5)  # which find .9899 of them
    for threshold in (0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95):
        bands, rows = solve_bands(threshold, 128)
        assert bands * rows <= 128 and 1 - (1 - threshold**rows) ** bands >= 0.99
    with pytest.raises(ValueError, match="4 permutations"):
        solve_bands(0.3, 4)


def index_of(texts, threshold):
    index = NearIndex(threshold)
    for i, (text, bands) in enumerate(
        zip(texts, sign_keys(pl.Series(texts), threshold=threshold), strict=True)
    ):
        index.add(i, text, bands)
    return index


def near(index, texts):
    """Indices of the neighbours of each text."""
    signed = sign_keys(pl.Series(texts), threshold=index.threshold)
    return [[j for _, j in index.near(t, b)] for t, b in zip(texts, signed, strict=True)]


def planted(count, length, edits, seed=7):
    rng = random.Random(seed)
    texts = ["".join(rng.choices(HAN, k=rng.randint(*length))) for _ in range(count)]
    changed = []
    for text in texts:
        letters = list(text)
        for i in rng.sample(range(len(letters)), edits):
            letters[i] = rng.choice(HAN)
        changed.append("".join(letters))
    return texts, changed


@pytest.mark.parametrize(("length", "edits"), [((30, 60), 1), ((60, 120), 2), ((18, 26), 1)])
def test_a_large_index_finds_what_comparing_with_everybody_finds(length, edits):
    texts, changed = planted(300, length, edits)
    index = index_of(texts, 0.7)
    exact = {(i, j) for i, c in enumerate(changed) for j in [i] if jaccard(c, texts[j]) >= 0.7}
    found = {(i, j) for i, js in enumerate(near(index, changed)) for j in js}
    assert len(exact) > 60 and found <= exact and len(found) >= 0.98 * len(exact)


def test_a_text_beyond_a_length_limit_meets_its_neighbour_below_it():
    texts, _ = planted(100, (19, 19), 0)
    found = near(index_of(texts, 0.8), [text + "吧啦" for text in texts])
    assert [js[:1] for js in found] == [[i] for i in range(len(texts))]


def test_the_nearest_comes_first():
    index = index_of(["打开主驾车窗", "打开主驾的车窗", "关闭天窗"], 0.3)
    assert near(index, ["打开主驾的车窗"]) == [[1, 0]]


def test_a_text_is_signed_the_same_beside_any_others():
    texts = ["打开主驾车窗", "open the window", "", "播放音乐" * 9]
    together = sign_keys(pl.Series(texts)).to_list()
    assert [sign_keys(pl.Series([text])).to_list()[0] for text in texts] == together
    assert sign_keys(pl.Series([], dtype=pl.String)).len() == 0


@given(st.text("打开关空调车窗abc", max_size=30), st.text("打开关空调车窗abc", max_size=30))
def test_similarity_is_symmetric_and_1_for_equal_texts(one, other):
    assert jaccard(one, other) == jaccard(other, one)
    assert 0 <= jaccard(one, other) <= 1 and jaccard(one, one) == 1
