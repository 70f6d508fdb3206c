"""BERTScore: tokens of answer and gold matched by what an encoder makes of them.

F1 of the greedy cosine matching of Zhang et al. (2020), equation 1, without idf weights and without
rescaling; the marks that an encoder puts around a text are not matched. A number depends on the
encoder and its layer, so compare only those of one recipe.
"""

from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, mean


@plugin()
def bertscore(*, model: Path, layer: int = -1):
    """A metric up to 1, the mean over task cases; None when there are none.

    `model` is a folder of an encoder with safetensors, such as one of `bert-base-chinese`; `layer`
    counts from 1, or from the last backwards. Of a text longer than it can read the start counts.
    """
    load = cache(lambda: _load(model))  # once, when it is needed

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = answer_pairs(cases)
        texts = sorted({text for pair in pairs for text in pair})
        states = {text: _states(*load(), text, layer) for text in texts}
        return mean([_f1(states[gold], states[said]) for gold, said in pairs])

    return metric


def _load(model: Path) -> tuple[Any, Any]:
    from curation.chat import load_text_tokenizer
    from curation.vectors import load_encoder

    return load_encoder(model), load_text_tokenizer(model)


def _states(encoder: Any, tokenizer: Any, text: str, layer: int) -> Any:
    """Unit vectors (tokens, hidden size) of the text's own tokens."""
    import torch

    limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings - 2)
    inputs = tokenizer(
        text,
        truncation=True,
        max_length=limit,
        return_tensors="pt",
        return_special_tokens_mask=True,
    )
    marks = inputs.pop("special_tokens_mask")[0].bool()
    with torch.inference_mode():
        told = encoder(**{k: v.to(encoder.device) for k, v in inputs.items()},
                       output_hidden_states=True)  # fmt: skip
    states = told.hidden_states[layer][0][~marks.to(encoder.device)]
    return torch.nn.functional.normalize(states.double(), dim=-1)


def _f1(gold: Any, said: Any) -> float:
    """0 where either side has no tokens."""
    if not len(gold) or not len(said):
        return 0.0
    alike = said @ gold.T
    precision, recall = (alike.max(dim=side).values.mean().item() for side in (1, 0))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
