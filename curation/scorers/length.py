"""Length of a row in characters, the measure that every language has in common."""

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer


@plugin()
def length() -> Scorer:
    """Characters of all turns together (`n_chars`), as Float64."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        return rows["n_chars"].cast(pl.Float64)

    return score
