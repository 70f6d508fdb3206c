"""Perplexity of characters under an n-gram model of the trusted rows: how unusual a text is.

No weights and no download: the model is counted from `reference`, one a language. Each row is
judged by a model that did not see the row's fold, so a trusted row does not look better for being
trusted. It finds garbled text, wrong languages and foreign matter, not wrong answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, fold_of, spoken_text

_EDGE, _UNKNOWN = 0, 1  # character numbers; the known ones follow
_BITS = 16  # a character number in a packed n-gram: 4 of them fit into 64 bits without a collision


@plugin(uses=("reference",))
def perplexity(
    *, order: int = 4, folds: int = 4, max_chars: int = 500_000, min_rows: int = 50
) -> Scorer:
    """Perplexity per character of what a row says, about 5 to 1,000; null without any reference.

    A language with fewer than `min_rows` reference rows is judged by a model of all languages; of a
    large reference the rows first by id, `max_chars` characters, are counted.
    """
    if not 1 <= order <= 4 or folds < 2:
        raise ValueError(f"order {order!r} is not 1 to 4, or folds {folds!r} is under 2")

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        known = _with_texts(context.reference, folds).sort("id")
        asked = _with_texts(rows, folds).with_row_index("place")
        common = known["lang"].value_counts().filter(pl.col("count") >= min_rows)["lang"]
        scores: list[float | None] = [None] * rows.height
        for (fold, lang), part in sorted(asked.group_by("fold", "lang"), key=lambda g: str(g[0])):
            learned = known.filter(pl.col("fold") != fold)
            if lang in common:
                learned = learned.filter(pl.col("lang") == lang)
            texts = _first_chars(learned["text"], max_chars)
            if texts:
                model = train_ngrams(texts, order=order)
                for place, text in part.select("place", "text").iter_rows():
                    scores[place] = perplexities(model, [text])[0]
        return pl.Series(scores, dtype=pl.Float64)

    return score


@dataclass(frozen=True)
class NgramModel:
    """Counts of each order, lowest first, and the number of each known character."""

    numbers: dict[str, int]
    tables: tuple["_Table", ...]


@dataclass(frozen=True)
class _Table:
    """Packed n-grams with their counts, and their contexts with sums and numbers of kinds."""

    grams: np.ndarray  # uint64, sorted
    counts: np.ndarray
    contexts: np.ndarray  # uint64, sorted
    totals: np.ndarray
    kinds: np.ndarray
    discount: float


def train_ngrams(texts: Sequence[str], *, order: int) -> NgramModel:
    """Counts for an interpolated Kneser-Ney model.

    Formulas: Chen and Goodman (1999), section 3.1: the highest order counts n-grams, each lower one
    in how many contexts an n-gram was seen; the discount is n1 / (n1 + 2 n2).
    """
    characters = sorted(set("".join(texts)))[: 2**_BITS - 2]
    numbers = {c: i + 2 for i, c in enumerate(characters)}
    grams = np.concatenate([_pack(_encode(t, numbers, order), order) for t in texts])
    keys, counts = np.unique(grams, return_counts=True)
    tables = [_count_contexts(keys, counts)]
    for shorter in range(order - 1, 0, -1):
        mask = np.uint64((1 << (_BITS * shorter)) - 1)
        keys, counts = np.unique(keys & mask, return_counts=True)
        tables.append(_count_contexts(keys, counts))
    return NgramModel(numbers, tuple(reversed(tables)))


def perplexities(model: NgramModel, texts: Sequence[str]) -> list[float | None]:
    """Perplexity per character, the end of the text counted as one; null for an empty text."""
    return [float(np.exp(log_losses(model, t).mean())) if t else None for t in texts]


def log_losses(model: NgramModel, text: str) -> np.ndarray:
    """-ln P of each character given those before it, and of the end of the text: len(text) + 1."""
    order = len(model.tables)
    grams = _pack(_encode(text, model.numbers, order), order)
    chance = np.full(len(grams), 1 / (len(model.numbers) + 2))
    for size, table in enumerate(model.tables, start=1):
        own = grams & np.uint64((1 << (_BITS * size)) - 1)
        total = _look_up(table.contexts, table.totals, own >> np.uint64(_BITS))
        kinds = _look_up(table.contexts, table.kinds, own >> np.uint64(_BITS))
        seen = np.maximum(_look_up(table.grams, table.counts, own) - table.discount, 0)
        mixed = (seen + table.discount * kinds * chance) / np.maximum(total, 1)
        chance = np.where(total > 0, mixed, chance)
    return -np.log(chance)


def _count_contexts(grams: np.ndarray, counts: np.ndarray) -> _Table:
    contexts, first = np.unique(grams >> np.uint64(_BITS), return_index=True)
    totals = np.add.reduceat(counts, first)
    kinds = np.diff(np.append(first, len(grams)))
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    # Bounded, so that a tiny or regular reference still leaves something for what it never saw.
    discount = min(max(once / max(1, once + 2 * twice), 0.1), 0.9)
    return _Table(grams, counts, contexts, totals, kinds, discount)


def _encode(text: str, numbers: dict[str, int], order: int) -> np.ndarray:
    edge = [_EDGE] * (order - 1)
    return np.array([*edge, *(numbers.get(c, _UNKNOWN) for c in text), _EDGE], dtype=np.uint64)


def _pack(codes: np.ndarray, order: int) -> np.ndarray:
    """Each run of `order` characters as one number, the last character lowest."""
    length = len(codes) - order + 1
    packed = np.zeros(length, dtype=np.uint64)
    for i in range(order):
        packed = (packed << np.uint64(_BITS)) | codes[i : i + length]
    return packed


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 where there is none."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


def _with_texts(rows: pl.DataFrame, folds: int) -> pl.DataFrame:
    folded = pl.Series([fold_of(i, folds) for i in rows["id"]], dtype=pl.Int64)
    return rows.select("id", "lang", text=spoken_text(rows), fold=folded)


def _first_chars(texts: pl.Series, max_chars: int) -> list[str]:
    """The first texts that together hold no more than so many characters, one at the least."""
    before = texts.str.len_chars().cum_sum().shift(1, fill_value=0)
    return texts.filter((before < max_chars) & (texts != "")).to_list()
