"""The size of a base model and of what each method would train of it, without its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.methods import Name


@dataclass(frozen=True)
class Shape:
    """What advice and estimates need to know of a model; `context` in tokens.

    `linear` is the sum of inputs and outputs of the linear layers that LoRA adapts, each of which
    costs as many weights as that times the rank, and `factors` the outputs that IA3 stretches.
    """

    n_params: int
    hidden: int
    layers: int
    vocab: int
    context: int
    linear: int = 0
    factors: int = 0


def read_shape(base_model: Path | str, *, revision: str = "") -> Shape:
    """The shape of a local model or one of the hub, from its configuration alone."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config: Any = AutoConfig.from_pretrained(
        str(base_model), revision=revision or None, trust_remote_code=False
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
    stretched = ("k_proj", "v_proj", "down_proj")
    text: Any = config.get_text_config()
    return Shape(
        n_params=model.num_parameters(),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        vocab=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None) or 2**20,
        linear=sum(layer.in_features + layer.out_features for _, layer in linear),
        factors=sum(
            layer.in_features if name.endswith("down_proj") else layer.out_features
            for name, layer in linear
            if name.endswith(stretched)
        ),
    )


def count_trained(shape: Shape, method: Name, *, rank: int, virtual_tokens: int) -> int:
    """About how many weights a method trains; exact for LoRA, QLoRA and full fine-tuning."""
    match method:
        case "full":
            return shape.n_params
        case "lora" | "qlora" | "dora":
            return rank * shape.linear
        case "adalora":
            return (rank + rank // 2) * shape.linear
        case "ia3":
            return shape.factors
        case "prefix":
            return virtual_tokens * 2 * shape.layers * shape.hidden
        case "prompt":
            return virtual_tokens * shape.hidden
        case "p_tuning":
            return virtual_tokens * shape.hidden + 3 * shape.hidden**2
