"""The estimate of a run: known sizes of known models, and in the order that they must have."""

import dataclasses
from pathlib import Path

import pytest

from training.estimate import (
    MOST_TOKENS,
    estimate_memory_gb,
    estimate_seconds,
    fit_tokens,
    say_estimate,
)
from training.methods import METHODS, peft_config
from training.profiles import PROFILES, require_here, take_profile
from training.shape import Shape, count_trained, read_shape

QWEN_0_6B = Shape(596_000_000, 1024, 28, 151_936, 32_768, linear=630_784)
QWEN_7B = Shape(7_616_000_000, 3584, 28, 152_064, 32_768, linear=2_523_136)
HOPPER, CARD_24 = PROFILES["hopper"], PROFILES["24gb"]


def test_full_fine_tuning_of_7b_takes_16_bytes_a_weight() -> None:
    asked = {"n_trained": QWEN_7B.n_params, "profile": HOPPER}
    parts = estimate_memory_gb(QWEN_7B, "full", tokens_at_once=4096, **asked)
    assert parts["weights"] + parts["training"] == pytest.approx(7.616 * 16, rel=1e-3)
    assert "will not fit" in say_estimate(parts, 60, HOPPER)
    assert fit_tokens(QWEN_7B, "full", **asked) == 0
    assert fit_tokens(QWEN_7B, "full", **asked, parts=4) > 0  # parted among four it fits


def test_qlora_of_7b_fits_a_24_gb_card_and_lora_hardly() -> None:
    asked = {"n_trained": 40_000_000, "profile": CARD_24}
    qlora, lora = (
        estimate_memory_gb(QWEN_7B, method, tokens_at_once=4096, **asked)["all"]
        for method in ("qlora", "lora")
    )
    assert 5 < qlora < 12 and 16 < lora < 24
    most = [fit_tokens(QWEN_7B, method, **asked) for method in ("qlora", "lora")]
    assert most[0] > most[1] > 0


def test_logits_of_a_large_vocabulary_are_counted() -> None:
    asked = {"n_trained": 10_000_000, "profile": CARD_24, "tokens_at_once": 16_384}
    parts = estimate_memory_gb(QWEN_0_6B, "qlora", **asked)
    assert parts["logits"] == pytest.approx(16_384 * 151_936 * 6 / 1e9, rel=1e-3)


def test_a_forward_pass_holds_no_more_tokens_than_memory_does() -> None:
    rooms = [
        fit_tokens(
            QWEN_0_6B,
            "lora",
            n_trained=10_000_000,
            profile=dataclasses.replace(CARD_24, memory_gb=gb),
        )
        for gb in (1, 4, 8, 24, 80)
    ]
    assert rooms[0] == 0 and rooms[-1] == MOST_TOKENS
    assert rooms == sorted(rooms) and len({*rooms}) > 3


def test_time_follows_weights_tokens_and_processes() -> None:
    asked = {"n_trained": 10_000_000, "profile": HOPPER}
    one = estimate_seconds(QWEN_0_6B, n_tokens=1e6, **asked)
    assert estimate_seconds(QWEN_0_6B, n_tokens=2e6, **asked) == pytest.approx(2 * one)
    two = estimate_seconds(QWEN_0_6B, n_tokens=1e6, processes=2, **asked)
    assert two == pytest.approx(one / 2)
    # 6 operations of a frozen weight and 8 of a trained one, at 35 % of 989 · 10^12 a second
    operations = 1e6 * (6 * 586e6 + 8 * 10e6)
    assert one == pytest.approx(operations / (989e12 * 0.35))


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_trains_is_known_without_its_weights(method, tiny_base: Path) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    shape = read_shape(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert shape.n_params == model.num_parameters() and shape.vocab == model.config.vocab_size
    config = peft_config(method, rank=8, alpha=16, virtual_tokens=4, steps=50, hidden=shape.hidden)
    adapted = model if config is None else get_peft_model(model, config)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    exact = method in ("full", "lora", "qlora", "ia3", "prompt")
    counted = count_trained(shape, method, rank=8, virtual_tokens=4)
    assert counted == pytest.approx(trained, rel=0 if exact else 0.5)


def test_this_machine_has_a_profile_and_a_gpu_is_not_made_up(monkeypatch) -> None:
    here = take_profile()
    assert here.memory_gb > 1 and here.tera > 0 and here.reasons
    require_here(here)
    assert take_profile("hopper") is HOPPER
    if not here.gpu:
        with pytest.raises(ValueError, match="hopper wants a GPU, of which there is none here"):
            require_here(HOPPER)
