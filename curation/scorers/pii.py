"""Personal data: whether a row holds a phone number, identity number, e-mail or bank card."""

import polars as pl

from curation.personal import DIGITS, find_personal
from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, full_text
from curation.scorers._screen import count_folded, score_some


@plugin()
def pii() -> Scorer:
    """True where a row holds personal data; write the rule as `not pii`."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        weights = count_folded("0123456789") + DIGITS * count_folded("@\\")
        texts = full_text(rows)
        return score_some(texts, weights, DIGITS, lambda t: bool(find_personal(t)), otherwise=False)

    return score
