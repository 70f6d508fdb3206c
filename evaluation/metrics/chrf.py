"""chrF: character n-grams shared with gold (Popović, 2015), by sacreBLEU.

It needs no words, so it is the same in every language; spaces do not count.
"""

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs


@plugin()
def chrf(*, word_order: int = 0):
    """A metric in 0..100 over task cases; None when there are none.

    `word_order` 2 makes it chrF++, which counts words too and is for languages with spaces.
    """

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        from sacrebleu.metrics.chrf import CHRF

        pairs = answer_pairs(cases)
        if not pairs:
            return None
        gold, said = zip(*pairs, strict=True)
        return CHRF(word_order=word_order).corpus_score(said, [gold]).score

    return metric
