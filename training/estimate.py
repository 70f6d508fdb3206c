"""How much memory and time a run will take, worked out before it begins.

Memory: weights, what the optimizer keeps of what is trained, and activations after Korthikanti et
al. 2022 ("Reducing Activation Recomputation in Large Transformer Models"). Time: 2 operations per
weight and token forward, 2 for the gradient of what lies before, 2 more for the gradient of the
weight itself where it is trained, 2 where activations are made again (Kaplan et al. 2020, section
2.1). Both are estimates: within a factor of two where the device is busy, worse for tiny models.
"""

from training.methods import METHODS, Name
from training.profiles import GB, Profile
from training.shape import Shape

MOST_TOKENS, FEWEST_TOKENS = 16_384, 256
"""Of one forward pass: more does not make it faster, fewer waits more than it works."""


def estimate_memory_gb(
    shape: Shape,
    method: Name,
    *,
    n_trained: int,
    tokens_at_once: int,
    profile: Profile,
    parts: int = 1,
) -> dict[str, float]:
    """GB of weights, of gradients and optimizer, of activations, of logits, and in all.

    `tokens_at_once` are those of one forward pass, `parts` the processes that weights and optimizer
    are parted among.
    """
    on_gpu = profile.gpu
    whole = 2.0 if on_gpu and method != "full" else 4.0
    # NF4 with double quantization: 4.127 bits a weight; the embedding stays as it is.
    embedding = shape.vocab * shape.hidden
    body = 4.127 / 8 if METHODS[method].quantized else whole
    weights = embedding * whole + (shape.n_params - embedding) * body
    own = 0.0 if method == "full" else 4.0  # an adapter's weights come on top of the base's
    trained = n_trained * (own + 4 + 8)  # gradient; Adam's two moments
    width = 2 if on_gpu else 4
    per_layer = shape.hidden * tokens_at_once * 17 * width  # 34 bytes of 16 bits
    kept = shape.hidden * tokens_at_once * width * shape.layers
    activations = kept + per_layer if profile.checkpoints else per_layer * shape.layers
    logits = tokens_at_once * shape.vocab * (4 + width)
    sizes = {
        "weights": weights / parts,
        "training": trained / parts,
        "activations": activations,
        "logits": logits,
    }
    told: dict[str, float] = {name: round(size / GB, 3) for name, size in sizes.items()}
    return told | {"all": round(sum(told.values()), 3)}


def fit_tokens(
    shape: Shape, method: Name, *, n_trained: int, profile: Profile, parts: int = 1
) -> int:
    """The most tokens of one forward pass that the memory holds: a power of 2 between
    `FEWEST_TOKENS` and `MOST_TOKENS`; 0 where not even the fewest fit."""
    tokens = MOST_TOKENS
    while tokens >= FEWEST_TOKENS:
        memory = estimate_memory_gb(
            shape,
            method,
            n_trained=n_trained,
            tokens_at_once=tokens,
            profile=profile,
            parts=parts,
        )
        if memory["all"] <= profile.room_gb:
            return tokens
        tokens //= 2
    return 0


def estimate_seconds(
    shape: Shape, *, n_trained: int, n_tokens: float, profile: Profile, processes: int = 1
) -> float:
    """Seconds for `n_tokens`, all passes counted, that so many processes share.

    Each process is taken to have a device of its own; the time in which they wait for one another
    is not counted.
    """
    frozen = max(0, shape.n_params - n_trained)
    again = 2 if profile.checkpoints else 0
    operations = n_tokens * ((4 + again) * frozen + (6 + again) * n_trained)
    return operations / (profile.tera * 1e12 * profile.share) / processes


def say_estimate(memory: dict[str, float], seconds: float, profile: Profile) -> str:
    """One line for people, which says so when the memory will not do."""
    time = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"  # noqa: PLR2004
    parts = ", ".join(f"{name} {size:.1f}" for name, size in memory.items() if name != "all")
    line = (
        f"estimated memory {memory['all']:.1f} of {profile.memory_gb:.0f} GB ({parts}) and {time} "
        f"on {profile.about}"
    )
    if memory["all"] <= profile.memory_gb:
        return line
    return f"{line}: it will not fit; take qlora, a smaller base model or a smaller max_tokens"
