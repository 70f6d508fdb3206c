"""Predictions: a batch says what each row says alone, and the adapter changes what is said."""

from pathlib import Path

import polars as pl
import pytest

from curation.rows import UTTERANCE, dialogue
from evaluation.cases import predict_cases
from evaluation.few_shot import few_shot_prompts
from evaluation.predict import answer_losses, generate_answers, load_predictor, predict_answers
from tests.conftest import copy_rows


def test_left_padded_batches_equal_single_rows(tiny_base: Path) -> None:
    prompts = [chat[:-1] for chat in copy_rows(12, seed=3)["messages"].to_list()]
    together = generate_answers(prompts, base_model=tiny_base, max_new_tokens=12)
    predictor = load_predictor(tiny_base)
    alone = [predict_answers(predictor, [p], max_new_tokens=12)[0] for p in prompts]
    assert together == alone
    assert len(set(together)) > 1


def test_the_order_of_rows_does_not_matter(tiny_base: Path) -> None:
    prompts = [chat[:-1] for chat in copy_rows(12, seed=3)["messages"].to_list()]
    predictor = load_predictor(tiny_base)
    forwards, backwards = (
        predict_answers(predictor, said, max_new_tokens=8, batch_tokens=100)
        for said in (prompts, prompts[::-1])
    )
    assert backwards[::-1] == forwards


def test_losses_count_the_bytes_of_the_answer(tiny_base: Path) -> None:
    right, wrong = answer_losses(
        [dialogue("重复：天地", "天地"), dialogue("重复：天地", "zx")], base_model=tiny_base
    )
    assert (right.n_bytes, wrong.n_bytes) == (6, 2)
    assert right.nats is not None and wrong.nats is not None and right.nats < wrong.nats
    assert right.n_tokens and 2 <= right.n_tokens <= 7  # at least one, and the end of turn


def test_no_prompts_give_no_answers(tiny_base: Path) -> None:
    assert generate_answers([], base_model=tiny_base) == []


def test_all_rows_are_measured_and_some_general_ones_of_each_category_answered(tiny_base: Path):
    general = copy_rows(9, seed=4).with_columns(
        category=pl.Series(["safety", *["chat"] * 8]), lang=pl.lit("zh")
    )
    rows = pl.concat([general, copy_rows(3, seed=6, track="domain")]).unique("id")
    cases = predict_cases(rows, base_model=tiny_base, max_new_tokens=4, general_answers=2)
    assert cases.drop_nulls(["loss_nats", "n_tokens", "n_bytes"]).height == rows.height
    asked = cases.filter(pl.col("predicted").is_not_null())
    assert asked.filter(pl.col("kind") == "task").height == 3
    assert sorted(asked.filter(pl.col("kind") == "general")["category"]) == ["chat", "safety"]
    shuffled = predict_cases(
        rows.reverse(), base_model=tiny_base, max_new_tokens=4, general_answers=2
    )
    assert shuffled.select("id", "predicted").equals(cases.select("id", "predicted"))


def test_few_shot_shows_the_most_similar_seed_last() -> None:
    seeds = copy_rows(30, seed=5)
    asked = seeds.select(UTTERANCE.alias("u"))["u"][3] + "吧"
    messages = few_shot_prompts(seeds, [asked], k=2, system="听话")[0]
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert messages[-3]["content"] == asked[:-1] and messages[-1]["content"] == asked


def test_few_shot_never_shows_the_question_itself() -> None:
    seeds = copy_rows(30, seed=5)
    asked = seeds.select(UTTERANCE.alias("u"))["u"][3]
    shown = [m["content"] for m in few_shot_prompts(seeds, [asked], k=5)[0][:-1]]
    assert asked not in shown
    assert few_shot_prompts(seeds.reverse(), [asked]) == few_shot_prompts(seeds, [asked])


def test_few_shot_without_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        few_shot_prompts(pl.DataFrame(schema=copy_rows(1).schema), ["天"])
