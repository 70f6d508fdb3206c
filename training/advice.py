"""Training options by data size, model size and device, each with its reason and where it is from.

The recipe may set any of them; what it leaves open is decided here and printed, so that a number
in a manifest can always be traced to the rule it came from.
"""

from dataclasses import dataclass
from typing import TypeVar

from training.curriculum import Order
from training.estimate import estimate_memory_gb, fit_tokens
from training.methods import METHODS, Asked, Name
from training.profiles import Profile
from training.shape import Shape, count_trained
from training.shard import Shard, check_shard

Number = TypeVar("Number", int, float)

TINY_PARAMS = 20_000_000
IN_RECIPE = "set in the recipe"
REGRET = 'Schulman et al. 2025, "LoRA Without Regret"'

# rows up to which a number of passes holds. 100k: 2-3, 20-50k: 4-5, a few hundred: more
# (design anchors, "Rules from practice"); the middle is interpolated.
EPOCHS_BY_ROWS = ((1_000, 8.0), (5_000, 6.0), (50_000, 4.0), (float("inf"), 2.0))
VALIDATE = 0.05
RANKS = (16, 32, 64, 128, 256)
MANY_ROWS = 20_000
USUAL_MAX_TOKENS = 1024


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
    micro_tokens: int
    warmup_steps: int
    seed: int
    profile: str
    virtual_tokens: int = 20
    validate: float = 0.0
    patience: int = 3
    order: Order = "shuffled"
    processes: int = 1
    shard: Shard = "no"


@dataclass(frozen=True)
class DataSize:
    """What advice needs to know of the tokenised rows; `n_trained` tokens are learned."""

    n_rows: int
    n_tokens: int
    longest: int
    n_trained: int = 0


@dataclass(frozen=True)
class Setting:
    """What a run is to be fitted to: the model, the device and who trains together."""

    shape: Shape
    profile: Profile
    processes: int = 1
    shard: Shard = "no"

    def room(self, method: Name, rank: int, virtual_tokens: int = 20) -> int:
        """The most tokens of one forward pass, 0 where nothing fits."""
        return fit_tokens(
            self.shape,
            method,
            n_trained=count_trained(self.shape, method, rank=rank, virtual_tokens=virtual_tokens),
            profile=self.profile,
            parts=self.processes if self.shard == "fsdp" else 1,
        )

    def memory(self, options: TrainOptions, size: DataSize) -> dict[str, float]:
        """GB of the run by what takes them."""
        step = step_tokens(size, options.batch_rows) // options.processes
        trained = count_trained(
            self.shape,
            options.method,
            rank=options.rank,
            virtual_tokens=options.virtual_tokens,
        )
        return estimate_memory_gb(
            self.shape,
            options.method,
            n_trained=trained,
            tokens_at_once=max(min(options.micro_tokens, step), options.packing_block),
            profile=self.profile,
            parts=self.processes if self.shard == "fsdp" else 1,
        )


def advise_method(
    asked: Asked, size: DataSize, setting: Setting, *, rank: int | None, virtual_tokens: int
) -> tuple[Name, str]:
    """The method, with its reason: of those that fit the one that learns enough and forgets least.

    Full fine-tuning where the rows hold more than the largest adapter can and it fits, LoRA where
    the base fits in the numbers the device computes with, QLoRA where it does not.
    """
    if asked != "auto":
        return asked, METHODS[asked].about
    most = rank or RANKS[-1]
    need = min(size.longest, USUAL_MAX_TOKENS)
    if _rank_for(size, setting.shape) > most and setting.room("full", most, virtual_tokens) >= need:
        return "full", (
            f"{size.n_trained:,} tokens are more than an adapter of rank {most} holds, and all "
            f"weights fit in memory ({REGRET}; Allen-Zhu & Li 2024)"
        )
    if setting.room("lora", rank or _rank(size, setting.shape)[0], virtual_tokens) >= need:
        return "lora", (
            "the base fits in memory as it is; less is forgotten than by full fine-tuning "
            '(Hu et al. 2021; Biderman et al. 2024, "LoRA Learns Less and Forgets Less")'
        )
    return "qlora", "the base fits in memory only in 4 bits (Dettmers et al. 2023)"


def advise_max_tokens(lengths: list[int], room: int, context: int) -> tuple[int, str]:
    """The longest row to train on: all of them up to `USUAL_MAX_TOKENS`, and beyond it the 999 of a
    thousand that are shortest, as far as model and memory reach (`room`, 0 for unknown)."""
    ordered = sorted(lengths) or [0]
    usual = ordered[max(0, -(-len(ordered) * 999 // 1000) - 1)]
    wanted = max(USUAL_MAX_TOKENS, -(-usual // 64) * 64)
    limit = min(wanted, context, room or wanted)
    if limit == context:
        return limit, "as long as the model reads"
    if limit < wanted:
        return limit, f"what memory holds; 999 of 1000 rows have at most {usual:,}"
    return limit, f"999 of 1000 rows have at most {usual:,}; one long row makes every batch long"


def advise_options(
    size: DataSize,
    setting: Setting,
    *,
    base_model: str,
    revision: str = "",
    method: Name = "qlora",
    rank: int | None = None,
    alpha: int = 32,
    virtual_tokens: int = 20,
    lr: float | None = None,
    warmup: float | None = None,
    epochs: float | None = None,
    batch_rows: int | None = None,
    max_tokens: int = USUAL_MAX_TOKENS,
    validate: float | None = None,
    patience: int = 3,
    order: Order = "shuffled",
    seed: int = 0,
) -> tuple[TrainOptions, list[str]]:
    """The options with every open one (`None`) decided, and a reason for each choice.

    Raises `ValueError` for options that cannot work together.
    """
    check_shard(setting.shard, method=method, processes=setting.processes)
    if validate and not METHODS[method].resumes:
        raise ValueError(
            f"train: {method} cannot go back to its best weights, as peft does not keep all of it; "
            "leave validate out, or take another method"
        )
    if warmup is not None and not 0 <= warmup < 1:
        raise ValueError(f"train.warmup is a share of the steps, from 0 to below 1, not {warmup!r}")
    tiny, packs = setting.shape.n_params < TINY_PARAMS, METHODS[method].packs
    rank, rank_reason = _settle(rank, _rank(size, setting.shape))
    lr, lr_reason = _settle(lr, _lr(method, tiny))
    warmup, warmup_reason = _settle(warmup, _warmup(lr, method, tiny))
    epochs, epochs_reason = _settle(epochs, _epochs(size.n_rows, tiny))
    batch_rows, batch_reason = _settle(batch_rows, _batch(size.n_rows))
    validate, validate_reason = _settle(validate, _validate(method, tiny))
    steps = max(1, round(size.n_rows * epochs / batch_rows))
    block = _block(size, batch_rows) if packs else size.longest
    room = setting.room(method, rank, virtual_tokens)
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
        micro_tokens=max(room, size.longest),
        warmup_steps=max(1, round(warmup * steps)),
        seed=seed,
        profile=setting.profile.name,
        virtual_tokens=virtual_tokens,
        validate=validate,
        patience=patience,
        order=order,
        processes=setting.processes,
        shard=setting.shard,
    )
    tokens = step_tokens(size, batch_rows)
    return options, [
        f"lr {lr:g}: {lr_reason}",
        f"epochs {epochs:g}: {epochs_reason}",
        *_sizes(options, rank_reason),
        f"batch {batch_rows} rows, about {tokens:,} tokens, an optimizer step, about {steps} "
        f"steps: {batch_reason}",
        f"at most {options.micro_tokens:,} tokens in one forward pass: what is estimated to fit "
        f"the memory of {setting.profile.about}, and no more than keeps it busy",
        f"warmup {options.warmup_steps} steps: {warmup_reason}",
        f"packing block {block} tokens: at least the longest row, about a quarter of a batch"
        if packs
        else f"no packing: {method} puts its virtual tokens before the first row of a sequence",
        f"validate {validate:g}: {validate_reason}",
        *(f"profile {setting.profile.name}: {reason}" for reason in setting.profile.reasons),
    ]


def step_tokens(size: DataSize, batch_rows: int) -> int:
    """Tokens of an optimizer step."""
    return round(size.n_tokens * batch_rows / max(size.n_rows, 1))


def _settle(said: Number | None, advised: tuple[Number, str]) -> tuple[Number, str]:
    return advised if said is None else (said, IN_RECIPE)


def _rank_for(size: DataSize, shape: Shape) -> int:
    """The rank whose adapter holds the rows: a weight about 2 bits (Allen-Zhu & Li 2024), a trained
    token about 1 (Schulman et al. 2025)."""
    return -(-size.n_trained // (2 * max(shape.linear, 1)))


def _rank(size: DataSize, shape: Shape) -> tuple[int, str]:
    enough = next((rank for rank in RANKS if rank >= _rank_for(size, shape)), RANKS[-1])
    said = f"for {size.n_trained:,} trained tokens of about a bit each, at 2 bits a weight"
    return enough, f"{said} ({REGRET}; Allen-Zhu & Li 2024), and not under the usual 16"


def _lr(method: Name, tiny: bool) -> tuple[float, str]:
    known = METHODS[method]
    if tiny:
        return known.tiny_lr, "a model under 20M parameters takes a large rate (docs/log.md)"
    return known.lr, known.source


def _warmup(lr: float, method: Name, tiny: bool) -> tuple[float, str]:
    usual, _ = _lr(method, tiny)
    if lr > 2 * usual:
        return 0.1, "a tenth of the run, as the rate is more than twice the advised one"
    return 0.05, "a twentieth of the run, more for a larger rate (practice)"


def _batch(n_rows: int) -> tuple[int, str]:
    if n_rows >= MANY_ROWS:
        return 32, f"of many rows as large as 8 to 32 work alike; beyond it LoRA loses ({REGRET})"
    return 16, f"8 to 32 rows work alike; a larger batch costs LoRA quality ({REGRET})"


def _sizes(options: TrainOptions, rank_reason: str) -> list[str]:
    """What an adapter of this method is made of."""
    if options.method in ("lora", "qlora", "dora", "adalora"):
        layers = "all linear layers, dropout 0: better than attention alone (Dettmers et al. 2023)"
        return [
            f"rank {options.rank}: {rank_reason}",
            f"alpha {options.alpha} on {layers}; with it the best rate hardly depends on the rank",
        ]
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
        (
            e,
            f"for {n_rows:,} rows; fewer take more (practice: 100k take 2 to 3, 20k to 50k 4 to 5)",
        )
        for top, e in EPOCHS_BY_ROWS
        if n_rows <= top
    )


def _block(size: DataSize, batch_rows: int) -> int:
    """Bins short enough that a step of `batch_rows` rows is made of about four of them."""
    return max(size.longest, round(step_tokens(size, batch_rows) / 4))
