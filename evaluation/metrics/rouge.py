"""ROUGE: words in gold and answer alike (Lin, 2004), by Google's `rouge-score`.

Its own tokenizer keeps only a-z and 0-9; ours gives it each Han character as a word, and in
English the very same words, so that English numbers are its own.
"""

from typing import Literal

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, mean
from evaluation.metrics._words import split_words


@plugin()
def rouge(*, variant: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"):
    """A metric in 0..1, the mean F1 over task cases, no stemming; None when there are none."""

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer([variant], tokenizer=_Words())
        pairs = answer_pairs(cases)
        return mean([scorer.score(gold, said)[variant].fmeasure for gold, said in pairs])

    return metric


class _Words:
    """Our words in the form that `rouge-score` asks for."""

    def tokenize(self, text: str) -> list[str]:
        return split_words(text)
