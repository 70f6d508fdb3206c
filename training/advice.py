"""Training options by data size and model size, each with its reason.

The recipe may set any of them; what it leaves open is decided here and printed, so that a number
in a manifest can always be traced to the rule it came from.
"""

from dataclasses import dataclass

from training.curriculum import Order
from training.methods import METHODS, Name
from training.shard import Shard, check_shard

TINY_PARAMS = 20_000_000

# rows up to which a number of passes holds. 100k: 2-3, 20-50k: 4-5, a few hundred: more
# (design anchors, "Rules from practice"); the middle is interpolated.
EPOCHS_BY_ROWS = ((1_000, 8.0), (5_000, 6.0), (50_000, 4.0), (float("inf"), 2.0))
VALIDATE = 0.05


@dataclass(frozen=True)
class TrainOptions:
    """What one training run is configured with; lengths in tokens, `lr` at its peak."""

    base_model: str
    revision: str
    method: Name
    rank: int
    alpha: int
    lr: float
    epochs: float
    batch_rows: int
    max_tokens: int
    packing_block: int
    warmup_steps: int
    seed: int
    virtual_tokens: int = 20
    validate: float = 0.0
    patience: int = 3
    order: Order = "shuffled"
    processes: int = 1
    shard: Shard = "no"


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
    method: Name = "qlora",
    rank: int = 16,
    alpha: int = 32,
    virtual_tokens: int = 20,
    lr: float | None = None,
    epochs: float | None = None,
    batch_rows: int = 16,
    max_tokens: int = 1024,
    validate: float | None = None,
    patience: int = 3,
    order: Order = "shuffled",
    processes: int = 1,
    shard: Shard = "no",
    seed: int = 0,
) -> tuple[TrainOptions, list[str]]:
    """The options with every open one (`None`) decided, and a reason for each choice.

    Raises `ValueError` for options that cannot work together.
    """
    check_shard(shard, method=method, processes=processes)
    if validate and not METHODS[method].resumes:
        raise ValueError(
            f"train: {method} cannot go back to its best weights, as peft does not keep all of it; "
            "leave validate out, or take another method"
        )
    tiny, packs = n_params < TINY_PARAMS, METHODS[method].packs
    lr, lr_reason = _settle(lr, _lr(method, tiny))
    epochs, epochs_reason = _settle(epochs, _epochs(size.n_rows, tiny))
    validate, validate_reason = _settle(validate, _validate(method, tiny))
    steps = max(1, round(size.n_rows * epochs / batch_rows))
    warmup = max(1, round(0.05 * steps))
    block = _block(size, batch_rows) if packs else size.longest
    options = TrainOptions(
        base_model=base_model,
        revision=revision,
        method=method,
        rank=rank,
        alpha=alpha,
        lr=lr,
        epochs=epochs,
        batch_rows=batch_rows,
        max_tokens=max_tokens,
        packing_block=block,
        warmup_steps=warmup,
        seed=seed,
        virtual_tokens=virtual_tokens,
        validate=validate,
        patience=patience,
        order=order,
        processes=processes,
        shard=shard,
    )
    return options, [
        f"method {method}: {METHODS[method].about}",
        f"lr {lr:g}: {lr_reason}",
        f"epochs {epochs:g}: {epochs_reason}",
        *_sizes(options),
        f"batch {batch_rows} rows an optimizer step, about {steps} steps: 8 to 32 rows work alike",
        f"warmup {warmup} steps: a twentieth of the run",
        f"packing block {block} tokens: at least the longest row, about a quarter of a batch"
        if packs
        else f"no packing: {method} puts its virtual tokens before the first row of a sequence",
        f"validate {validate:g}: {validate_reason}",
    ]


def _settle(said: float | None, advised: tuple[float, str]) -> tuple[float, str]:
    return advised if said is None else (said, "set in the recipe")


def _lr(method: Name, tiny: bool) -> tuple[float, str]:
    known = METHODS[method]
    if tiny:
        return known.tiny_lr, "a model under 20M parameters takes a large rate (docs/log.md)"
    return known.lr, known.source


def _sizes(options: TrainOptions) -> list[str]:
    """What an adapter of this method is made of."""
    if options.method in ("lora", "qlora", "dora", "adalora"):
        said = f"rank {options.rank}, alpha {options.alpha} on all linear layers, dropout 0"
        return [f"{said}: the usual choice for LoRA"]
    if not METHODS[options.method].packs:
        return [f"{options.virtual_tokens} virtual tokens: the papers' 10 to 100 by task"]
    return []


def _validate(method: Name, tiny: bool) -> tuple[float, str]:
    if not METHODS[method].resumes:
        return 0.0, f"{method} keeps its last weights"
    if tiny:
        return 0.0, "two passes over a model under 20M parameters have no better place to stop"
    return VALIDATE, "rows looked at to keep the best weights and to stop when they get worse"


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
