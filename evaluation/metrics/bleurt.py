"""BLEURT: a model that was trained on people's judgements reads gold and answer together.

Sellam et al. (2020). Google's own checkpoints are of TensorFlow; this reads one that was brought
into the form of transformers, a sequence classifier with one output that takes gold, then the
answer, in safetensors. The first checkpoints know English only, BLEURT-20 Chinese too.
"""

from pathlib import Path

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
    loaded: list = []  # the model with its tokenizer, once it was needed

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        import torch

        pairs = answer_pairs(cases)
        if pairs and not loaded:
            loaded.extend(_load(model))
        numbers: list[float] = []
        for at in range(0, len(pairs), _ROWS):
            gold, said = map(list, zip(*pairs[at : at + _ROWS], strict=True))
            inputs = loaded[1](gold, said, truncation=True, padding=True, return_tensors="pt")
            with torch.inference_mode():
                told = loaded[0](**{k: v.to(loaded[0].device) for k, v in inputs.items()}).logits
            numbers += told[:, 0].double().tolist()
        return mean(numbers)

    return metric


def _load(model: Path):
    from curation.chat import load_text_tokenizer
    from curation.models import load_reward_model

    if not (model / "model.safetensors").is_file():
        raise ValueError(f"bleurt: {model.name!r} has no model.safetensors")
    return load_reward_model(model), load_text_tokenizer(model)
