"""Advice fills in what the recipe leaves open and says why."""

import pytest

from training.advice import DataSize, advise_options


def test_fewer_rows_take_more_epochs() -> None:
    epochs = [
        advise_options(DataSize(n, n * 50, 200), base_model="m", n_params=600_000_000)[0].epochs
        for n in (300, 3_000, 30_000, 300_000)
    ]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[-1]


def test_a_tiny_model_gets_a_large_rate() -> None:
    size = DataSize(500, 30_000, 120)
    tiny, _ = advise_options(size, base_model="demo", n_params=1_000_000)
    usual, _ = advise_options(size, base_model="m", n_params=600_000_000)
    assert tiny.lr > 5 * usual.lr


def test_what_the_recipe_sets_stays_and_every_choice_has_a_reason() -> None:
    options, reasons = advise_options(
        DataSize(500, 30_000, 120), base_model="m", n_params=10**9, lr=1e-5, epochs=1.0
    )
    assert (options.lr, options.epochs) == (1e-5, 1.0)
    assert sum("set in the recipe" in r for r in reasons) == 2


@pytest.mark.parametrize("longest", [20, 900])
def test_the_packing_block_holds_the_longest_row(longest: int) -> None:
    size = DataSize(100, 2_000, longest)
    assert advise_options(size, base_model="m", n_params=10**9)[0].packing_block >= longest
