"""Training options by data size and model size, each with its reason.

The recipe may set any of them; what it leaves open is decided here and printed, so that a number
in a manifest can always be traced to the rule it came from.
"""

from dataclasses import dataclass
from typing import Literal

Method = Literal["qlora", "lora"]

TINY_PARAMS = 20_000_000

# rows up to which a number of passes holds. 100k: 2-3, 20-50k: 4-5, a few hundred: more
# (design anchors, "Rules from practice"); the middle is interpolated.
EPOCHS_BY_ROWS = ((1_000, 8.0), (5_000, 6.0), (50_000, 4.0), (float("inf"), 2.0))


@dataclass(frozen=True)
class TrainOptions:
    """What one training run is configured with; lengths in tokens, `lr` at its peak."""

    base_model: str
    revision: str
    method: Method
    rank: int
    alpha: int
    lr: float
    epochs: float
    batch_rows: int
    max_tokens: int
    packing_block: int
    warmup_steps: int
    seed: int


@dataclass(frozen=True)
class DataSize:
    """What advice needs to know of the tokenised rows."""

    n_rows: int
    n_tokens: int
    longest: int


def advise_options(
    size: DataSize,
    *,
    base_model: str,
    n_params: int,
    revision: str = "",
    method: Method = "qlora",
    rank: int = 16,
    alpha: int = 32,
    lr: float | None = None,
    epochs: float | None = None,
    batch_rows: int = 16,
    max_tokens: int = 1024,
    seed: int = 0,
) -> tuple[TrainOptions, list[str]]:
    """The options with every open one (`None`) decided, and a reason for each choice."""
    tiny = n_params < TINY_PARAMS
    best_lr, lr_reason = _lr(tiny)
    best_epochs, epochs_reason = _epochs(size.n_rows, tiny)
    lr, lr_reason = (best_lr, lr_reason) if lr is None else (lr, "set in the recipe")
    epochs, epochs_reason = (
        (best_epochs, epochs_reason) if epochs is None else (epochs, "set in the recipe")
    )
    steps = max(1, round(size.n_rows * epochs / batch_rows))
    warmup = max(1, round(0.05 * steps))
    block = _block(size, batch_rows)
    options = TrainOptions(
        base_model,
        revision,
        method,
        rank,
        alpha,
        lr,
        epochs,
        batch_rows,
        max_tokens,
        block,
        warmup,
        seed,
    )
    return options, [
        f"lr {lr:g}: {lr_reason}",
        f"epochs {epochs:g}: {epochs_reason}",
        f"rank {rank}, alpha {alpha} on all linear layers, dropout 0: the usual choice for LoRA",
        f"batch {batch_rows} rows an optimizer step, about {steps} steps: 8 to 32 rows work alike",
        f"warmup {warmup} steps: a twentieth of the run",
        f"packing block {block} tokens: at least the longest row, about a quarter of a batch",
    ]


def _lr(tiny: bool) -> tuple[float, str]:
    if tiny:
        return (
            4e-3,
            "a model under 20M parameters takes a large rate; 1e-2 came out alike on the demo",
        )
    return 3e-4, "LoRA takes about ten times the 3e-5 of full fine-tuning"


def _epochs(n_rows: int, tiny: bool) -> tuple[float, str]:
    if tiny:
        return 2.0, "two passes keep the demo short; not the best that more would reach"
    return next(
        (e, f"for {n_rows:,} rows; fewer rows take more passes")
        for top, e in EPOCHS_BY_ROWS
        if n_rows <= top
    )


def _block(size: DataSize, batch_rows: int) -> int:
    """Bins short enough that a step of `batch_rows` rows is made of about four of them."""
    quarter = size.n_tokens * batch_rows / max(size.n_rows, 1) / 4
    return max(size.longest, round(quarter))
