"""Three engines give one signature, and it is datasketch's."""

import random
from typing import Any

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from curation.minhash import (
    _sign_by_numpy,
    flat_bands,
    hash_gram,
    permutations_of,
    sign_columns,
    sign_keys,
)
from curation.similarity import gram_size, grams, jaccard, signed_sizes, solve_bands

TEXTS = st.text(st.sampled_from("打开关闭空调🚗ab cé1٣\U00020000か"), max_size=60)


@given(
    st.lists(TEXTS, max_size=20),
    st.sampled_from([0.5, 0.7, 0.8, 0.95]),
    st.sampled_from([96, 128, 200]),
)
def test_the_kernel_numpy_and_datasketch_agree(texts, threshold, permutations):
    keys = pl.Series(texts, dtype=pl.String)
    kernel, arrays, datasketch = (
        sign_keys(keys, threshold=threshold, permutations=permutations, engine=engine).to_list()
        for engine in ("kernel", "numpy", "datasketch")
    )
    assert kernel == arrays == datasketch


@pytest.mark.parametrize("engine", ["kernel", "numpy", "datasketch"])
def test_bands_stay_what_stores_hold(engine):
    keys = pl.Series(["打开客厅的空调", "turn the volume down please"])
    bands, ends = flat_bands(sign_keys(keys, engine=engine))
    assert ends.tolist() == [21, 42]
    held = [3884326120, 3493014864, 30411130, 2235588302]
    assert bands[[0, 20, 21, -1]].tolist() == held


@pytest.mark.parametrize("number, seed", [(128, 1), (256, 7), (1, 0)])
def test_the_permutations_are_datasketchs(number, seed):
    theirs: Any = MinHash(num_perm=number, seed=seed, scheme="affine32").permutations
    for ours, lanes in zip(permutations_of(number, seed), theirs, strict=True):
        assert ours.dtype == lanes.dtype and ours.tolist() == lanes.tolist()


def test_long_texts_and_whole_slices_agree_too():
    rng = random.Random(3)
    han = "".join(chr(0x4E00 + i) for i in range(900))
    keys = pl.Series(["".join(rng.choices(han, k=rng.randint(0, 700))) for _ in range(300)])
    mixed = pl.concat([keys, keys.str.slice(0, 30) + " turn the volume down please " * 8])
    assert sign_keys(mixed, engine="kernel").equals(sign_keys(mixed, engine="numpy"))
    many = pl.Series(["打开空调", "close it"]).sample(40_000, with_replacement=True, seed=1)
    signed = sign_keys(many)
    assert signed.equals(sign_keys(many, engine="numpy"))


def test_datasketchs_own_index_finds_what_our_signatures_say():
    text = "明天早上八点提醒我给妈妈打电话问她要不要一起去公园散步"
    near = text.replace("散步", "散散步")
    lanes = _sign_by_numpy([(t, 3) for t in (text, near)], 128, 1)
    ours = [MinHash(hashvalues=v, seed=1, scheme="affine32", hashfunc=hash_gram) for v in lanes]
    index = MinHashLSH(threshold=0.5, num_perm=128)
    index.insert("text", ours[0])
    assert index.query(ours[1]) == ["text"]
    assert abs(ours[0].jaccard(ours[1]) - jaccard(text, near)) < 0.15
    theirs = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=hash_gram)
    theirs.update_batch(grams(text, 3))
    assert theirs == ours[0]


@given(TEXTS, st.floats(0.5, 1))
def test_a_text_is_signed_in_one_size_or_two_of_which_one_is_no_larger_than_its_own(text, at):
    sizes = signed_sizes(text, at)
    assert sizes == sorted({*sizes}) and 1 <= len(sizes) <= 2 and sizes[0] <= gram_size(text)


def test_a_threshold_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="80"):
        sign_keys(pl.Series(["开"]), threshold=80)


LONG = st.text(st.sampled_from("打开关闭空调车窗座椅abcdefghijk "), min_size=15, max_size=120)


@given(LONG, st.integers(0, 120), LONG)
def test_two_near_texts_are_signed_in_a_size_no_larger_than_they_are_compared_by(text, at, added):
    other = text[:at] + added[:9] + text[at:]
    if jaccard(text, other) >= 0.8:
        shared = {*signed_sizes(text, 0.8)} & {*signed_sizes(other, 0.8)}
        assert shared and min(shared) <= min(gram_size(text), gram_size(other))


def test_bands_are_read_as_they_were_signed_also_from_the_middle():
    packed = sign_keys(pl.Series(["打开空调", "打开左边的车窗然后播放一首歌吧" * 3, "close it"]))
    bands, ends = flat_bands(packed)
    assert bands.tobytes() == b"".join(packed) and ends[-1] == len(bands)
    (some, where), start = flat_bands(packed[1:]), ends[0]
    assert some.tolist() == bands[start:].tolist() and where.tolist() == (ends[1:] - start).tolist()
    assert [part.tolist() for part in flat_bands(packed[:0])] == [[], []]


def test_what_is_signed_in_columns_is_what_is_read_of_signed_keys():
    texts = pl.Series(["打开空调", "打开左边的车窗然后播放一首歌吧" * 3, "", "关上右边车窗 " * 3])
    keys = texts.sample(40_000, with_replacement=True, seed=1)
    columns, owners = sign_columns(keys, threshold=0.7)
    bands, ends = flat_bands(sign_keys(keys, threshold=0.7))
    assert len(columns) == (step := solve_bands(0.7, 128)[0])
    assert (columns[:, : len(owners)].T.ravel() == bands).all()
    assert (np.bincount(owners).cumsum() * step == ends).all()
    assert {*np.bincount(owners)} == {1, 2}
    with pytest.raises(ValueError, match="80"):
        sign_columns(keys, threshold=80)
