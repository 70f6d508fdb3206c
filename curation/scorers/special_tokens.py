"""Special tokens: whether a text holds a marker of some chat template.

A tokeniser turns the letters `<|im_end|>` inside a text into the real token, which ends the turn
there. The markers of every common template count, not only those of today's base model.
"""

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, full_text
from curation.scorers._screen import count_folded, score_some
from curation.unsafe_text import find_markers

__all__ = ["find_markers", "special_tokens"]


@plugin()
def special_tokens() -> Scorer:
    """True where a row holds such a marker; write the rule as `not special_tokens`."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        texts = full_text(rows) + "\n" + rows["tools"]
        opening = count_folded("<[")
        return score_some(texts, opening, 1, lambda t: bool(find_markers(t)), otherwise=False)

    return score
