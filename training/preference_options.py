"""Options of a preference stage, each with its reason, and methods it cannot go on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.advice import TINY_PARAMS
from training.methods import METHODS, Name

Loss = Literal["sigmoid", "ipo", "hinge"]

LR_FULL = 5e-7, "that of TRL's own example for whole models"
LR_ADAPTER = 5e-6, "that of TRL's own example for adapters, ten times that of whole models"
LR_TINY = 1e-4, "a model under 20M parameters takes a large rate (docs/log.md)"


@dataclass(frozen=True)
class PreferenceOptions:
    """What one preference run is configured with; lengths in tokens, `lr` at its peak."""

    method: Name
    beta: float
    loss: Loss
    sft_weight: float
    lr: float
    epochs: float
    batch_pairs: int
    warmup_steps: int
    max_tokens: int
    seed: int


def advise_preference(
    n_pairs: int,
    *,
    method: Name,
    n_params: int,
    beta: float,
    loss: Loss,
    sft_weight: float,
    lr: float | None,
    epochs: float,
    batch_pairs: int,
    max_tokens: int,
    seed: int,
) -> tuple[PreferenceOptions, list[str]]:
    """The options with the open rate decided, and a reason for each choice."""
    advised = LR_TINY if n_params < TINY_PARAMS else LR_FULL if method == "full" else LR_ADAPTER
    lr, why = advised if lr is None else (lr, "set in the recipe")
    steps = max(1, round(n_pairs * epochs / batch_pairs))
    warmup = max(1, round(0.1 * steps))
    options = PreferenceOptions(
        method=method,
        beta=beta,
        loss=loss,
        sft_weight=sft_weight,
        lr=lr,
        epochs=epochs,
        batch_pairs=batch_pairs,
        warmup_steps=warmup,
        max_tokens=max_tokens,
        seed=seed,
    )
    return options, [
        f"loss {loss}, beta {beta:g}: {_ABOUT[loss]}",
        f"sft_weight {sft_weight:g}: {_say_sft(sft_weight)}",
        f"lr {lr:g}: {why}",
        f"{n_pairs:,} pairs, {epochs:g} passes, {batch_pairs} pairs a step, about {steps} steps",
        f"warmup {warmup} steps: a tenth of the run",
    ]


_ABOUT = {
    "sigmoid": "DPO (Rafailov et al. 2023), whose beta is 0.1",
    "ipo": "IPO (Azar et al. 2023), which stops at a margin and overfits few pairs less",
    "hinge": "SLiC's margin (Zhao et al. 2023)",
}


def _say_sft(weight: float) -> str:
    if not weight:
        return "nothing keeps the right answers as likely as they were"
    return "the right answers are trained on beside it (Pang et al. 2024), or both may fall"


def check_preference(said: Mapping[str, Any], *, method: Any = "") -> list[str]:
    """What is wrong with the options of the section, and with the method that it follows.

    An option that is left out, or is no number, is not looked at.
    """
    refused = refuse_method(method) if method in METHODS else ""
    numbers = {n: said[n] for n in _ABOVE_0 if type(said.get(n)) in (int, float)}
    wrong = [f"preference.{n}: {v!r} is not above 0" for n, v in numbers.items() if v <= 0]
    return [*([f"preference: {refused}"] if refused else []), *wrong]


_ABOVE_0 = ("beta", "lr", "epochs", "batch_pairs", "max_tokens")


def refuse_method(method: str) -> str:
    """Why an adapter of this method cannot be trained on with pairs; "" where it can."""
    known = METHODS[method]
    if known.packs and known.resumes:
        return ""
    lacks = (
        "does not keep what it weighs its ranks by"
        if known.packs
        else "loads saved virtual tokens only to be used"
    )
    good = ", ".join(name for name, one in METHODS.items() if one.packs and one.resumes)
    return f"{method} cannot be trained on by pairs, as peft {lacks}; under train take {good}"
