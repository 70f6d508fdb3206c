"""Vectors: the same bits alone and in company, exact to compare, near where texts are alike."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.minhash import hash_gram
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.semantic_copy import semantic_copy
from curation.tasks.free_text import free_text
from curation.vectors import (
    SCALE,
    hashed_vectors,
    model_vectors,
    pack_vectors,
    quantise,
    unpack_vectors,
)
from tests.curation.test_guard_model import LENGTH, SHAPE, WORDS, word_tokenizer

TEXTS = st.text(st.sampled_from("打开车窗天空turn it on 26,!"), min_size=1, max_size=40)


def cosines(packed: pl.Series) -> Any:
    whole = unpack_vectors(packed).astype(np.float64)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    return whole @ whole.T


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_a_hashed_vector_is_the_same_alone_and_in_company(texts):
    together = hashed_vectors(pl.Series(texts))
    alone = [hashed_vectors(pl.Series([text]))[0] for text in texts]
    assert together.to_list() == alone


def test_a_hashed_vector_is_the_same_beside_thousands():
    texts = pl.Series([f"第{i}次打开车窗" if i % 3 else f"open window {i}" for i in range(5_000)])
    some = [0, 1, 2_047, 2_048, 4_999]
    assert hashed_vectors(texts).gather(some).equals(hashed_vectors(texts.gather(some)))


@pytest.mark.parametrize("key", ["把左边的车窗打开", "turn it on now", "天天天天", "好", "ok"])
def test_a_hashed_vector_is_what_counting_by_hand_gives(key: str):
    sizes = (2, 3) if key > "z" else (3, 4, 5)
    grams = [g for n in sizes for g in by_size(key, min(n, len(key)))]
    sums = [0] * 16
    for gram, count in Counter(grams).items():
        mixed = finish(hash_gram(gram))
        sums[(mixed >> 1) % 16] += round(1024 * math.sqrt(count)) * (1 if mixed & 1 else -1)
    length = math.sqrt(sum(x * x for x in sums))
    expected = [round(x * SCALE / length) for x in sums]
    (ours,) = unpack_vectors(hashed_vectors(pl.Series([key]), dim=16))
    assert ours.tolist() == expected


def by_size(key: str, size: int) -> list[str]:
    return [key[i : i + size] for i in range(len(key) - size + 1)]


def finish(x: int) -> int:
    """MurmurHash3's finaliser."""
    x = (x ^ x >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ x >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


def test_the_order_of_words_matters_little_and_words_much():
    texts = ["明天早上八点提醒我去公司开会", "提醒我去公司开会明天早上八点", "今晚给妈妈打个电话"]
    texts += ["remind me of the meeting tomorrow", "tomorrow remind me of the meeting"]
    near = cosines(hashed_vectors(pl.Series(texts)))
    assert near[0, 1] > 0.75 > 0.2 > abs(near[0, 2])
    assert near[3, 4] > 0.85 > 0.2 > abs(near[0, 3])


def test_a_text_of_one_character_has_a_vector_too():
    assert hashed_vectors(pl.Series(["好", "k", "是"])).null_count() == 0
    assert hashed_vectors(pl.Series([], dtype=pl.String)).is_empty()


def test_vectors_are_multiplied_without_rounding_whatever_their_size():
    draw = np.random.default_rng(0)
    for dim in (1, 256, 4_096):
        vectors = quantise(draw.normal(size=(40, dim)))
        exact = vectors.astype(np.int64) @ vectors.astype(np.int64).T
        floats = vectors.astype(np.float32)
        assert ((floats @ floats.T).astype(np.int64) == exact).all()
        assert exact.max() < 2**24
        assert np.abs(np.sqrt(np.diag(exact)) / SCALE - 1).max() < 0.01


def test_vectors_come_back_as_they_were_packed():
    vectors = np.array([[1, -2], [0, 0], [3, 4]], np.int16)
    packed = pack_vectors(vectors)
    assert packed.is_null().to_list() == [False, True, False]
    assert unpack_vectors(packed.drop_nulls()).tolist() == [[1, -2], [3, 4]]
    assert unpack_vectors(packed[2:]).tolist() == [[3, 4]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of one layer that has learned nothing, with its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(**SHAPE, max_position_embeddings=LENGTH)).save_pretrained(folder)
    word_tokenizer(model_max_length=LENGTH).save_pretrained(folder)
    return folder


SAID = [" ".join(WORDS.split()[i % 9 : i % 9 + 1 + i % 13]) for i in range(70)] + ["开 窗 " * 40]


def test_a_models_vector_is_the_same_alone_and_in_company(encoder: Path):
    together = model_vectors(SAID, model=encoder)
    assert together.to_list() == [model_vectors([text], model=encoder)[0] for text in SAID]
    assert together.reverse().equals(model_vectors(SAID[::-1], model=encoder))


def test_a_models_vector_is_the_mean_of_its_last_states(encoder: Path):
    from transformers import BertModel

    tokens = word_tokenizer(model_max_length=LENGTH)(SAID[5], return_tensors="pt")
    direct = BertModel.from_pretrained(encoder).eval()(**tokens).last_hidden_state[0].mean(0)
    (ours,) = unpack_vectors(model_vectors([SAID[5]], model=encoder))
    expected = (direct / direct.norm()).detach().numpy()
    assert ours / SCALE == pytest.approx(expected, abs=2e-4)


def test_a_model_without_texts_gives_no_vectors(encoder: Path):
    assert model_vectors([], model=encoder).is_empty()


def test_a_model_that_gives_no_numbers_is_refused(encoder: Path, tmp_path: Path):
    from transformers import BertModel

    broken = BertModel.from_pretrained(encoder)
    broken.embeddings.word_embeddings.weight.data.fill_(float("nan"))
    broken.save_pretrained(tmp_path)
    word_tokenizer(model_max_length=LENGTH).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gives vectors that are no numbers"):
        model_vectors(["开 窗"], model=tmp_path)


def test_the_scorer_reads_what_the_user_says_by_its_model(encoder: Path):
    turns = [*dialogue("开 窗", "好", system="请"), *dialogue("开 枪", "不")]
    rows = rows_frame([make_row(turns)])
    context = ScoreContext(free_text(), rows)
    signed = semantic_copy(model=str(encoder)).sign(rows, context)
    assert signed.columns == ["id", "says", "vector"]
    assert signed["vector"].equals(model_vectors(["开 窗\n开 枪"], model=encoder).rename("vector"))
