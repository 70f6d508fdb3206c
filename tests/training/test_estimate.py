"""The estimate of a run: known sizes of known models, and in the order that they must have."""

import pytest

from training.estimate import (
    CARD_24,
    HOPPER,
    Shape,
    estimate_memory_gb,
    estimate_seconds,
    say_estimate,
)

QWEN_0_6B = Shape(596_000_000, 10_000_000, 1024, 28, 151_936)
QWEN_7B = Shape(7_616_000_000, 40_000_000, 3584, 28, 152_064)


def whole(shape: Shape) -> Shape:
    return Shape(shape.n_params, shape.n_params, shape.hidden, shape.layers, shape.vocab)


def test_full_fine_tuning_of_7b_takes_16_bytes_a_weight() -> None:
    parts = estimate_memory_gb(whole(QWEN_7B), "full", tokens_at_once=4096, device=HOPPER)
    assert parts["weights"] + parts["training"] == pytest.approx(7.616 * 16, rel=1e-3)
    said = say_estimate(whole(QWEN_7B), "full", tokens_at_once=4096, n_tokens=1e6, device=HOPPER)
    assert "will not fit" in said


def test_qlora_of_7b_fits_a_24_gb_card_and_lora_hardly() -> None:
    sizes = [
        estimate_memory_gb(QWEN_7B, method, tokens_at_once=4096, device=CARD_24)["all"]
        for method in ("qlora", "lora")
    ]
    assert 5 < sizes[0] < 12 and 16 < sizes[1] < 24


def test_logits_of_a_large_vocabulary_are_counted() -> None:
    parts = estimate_memory_gb(QWEN_0_6B, "qlora", tokens_at_once=16_384, device=CARD_24)
    assert parts["logits"] == pytest.approx(16_384 * 151_936 * 6 / 1e9, rel=1e-3)


def test_time_follows_weights_and_tokens() -> None:
    one = estimate_seconds(QWEN_0_6B, n_tokens=1e6, device=HOPPER)
    assert estimate_seconds(QWEN_0_6B, n_tokens=2e6, device=HOPPER) == pytest.approx(2 * one)
    # 6 operations of a frozen weight and 8 of a trained one, at 35 % of 989 · 10^12 a second
    operations = 1e6 * (6 * 586e6 + 8 * 10e6)
    assert one == pytest.approx(operations / (989e12 * 0.35))
