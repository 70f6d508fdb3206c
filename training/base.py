"""The base model as it is loaded for training: where it runs, in which form, and why."""

import os
from pathlib import Path
from typing import Any

from training.methods import METHODS, Name
from training.profiles import Profile, is_here
from training.shard import Shard


def runnable(method: Name, profile: Profile) -> tuple[Name, str]:
    """The method that can run, and why: QLoRA becomes LoRA where no 4-bit layer runs here."""
    device = "cuda" if profile.gpu else "cpu"
    trouble = nf4_trouble(device) if METHODS[method].quantized and is_here(profile) else ""
    if trouble:
        return "lora", f"NF4 cannot run here: {trouble}"
    return method, "as the recipe asks"


def load_base(
    base_model: Path | str, *, revision: str, method: Name, profile: Profile, shard: Shard = "no"
) -> Any:
    """The base model on the device of the profile, in the form in which the method trains it.

    All weights are trained in single precision: in half of it small updates round to nothing. Of
    several processes each takes its own GPU; a model that is parted (`shard`) is put on its devices
    by whoever parts it.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if profile.gpu else "cpu"
    half = profile.gpu and method != "full"
    dtype = torch.bfloat16 if half else torch.float32
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # Bytes cannot be parted, numbers can: FSDP is told that the 4-bit weights are some.
        bnb_4bit_quant_storage=dtype if shard == "fsdp" else torch.uint8,
    )
    model = AutoModelForCausalLM.from_pretrained(
        str(base_model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=dtype,
        device_map={"": place} if shard == "no" else None,
        attn_implementation=profile.attention,
        quantization_config=quantization if METHODS[method].quantized else None,
    )
    keep_packing(model)
    return model


def keep_packing(model: Any) -> None:
    """Have 4-bit layers run on a CPU as they were loaded.

    Else the first look without gradients repacks them for good, in other bits, and fails on those
    that are narrower than a block of 64.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            setattr(layer, "support_avx512bf16_for_cpu", False)  # noqa: B010


def nf4_trouble(device: str) -> str:
    """Why a 4-bit layer cannot run on this machine; "" when it can."""
    try:
        import torch
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(
            torch.ones(64, 64, device=device), quant_type="nf4"
        )
        functional.dequantize_4bit(packed, state)
    except (ImportError, OSError, RuntimeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
