"""Training goes on from an adapter where it was left, and only from one that fits."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_rows
from training.sft import train_sft

ROWS = copy_rows(120, seed=1, track="domain").unique("id", keep="first", maintain_order=True)
OPTIONS: dict[str, Any] = {"method": "lora", "rank": 4, "epochs": 4, "batch_rows": 24}
OPTIONS |= {"max_tokens": 128, "validate": 0.25, "patience": 20}


@pytest.fixture(scope="module")
def before(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train_sft(ROWS, base_model=tiny_base, out=tmp_path_factory.mktemp("v1"), **OPTIONS)


def looks(told: dict[str, Any]) -> list[float]:
    return [step["eval_domain_loss"] for step in told["history"] if "eval_domain_loss" in step]


def test_the_first_look_sees_what_was_left_and_training_goes_on(
    before: dict[str, Any], tiny_base: Path, tmp_path: Path
):
    start = Path(before["adapter"])
    small: dict[str, Any] = OPTIONS | {"lr": 1e-6}
    after = train_sft(ROWS, base_model=tiny_base, out=tmp_path, start=str(start), **small)
    assert looks(before)[0] > before["best"]["eval_domain_loss"] + 0.01
    assert looks(after)[0] == pytest.approx(before["best"]["eval_domain_loss"], abs=1e-3)
    left = (start / "adapter_model.safetensors").read_bytes()
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() != left


@pytest.mark.parametrize(
    ("other", "trouble"),
    [
        ({"rank": 8}, "r 4 there, 8 here"),
        ({"method": "ia3"}, "peft_type LORA there, IA3 here"),
        ({"method": "prefix"}, "prefix cannot be trained on by peft"),
        ({"method": "full"}, "full trains the whole model"),
    ],
)
def test_another_adapter_is_refused_with_the_reason(
    before: dict[str, Any], tiny_base: Path, tmp_path: Path, other: dict[str, Any], trouble: str
):
    with pytest.raises(ValueError, match=trouble):
        train_sft(
            ROWS, base_model=tiny_base, out=tmp_path, start=before["adapter"], **OPTIONS | other
        )


def test_an_adapter_over_4_bits_is_gone_on_from_as_it_was_left(tiny_base: Path, tmp_path: Path):
    from safetensors.torch import load_file

    options: dict[str, Any] = OPTIONS | {"method": "qlora", "epochs": 1, "validate": 0.0}
    first = train_sft(ROWS, base_model=tiny_base, out=tmp_path / "v1", **options)
    still = options | {"lr": 1e-12, "start": first["adapter"]}
    train_sft(ROWS, base_model=tiny_base, out=tmp_path / "v2", **still)
    was, now = (
        load_file(tmp_path / version / "adapter" / "adapter_model.safetensors")
        for version in ("v1", "v2")
    )
    assert all((was[name] - now[name]).abs().max() < 1e-8 for name in was)
