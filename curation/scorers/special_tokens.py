"""Special tokens: whether a text holds a marker of some chat template.

A tokeniser turns the letters `<|im_end|>` inside a text into the real token, which ends the turn
there. The markers of every common template count, not only those of today's base model.
"""

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, full_text
from curation.scorers._screen import score_where
from curation.unsafe_text import find_markers

__all__ = ["find_markers", "special_tokens"]

_OPENING = r'[<\u{FE64}\u{FF1C}]|[\[\u{FE47}\u{FF3B}][^\s0-9"{}\[\]]'
"""What a marker begins with, in all that folds into `<` or `[`. No marker goes on as JSON does
behind a `[`: every other answer may be JSON."""


@plugin()
def special_tokens() -> Scorer:
    """True where a row holds such a marker; write the rule as `not special_tokens`."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        texts = full_text(rows) + "\n" + rows["tools"]
        return score_where(
            texts.str.contains(_OPENING), texts, lambda t: bool(find_markers(t)), otherwise=False
        )

    return score
