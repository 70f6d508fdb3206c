"""Scorer `model_perplexity`: how surprising the answer is to a base model that reads the prompt.

exp of the mean nats per answer token, through the model's own chat template; low for answers the
model would have given, high for garbage and for skills it does not have yet.
"""

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl

from curation.chat import load_tokenizer
from curation.losses import answer_losses
from curation.models import load_causal_lm
from curation.plugins import plugin
from curation.scorers._base import ScoreContext


@plugin(uses=("base_model",))
def model_perplexity(
    *, model: str = "", revision: str = "", batch_tokens: int = 8192
) -> Callable[..., pl.Series]:
    """Perplexity (Float64, at least 1) of the last answer; null where the model cannot read it.

    `model` is a hub id or a local folder to be used instead of the recipe's base model.
    """

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        source = model or context.base_model
        if not source:
            raise ValueError(
                "model_perplexity needs a base model; set `base_model` or its option `model`"
            )
        chosen: Path | str = source
        commit = revision if model else context.revision
        losses = answer_losses(
            load_causal_lm(chosen, revision=commit),
            load_tokenizer(chosen, revision=commit),
            rows["messages"].to_list(),
            tools=rows["tools"].to_list(),
            batch_tokens=batch_tokens,
            what="model_perplexity",
            report=context.report,
        )
        values = [
            None if loss is None else math.exp(min(loss[0] / loss[1], 700.0)) for loss in losses
        ]
        return pl.Series("model_perplexity", values, dtype=pl.Float64)

    return score
