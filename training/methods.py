"""The ways to train: what each changes in the model, its usual rate, and what it cannot do.

One table. A method that cannot run as asked is refused, or replaced by the nearest that can, before
any weight is loaded, and the reason is kept.
"""

from dataclasses import dataclass
from typing import Any, Literal

Name = Literal["qlora", "lora", "dora", "adalora", "ia3", "prefix", "prompt", "p_tuning", "full"]
Asked = Literal["auto", Name]
"""A method, or the one that data, model and device speak for."""


@dataclass(frozen=True)
class Method:
    """What a method does; `lr` is its peak rate for models of usual size, `tiny_lr` for tiny ones.

    `packs`: several rows may share a sequence. Virtual tokens stand before the first row of a
    sequence only, so with them every row has a sequence of its own. `merges`: what was trained can
    be folded into the weights of the base, so that it costs nothing to run. `resumes`: a checkpoint
    holds all that the method needs to go on; peft leaves out what AdaLoRA weighs its ranks by and
    the network behind P-tuning's embeddings, so these begin again, and keep their last weights.
    """

    about: str
    lr: float
    tiny_lr: float
    source: str
    packs: bool = True
    merges: bool = True
    quantized: bool = False
    resumes: bool = True


TEN_TIMES = (
    "ten times the 3e-5 of full fine-tuning, the factor that Schulman et al. 2025 find "
    '("LoRA Without Regret")'
)

METHODS: dict[str, Method] = {
    "qlora": Method(
        "low-rank updates of all linear layers over a base in 4 bits (NF4)",
        3e-4, 4e-3, TEN_TIMES, quantized=True,
    ),
    "lora": Method(
        "low-rank updates of all linear layers", 3e-4, 4e-3, TEN_TIMES,
    ),
    "dora": Method(
        "LoRA with a trained length for each weight's direction (Liu et al. 2024)", 3e-4, 4e-3,
        "that of LoRA",
    ),
    "adalora": Method(
        "LoRA whose ranks move to the layers that gain by them (Zhang et al. 2023)", 1e-3, 1e-2,
        "within the 5e-4 to 1e-2 of the paper's tables", resumes=False,
    ),
    "ia3": Method(
        "one factor for each key, value and inner feed-forward unit (Liu et al. 2022)", 3e-3, 3e-2,
        "the paper's 3e-3",
    ),
    "prefix": Method(
        "trained keys and values before each row in every layer (Li & Liang 2021)", 1e-3, 1e-1,
        "above the paper's 5e-5, whose prefix goes through a larger network",
        packs=False, merges=False,
    ),
    "prompt": Method(
        "trained embeddings before each row (Lester et al. 2021)", 3e-2, 3e-1,
        "a tenth of the paper's 0.3, which was with Adafactor", packs=False, merges=False,
    ),
    "p_tuning": Method(
        "trained embeddings before each row, made by a small network (Liu et al. 2021)", 1e-3, 1e-2,
        "above the paper's 1e-4, for fewer rows", packs=False, merges=False, resumes=False,
    ),
    "full": Method(
        "every weight of the model", 3e-5, 1e-3, "a tenth of the usual rate of pre-training",
    ),
}  # fmt: skip
"""Bottleneck adapters (Houlsby et al. 2019) are missing: peft has none for these models."""

DORA_AND_4_BITS = "dora is trained on whole weights; for a base in 4 bits take qlora"


def peft_config(
    method: Name, *, rank: int, alpha: int, virtual_tokens: int, steps: int, hidden: int
) -> Any:
    """The adapter's configuration for peft; `None` where every weight is trained.

    `steps` are those of the optimizer, which AdaLoRA's schedule needs, `hidden` the width of the
    model, which P-tuning's network gets too.
    """
    import peft

    shared: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    low_rank: dict[str, Any] = shared | {
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
    }
    virtual: dict[str, Any] = shared | {"num_virtual_tokens": virtual_tokens}
    match method:
        case "full":
            return None
        case "lora" | "qlora" | "dora":
            return peft.LoraConfig(r=rank, use_dora=method == "dora", **low_rank)
        case "adalora":
            return _adalora(rank, steps, low_rank)
        case "ia3":
            return peft.IA3Config(**shared)
        case "prefix":
            return peft.PrefixTuningConfig(**virtual)
        case "prompt":
            return peft.PromptTuningConfig(**virtual)
        case "p_tuning":
            return peft.PromptEncoderConfig(encoder_hidden_size=hidden, **virtual)


def _adalora(rank: int, steps: int, low_rank: dict[str, Any]) -> Any:
    """Half as much rank again at the start, less and less of it until two thirds of the run."""
    import peft

    return peft.AdaLoraConfig(
        init_r=rank + rank // 2,
        target_r=rank,
        tinit=max(1, steps // 10),
        tfinal=max(1, steps // 3),
        deltaT=max(1, steps // 100),
        total_step=steps,
        **low_rank,
    )
