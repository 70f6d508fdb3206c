"""Scorer `ifd`: how much of the answer the prompt explains (instruction-following difficulty).

Mean nats per answer token with the prompt over those without it (Li et al., 2024, "From Quantity
to Quality"). Near 0 the prompt tells the answer; near 1 it hardly helps, so there is something to
learn; above 1 it makes the answer less likely, as a wrong answer does.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from curation.chat import load_tokenizer
from curation.losses import answer_losses
from curation.models import load_causal_lm
from curation.plugins import plugin
from curation.scorers._base import ScoreContext


@plugin(uses=("base_model",))
def ifd(
    *, model: str = "", revision: str = "", batch_tokens: int = 8192
) -> Callable[..., pl.Series]:
    """The ratio (Float64, above 0) for the last answer; null where the model cannot read it.

    Without the prompt means after one empty user turn, through the same chat template. `model` is a
    hub id or a local folder to be used instead of the recipe's base model.
    """

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        source: Path | str | None = model or context.base_model
        if not source:
            raise ValueError("ifd needs a base model; set `base_model` or its option `model`")
        commit = revision if model else context.revision
        loaded = load_causal_lm(source, revision=commit)
        tokenizer = load_tokenizer(source, revision=commit)
        chats = rows["messages"].to_list()
        empty = {"role": "user", "content": "", "tool_calls": ""}
        options = {"batch_tokens": batch_tokens, "report": context.report}
        asked = answer_losses(
            loaded, tokenizer, chats, tools=rows["tools"].to_list(), what="ifd", **options
        )
        bare = answer_losses(
            loaded, tokenizer, [[empty, chat[-1]] for chat in chats], what="ifd, bare", **options
        )
        values = [
            (given[0] / given[1]) / (alone[0] / alone[1]) if given and alone and alone[0] else None
            for given, alone in zip(asked, bare, strict=True)
        ]
        return pl.Series("ifd", values, dtype=pl.Float64)

    return score
