"""BLEU: n-grams of the answers that stand in gold (Papineni et al., 2002), by sacreBLEU.

Chinese has no spaces between words, so an answer whose gold is Chinese, or both, is cut by
sacreBLEU's tokenizer `zh` and any other by its `13a`; all of them together are one corpus.
"""

import polars as pl

from curation.plugins import plugin
from curation.rows import guess_language
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs


@plugin()
def bleu():
    """A metric in 0..100 over task cases; None when there are none.

    It is of the corpus, and 0 where no answer shares four words in a row with its gold.
    """

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
        from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

        pairs = answer_pairs(cases)
        spaced, unspaced = Tokenizer13a(), TokenizerZh()
        cut = [unspaced if guess_language(g) in ("zh", "mixed") else spaced for g, _ in pairs]
        gold = [split(g) for split, (g, _) in zip(cut, pairs, strict=True)]
        said = [split(p) for split, (_, p) in zip(cut, pairs, strict=True)]
        if not pairs:
            return None
        return BLEU(tokenize="none", force=True).corpus_score(said, [gold]).score

    return metric
