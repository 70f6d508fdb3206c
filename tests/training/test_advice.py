"""Advice fills in what the recipe leaves open and says why."""

import dataclasses

import pytest

from training.advice import (
    DataSize,
    Setting,
    advise_max_tokens,
    advise_method,
    advise_options,
)
from training.profiles import PROFILES
from training.shape import Shape
from training.trainer import split_step

SMALL = Setting(Shape(596_000_000, 1024, 28, 151_936, 32_768, linear=630_784), PROFILES["24gb"])
LARGE = Setting(Shape(7_616_000_000, 3584, 28, 152_064, 32_768, linear=2_523_136), SMALL.profile)
TINY = Setting(Shape(1_000_000, 128, 4, 1_600, 2_048, linear=8_000), PROFILES["cpu"])


def rows(n: int, *, trained: int = 0) -> DataSize:
    return DataSize(n, n * 50, 200, trained or n * 20)


def test_fewer_rows_take_more_epochs() -> None:
    epochs = [
        advise_options(rows(n), SMALL, base_model="m")[0].epochs
        for n in (300, 3_000, 30_000, 300_000)
    ]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1]


def test_a_tiny_model_gets_a_large_rate_and_what_the_demo_had() -> None:
    tiny, _ = advise_options(rows(500), TINY, base_model="demo")
    usual, _ = advise_options(rows(500), SMALL, base_model="m")
    assert tiny.lr > 5 * usual.lr
    assert (tiny.rank, tiny.batch_rows, tiny.max_tokens, tiny.micro_tokens) == (16, 16, 1024, 16384)


def test_what_the_recipe_sets_stays_and_every_choice_has_a_reason() -> None:
    said = {"lr": 1e-5, "epochs": 1.0, "rank": 4, "batch_rows": 8, "warmup": 0.5}
    options, reasons = advise_options(rows(400), SMALL, base_model="m", **said)
    assert (options.lr, options.epochs, options.rank, options.batch_rows) == (1e-5, 1.0, 4, 8)
    assert options.warmup_steps == 25
    assert sum("set in the recipe" in reason for reason in reasons) == len(said)
    assert all(": " in reason for reason in reasons)
    assert any("8 rows, about 400 tokens" in reason for reason in reasons)


def test_a_warmup_in_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="share of the steps, from 0 to below 1, not 100"):
        advise_options(rows(400), SMALL, base_model="m", warmup=100)


def test_a_rank_grows_with_what_is_to_be_learned() -> None:
    ranks = [
        advise_options(rows(50_000, trained=n), SMALL, base_model="m")[0].rank
        for n in (10**6, 30 * 10**6, 100 * 10**6, 10**10)
    ]
    assert ranks == [16, 32, 128, 256]


@pytest.mark.parametrize(
    ("setting", "trained", "memory_gb", "method"),
    [
        (SMALL, 10**6, 24, "lora"),
        (SMALL, 10**9, 24, "full"),  # more than an adapter holds
        (SMALL, 10**9, 6, "lora"),  # and no room for all weights
        (LARGE, 10**6, 24, "lora"),
        (LARGE, 10**6, 12, "qlora"),
        (LARGE, 10**6, 4, "qlora"),  # which the estimate says will not fit
    ],
)
def test_the_method_is_what_fits_and_learns_enough(
    setting: Setting, trained: int, memory_gb: float, method: str
) -> None:
    profile = dataclasses.replace(setting.profile, memory_gb=memory_gb)
    setting = dataclasses.replace(setting, profile=profile)
    size = rows(10_000, trained=trained)
    said = advise_method("auto", size, setting, rank=None, virtual_tokens=20)
    assert said[0] == method and "20" in said[1]
    named = advise_method("dora", size, setting, rank=None, virtual_tokens=20)
    assert named[0] == "dora"


def test_a_smaller_memory_takes_fewer_tokens_at_once() -> None:
    profile = dataclasses.replace(SMALL.profile, memory_gb=5)
    narrow = dataclasses.replace(SMALL, profile=profile)
    wide, less = (advise_options(rows(400), s, base_model="m")[0] for s in (SMALL, narrow))
    assert wide.micro_tokens > less.micro_tokens >= 256


def test_one_long_row_does_not_make_every_batch_long() -> None:
    short = [100] * 2_000
    assert advise_max_tokens(short, 16_384, 32_768)[0] == 1_024
    assert advise_max_tokens([*short, 9_000], 16_384, 32_768)[0] == 1_024
    assert advise_max_tokens([*short, *[9_000] * 20], 16_384, 32_768)[0] == 9_024
    assert advise_max_tokens([*short, *[9_000] * 20], 4_096, 32_768)[0] == 4_096
    assert advise_max_tokens([*short, *[9_000] * 20], 16_384, 2_048)[0] == 2_048


def test_passes_of_a_step_come_near_to_it_and_keep_to_the_memory() -> None:
    for bins in range(1, 40):
        for most in range(1, 40):
            micro, passes = split_step(bins, most)
            assert micro <= most and abs(micro * passes - bins) <= passes / 2


@pytest.mark.parametrize("longest", [20, 900])
def test_the_packing_block_holds_the_longest_row(longest: int) -> None:
    size = DataSize(100, 2_000, longest, 1_000)
    assert advise_options(size, SMALL, base_model="m")[0].packing_block >= longest
