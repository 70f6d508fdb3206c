"""Perplexity of characters under an n-gram model of the trusted rows: how unusual a text is.

No weights and no download: the model is counted from `reference`, one a language. Each row is
judged by a model that did not see the row's fold, so a trusted row does not look better for being
trusted. It finds garbled text, wrong languages and foreign matter, not wrong answers.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, fold_of, spoken_text

_EDGE, _UNKNOWN = 0, 1  # character numbers; the known ones follow
_TOGETHER = 500_000
"""Characters that are looked up together: 4 MB for each array of their n-grams."""
_MANY = 200_000
"""Characters from which on the compiled kernel is worth loading."""
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
                found = perplexities(train_ngrams(texts, order=order), part["text"].to_list())
                for place, value in zip(part["place"], found, strict=True):
                    scores[place] = value
        return pl.Series(scores, dtype=pl.Float64)

    return score


Engine = Literal["kernel", "numpy"]


@dataclass(frozen=True)
class NgramModel:
    """Counts of each order, lowest first, and a number for each of the `known` characters."""

    numbers: np.ndarray  # uint16, by code point
    known: int
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
    numbers = np.full(sys.maxunicode + 1, _UNKNOWN, np.uint16)
    numbers[_points(characters)] = np.arange(2, len(characters) + 2)
    keys, counts = np.unique(_grams(texts, numbers, order), return_counts=True)
    tables = [_count_contexts(keys, counts)]
    for shorter in range(order - 1, 0, -1):
        mask = np.uint64((1 << (_BITS * shorter)) - 1)
        keys, counts = np.unique(keys & mask, return_counts=True)
        tables.append(_count_contexts(keys, counts))
    return NgramModel(numbers, len(characters), tuple(reversed(tables)))


def perplexities(
    model: NgramModel, texts: Sequence[str], *, engine: Engine | None = None
) -> list[float | None]:
    """Perplexity per character, the end of the text counted as one; null for an empty text.

    Both engines give the same bits; without an `engine` the number of characters decides.
    """
    many = sum(map(len, texts)) >= _MANY
    chances = {"kernel": _compiled_chances, "numpy": _chances}[
        engine or ("kernel" if many else "numpy")
    ]
    found: list[float | None] = []
    for some, part in chances(model, texts):
        lengths = np.array([len(text) + 1 for text in some])
        sums = np.add.reduceat(-np.log(part), np.cumsum(lengths) - lengths)
        values = np.exp(sums / lengths).tolist()
        found += [v if text else None for text, v in zip(some, values, strict=True)]
    return found


def log_losses(model: NgramModel, texts: Sequence[str]) -> np.ndarray:
    """-ln P of each character given those before it, and of the end of its text, one after another.

    A text takes its length and one more.
    """
    return -np.log(np.concatenate([part for _, part in _chances(model, texts)]))


def _chances(model: NgramModel, texts: Sequence[str]) -> Iterator[tuple[Sequence[str], np.ndarray]]:
    """Some texts, and P of their characters and ends; what many share is looked up once."""
    order = len(model.tables)
    for some in _batches(texts):
        grams, places = np.unique(_grams(some, model.numbers, order), return_inverse=True)
        chance = np.full(len(grams), 1 / (model.known + 2))
        for size, table in enumerate(model.tables, start=1):
            own = grams & np.uint64((1 << (_BITS * size)) - 1)
            total = _look_up(table.contexts, table.totals, own >> np.uint64(_BITS))
            kinds = _look_up(table.contexts, table.kinds, own >> np.uint64(_BITS))
            seen = np.maximum(_look_up(table.grams, table.counts, own) - table.discount, 0)
            mixed = (seen + table.discount * kinds * chance) / np.maximum(total, 1)
            chance = np.where(total > 0, mixed, chance)
        yield some, chance[places]


def _compiled_chances(
    model: NgramModel, texts: Sequence[str]
) -> Iterator[tuple[Sequence[str], np.ndarray]]:
    """The same from hash tables, each n-gram looked up once."""
    from curation import ngram_kernel as kernel

    grams = [np.zeros(0, np.uint64), *(table.grams for table in model.tables)]
    begun = [*(table.contexts for table in model.tables), np.zeros(0, np.uint64)]
    # Twice as many lines as n-grams and contexts of a size can be together, and never none.
    lines = [1 << (2 * max(map(len, both))).bit_length() for both in zip(grams, begun, strict=True)]
    firsts = np.cumsum([0, *lines])
    hashed = np.zeros((firsts[-1], 4), np.uint64)
    for size, table in enumerate(model.tables):
        for at, keys, column, values in (
            (size, table.contexts, kernel.TOTAL, table.totals),
            (size, table.contexts, kernel.KINDS, table.kinds),
            (size + 1, table.grams, kernel.COUNT, table.counts),
        ):
            kernel.put(hashed, firsts[at], lines[at], keys, column, values)
    discounts = np.array([table.discount for table in model.tables])
    for some in _batches(texts):
        ends = np.cumsum([len(text) for text in some])
        out = np.empty(ends[-1] + len(some))
        points, unseen = _points(some), 1 / (model.known + 2)
        kernel.chances(points, ends, model.numbers, _BITS, hashed, firsts, discounts, unseen, out)
        yield some, out


def _count_contexts(grams: np.ndarray, counts: np.ndarray) -> _Table:
    contexts, first = np.unique(grams >> np.uint64(_BITS), return_index=True)
    totals = np.add.reduceat(counts, first)
    kinds = np.diff(np.append(first, len(grams)))
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    # Bounded, so that a tiny or regular reference still leaves something for what it never saw.
    discount = min(max(once / max(1, once + 2 * twice), 0.1), 0.9)
    return _Table(grams, counts, contexts, totals, kinds, discount)


def _grams(texts: Sequence[str], numbers: np.ndarray, order: int) -> np.ndarray:
    """Each run of `order` characters as one number (uint64), the last character lowest.

    Before each text stand `order` - 1 edges and after it one; no run reaches into another text.
    """
    lengths = np.array([len(text) for text in texts])
    before = np.arange(len(texts))
    codes = np.full(lengths.sum() + order * len(texts), _EDGE, np.uint64)
    at = np.arange(lengths.sum()) + np.repeat(order * before + order - 1, lengths)
    codes[at] = numbers[_points(texts)]
    starts = np.arange(lengths.sum() + len(texts)) + np.repeat((order - 1) * before, lengths + 1)
    packed = np.zeros(len(starts), dtype=np.uint64)
    for i in range(order):
        packed = (packed << np.uint64(_BITS)) | codes[starts + i]
    return packed


def _points(texts: Sequence[str]) -> np.ndarray:
    """The code points of all texts, one after another."""
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in their order, about `_TOGETHER` characters at a time."""
    start, held = 0, 0
    for place, text in enumerate(texts):
        held += len(text)
        if held >= _TOGETHER:
            yield texts[start : place + 1]
            start, held = place + 1, 0
    if start < len(texts):
        yield texts[start:]


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
