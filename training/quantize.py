"""A merged model in 4 bits (NF4), for transformers and vLLM: a quarter of the memory of 16 bits."""

from pathlib import Path

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from training.base import nf4_trouble
from training.probe import answer_logits, load_model, logit_distance, probe_rows


def write_nf4(model: Path, rows: pl.DataFrame, *, out: Path) -> float:
    """Write the merged model of a folder in 4 bits into the new folder `out`, with its tokenizer.

    Comes back with how far that moved the logits over answers of `rows` (ROW_SCHEMA), as a share of
    their spread, measured on what was written. Raises `ValueError` where no 4-bit layer can run.
    """
    quiet_libraries()
    if trouble := nf4_trouble("cpu"):
        raise ValueError(f"NF4 cannot be written here: {trouble}")
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    whole = load_model(model, dtype="bfloat16")
    tokenizer = load_tokenizer(model)
    probes = probe_rows(tokenizer, rows)
    wanted = answer_logits(whole, probes)
    del whole
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    small = AutoModelForCausalLM.from_pretrained(
        str(model),
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
        quantization_config=quantization,
    )
    small.save_pretrained(out)
    tokenizer.save_pretrained(out)
    del small
    return logit_distance(answer_logits(load_model(out, dtype="bfloat16"), probes), wanted)
