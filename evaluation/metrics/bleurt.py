"""BLEURT: a model that was trained on people's judgements reads gold and answer together.

Sellam et al. (2020). Google's own checkpoints are of TensorFlow; this reads one that was brought
into the form of transformers, a sequence classifier with one output that takes gold, then the
answer, in safetensors. The first checkpoints know English only, BLEURT-20 Chinese too.
"""

from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, mean

_ROWS = 16


@plugin()
def bleurt(*, model: Path):
    """A metric, the mean number of the model over task cases; None when there are none.

    Raises `ValueError` for a folder that holds no such model.
    """
    load = cache(lambda: _load(model))  # once, when it is needed

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = answer_pairs(cases)
        batches = [pairs[at : at + _ROWS] for at in range(0, len(pairs), _ROWS)]
        return mean([number for batch in batches for number in _numbers(*load(), batch)])

    return metric


def _numbers(scorer: Any, tokenizer: Any, pairs: list[tuple[str, str]]) -> list[float]:
    import torch

    gold, said = map(list, zip(*pairs, strict=True))
    inputs = tokenizer(gold, said, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        told = scorer(**{k: v.to(scorer.device) for k, v in inputs.items()}).logits
    return told[:, 0].double().tolist()


def _load(model: Path) -> tuple[Any, Any]:
    from curation.chat import load_text_tokenizer
    from curation.models import load_reward_model

    if not (model / "model.safetensors").is_file():
        raise ValueError(f"bleurt: {model.name!r} has no model.safetensors")
    return load_reward_model(model), load_text_tokenizer(model)
