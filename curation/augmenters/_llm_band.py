"""The perplexity band: refused is what reads like no trusted row, or like all of them.

What a row reads like is the scorer `perplexity`, and where its number lies is its quantile among
the frozen reference, so that a recipe's band and its rule on `perplexity_q` mean the same.
"""

from collections.abc import Callable, Sequence
from functools import cache

import polars as pl

from curation.augmenters._base import AugmentWork
from curation.quantiles import MOST, rank_scores
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.perplexity import perplexity

Band = Callable[[str, str], str]
"""Why a prompt with an answer is refused by what it reads like, "" where it is not."""
_ENDS = 2


def check_band(band: Sequence[float]) -> None:
    """Raise `ValueError` for what is no band: `[low, high]`, or `[]` for none."""
    if band and (len(band) != _ENDS or not 0 <= band[0] < band[1] <= 1):
        raise ValueError(f"augment.perplexity is {list(band)!r}; two quantiles, such as [0, 0.98]")


def perplexity_band(work: AugmentWork, band: Sequence[float]) -> Band | None:
    """The check of a band: `perplexity:above_0.98`, `perplexity:below_0.02` or ""; None for none.

    Raises `ValueError` where there is a band and no reference to hold rows against.
    """
    if not band:
        return None
    if work.reference.is_empty():
        raise ValueError("augment.perplexity: there are no trusted rows to compare with")
    score, context = perplexity(), ScoreContext(work.task, work.reference)

    @cache
    def frozen() -> pl.DataFrame:
        seen = work.reference.sort("id").head(MOST)
        return seen.select("lang", value=score(seen, context))

    def find(prompt: str, answer: str) -> str:
        system = work.task.part(prompt, answer)[1].system
        row = rows_frame([make_row(dialogue(prompt, answer, system=system))])
        value = rank_scores(row.select("lang", value=score(row, context)), frozen()).item()
        if value is None or band[0] <= value <= band[1]:
            return ""
        above = value > band[1]
        return f"perplexity:{'above' if above else 'below'}_{band[above]:g}"

    return find
