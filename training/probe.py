"""How far apart two models answer: the logits of both over the answers of the same rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curation.chat import encode_chats
from training.base import keep_packing

Dtype = Literal["float32", "bfloat16", "float16"]
Probe = tuple[list[int], list[bool]]
"""Token ids of a row, and which of them are the assistant's."""

PROBES = 8  # rows of each track that both models are asked


def probe_rows(tokenizer: Any, rows: pl.DataFrame) -> list[Probe]:
    """Rows of middling length, of each track. Raises `ValueError` where none has an answer."""
    length = pl.col("messages").list.eval(pl.element().struct["content"].str.len_chars()).list.sum()
    ranked = rows.unique("id").sort(length, "id")
    place, n = pl.int_range(pl.len()).over("track"), pl.len().over("track").cast(pl.Int64)
    some = ranked.filter((2 * place - n).abs() <= PROBES)
    encoded = encode_chats(tokenizer, some["messages"].to_list(), tools=some["tools"].to_list())
    probes = [(ids, mask) for ids, mask in encoded if any(mask[1:])]
    if not probes:
        raise ValueError("no row has an answer by which base and merged model could be compared")
    return probes


def load_model(model: Path | str, *, revision: str = "", dtype: Dtype = "float32") -> Any:
    """A model for inference on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(
        str(model),
        revision=revision or None,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=getattr(torch, dtype),
        device_map={"": "cpu"},  # of 4-bit weights it would be a GPU where there is one
        attn_implementation="sdpa",
    )
    keep_packing(loaded)
    return loaded.eval()


def answer_logits(model: Any, probes: Sequence[Probe]) -> Any:
    """Logits (tokens, vocabulary) that the answers' tokens were foretold by; each has mean 0."""
    import torch

    parts = []
    for ids, mask in probes:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
        foretell = [place - 1 for place, answered in enumerate(mask) if answered and place]
        parts.append(logits[foretell])
    every = torch.cat(parts)
    return every - every.mean(dim=-1, keepdim=True)  # what is added to all of them says nothing


def logit_distance(one: Any, other: Any) -> float:
    """Root mean square between two sets of logits, as a share of the spread of `other`."""
    return ((one - other).square().mean().sqrt() / other.std()).item()
