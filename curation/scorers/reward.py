"""Scorer `reward`: what a reward model thinks of each conversation.

The model is the one trained in the pipeline from the task's own right and wrong answers, or any
sequence classifier with one output.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from curation.chat import load_tokenizer
from curation.models import load_reward_model, rewards
from curation.plugins import plugin
from curation.scorers._base import ScoreContext


@plugin(uses=("reward_model",))
def reward(
    *, model: str = "", revision: str = "", batch_tokens: int = 8192
) -> Callable[..., pl.Series]:
    """A logit (Float64, higher is better); null where the model cannot read the row.

    `model` is a hub id or a local folder to be used instead of the pipeline's reward model.
    """

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        source = model or context.reward_model
        if not source:
            raise ValueError(
                "reward needs a reward model; train one in the pipeline or set its option `model`"
            )
        chosen: Path | str = source
        values = rewards(
            load_reward_model(chosen, revision=revision),
            load_tokenizer(chosen, revision=revision),
            rows["messages"].to_list(),
            tools=rows["tools"].to_list(),
            batch_tokens=batch_tokens,
            report=context.report,
        )
        return pl.Series("reward", values, dtype=pl.Float64)

    return score
