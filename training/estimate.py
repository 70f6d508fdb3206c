"""How much memory and time a run will take, worked out before it begins.

Memory: weights, what the optimizer keeps of what is trained, and activations after Korthikanti et
al. 2022 ("Reducing Activation Recomputation in Large Transformer Models"). Time: 2 operations per
weight and token forward, 2 for the gradient of what lies before, 2 more for the gradient of the
weight itself where it is trained, 2 where activations are made again (Kaplan et al. 2020, section
2.1). Both are estimates: within a factor of two where the device is busy, worse for tiny models.
"""

from dataclasses import dataclass

from training.methods import METHODS, Name

GB = 1e9


@dataclass(frozen=True)
class Device:
    """A kind of machine: its memory (GB), its rate with 16-bit matrices (10^12 operations a
    second, as its maker says), and the share of that which training reaches."""

    name: str
    memory_gb: float
    tera: float
    share: float
    checkpoints: bool = True
    """Whether activations are thrown away and made again."""


HOPPER = Device("Hopper (H100, H200)", 80, 989, 0.35)
CARD_24 = Device("24 GB card (RTX 4090, A10, L4)", 24, 120, 0.35)
CPU = Device("CPU", 0, 0.05, 0.5, checkpoints=False)
"""A core of a present server does about 0.05 · 10^12 operations of 32 bits a second."""


@dataclass(frozen=True)
class Shape:
    """What the estimate needs to know of a model."""

    n_params: int
    n_trained: int
    hidden: int
    layers: int
    vocab: int


def pick_device() -> Device:
    """The profile that is nearest to this machine."""
    import os

    import psutil
    import torch

    if not torch.cuda.is_available():
        cores = torch.get_num_threads() or os.cpu_count() or 1
        memory = psutil.virtual_memory().total / GB
        return Device("CPU", memory, CPU.tera * cores, CPU.share, CPU.checkpoints)
    found = torch.cuda.get_device_properties(0)
    near = HOPPER if found.major >= 9 else CARD_24  # noqa: PLR2004 - compute capability of Hopper
    return Device(found.name, found.total_memory / GB, near.tera, near.share)


def estimate_memory_gb(
    shape: Shape, method: Name, *, tokens_at_once: int, device: Device
) -> dict[str, float]:
    """GB of weights, of gradients and optimizer, of activations, of logits, and in all.

    `tokens_at_once` are those of one forward pass.
    """
    on_gpu = device.checkpoints
    whole = 2.0 if on_gpu and method != "full" else 4.0
    # NF4 with double quantization: 4.127 bits a weight; the embedding stays as it is.
    embedding = shape.vocab * shape.hidden
    body = 4.127 / 8 if METHODS[method].quantized else whole
    weights = embedding * whole + (shape.n_params - embedding) * body
    own = 0.0 if method == "full" else 4.0  # an adapter's weights come on top of the base's
    trained = shape.n_trained * (own + 4 + 8)  # gradient; Adam's two moments
    width = 2 if on_gpu else 4
    per_layer = shape.hidden * tokens_at_once * 17 * width  # 34 bytes of 16 bits
    kept = shape.hidden * tokens_at_once * width * shape.layers
    activations = kept + per_layer if device.checkpoints else per_layer * shape.layers
    logits = tokens_at_once * shape.vocab * (4 + width)
    sizes = {
        "weights": weights,
        "training": trained,
        "activations": activations,
        "logits": logits,
    }
    parts: dict[str, float] = {name: round(size / GB, 3) for name, size in sizes.items()}
    return parts | {"all": round(sum(parts.values()), 3)}


def estimate_seconds(shape: Shape, *, n_tokens: float, device: Device) -> float:
    """Seconds for `n_tokens`, all passes counted."""
    frozen = shape.n_params - min(shape.n_trained, shape.n_params)
    again = 2 if device.checkpoints else 0
    operations = n_tokens * ((4 + again) * frozen + (6 + again) * shape.n_trained)
    return operations / (device.tera * 1e12 * device.share)


def say_estimate(
    shape: Shape, method: Name, *, tokens_at_once: int, n_tokens: float, device: Device
) -> str:
    """One line for people, which says so when the memory will not do."""
    memory = estimate_memory_gb(shape, method, tokens_at_once=tokens_at_once, device=device)
    seconds = estimate_seconds(shape, n_tokens=n_tokens, device=device)
    time = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"  # noqa: PLR2004
    parts = ", ".join(f"{name} {size:.1f}" for name, size in memory.items() if name != "all")
    line = (
        f"estimated memory {memory['all']:.1f} of {device.memory_gb:.0f} GB ({parts}) and {time} "
        f"on {device.name}"
    )
    if memory["all"] <= device.memory_gb:
        return line
    return f"{line}: it will not fit; take qlora, a smaller base model or a smaller max_tokens"
