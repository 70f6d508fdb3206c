"""Perplexity of characters under an n-gram model of the trusted rows: how unusual a text is.

No weights and no download: the model is counted from `reference`, one a language. Each row is
judged by a model that did not see the row's fold, so a trusted row does not look better for being
trusted. It finds garbled text, wrong languages and foreign matter, not wrong answers.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, fold_of, learn_once, spoken_text

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

    models = learn_once(lambda reference: _learn(reference, order, folds, max_chars, min_rows))

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        learned = models(context.reference)
        asked = _with_texts(rows, folds).with_row_index("place")
        scores: list[float | None] = [None] * rows.height
        for (fold, lang), part in sorted(asked.group_by("fold", "lang"), key=lambda g: str(g[0])):
            if model := learned(fold, lang):
                found = perplexities(model, part["text"].to_list())
                for place, value in zip(part["place"], found, strict=True):
                    scores[place] = value
        return pl.Series(scores, dtype=pl.Float64)

    return score


def _learn(
    reference: pl.DataFrame, order: int, folds: int, max_chars: int, min_rows: int
) -> Callable[[object, object], "NgramModel | None"]:
    """The model for the rows of a fold and a language, counted when it is first asked for."""
    known = _with_texts(reference, folds).sort("id")
    common = set(known["lang"].value_counts().filter(pl.col("count") >= min_rows)["lang"])

    @cache
    def model(fold: object, lang: object) -> "NgramModel | None":
        learned = known.filter(pl.col("fold") != fold)
        if lang in common:
            learned = learned.filter(pl.col("lang") == lang)
        texts = _first_chars(learned["text"], max_chars)
        return train_ngrams(texts, order=order) if texts else None

    return lambda fold, lang: model(fold, lang if lang in common else "")


Engine = Literal["kernel", "numpy"]


@dataclass(frozen=True)
class NgramModel:
    """The n-grams of each size, from that of no character on, one size after another.

    Those of a size are the lines from `lines[size]` on, sorted; the first of them is that of edges
    only, whether it was seen or not. After a context, what never followed it has its share / total
    of the P it has after a context one shorter.
    """

    numbers: np.ndarray  # of the known characters: uint16, by code point
    lines: np.ndarray
    keys: np.ndarray  # uint64: n-grams, packed
    chances: np.ndarray  # P of the last character after the others, 0 for what was never seen
    shares: np.ndarray  # 0 for what is no context
    totals: np.ndarray

    @property
    def order(self) -> int:
        return len(self.lines) - 2

    @cached_property
    def ngrams(self) -> Any:
        """The same with hash tables, as the kernel reads it."""
        from curation import ngram_kernel as kernel

        parts = np.cumsum([0, *(1 << (2 * int(n)).bit_length() for n in np.diff(self.lines))])
        slots = np.zeros(parts[-1], np.int32)
        held = self.lines, self.keys, self.chances, self.shares, self.totals
        ngrams = kernel.Ngrams(*held, parts, slots)
        kernel.enter(ngrams)
        return ngrams


def train_ngrams(texts: Sequence[str], *, order: int) -> NgramModel:
    """An interpolated Kneser-Ney model.

    Formulas: Chen and Goodman (1999), section 3.1: the highest order counts n-grams, each lower one
    in how many contexts an n-gram was seen; the discount is n1 / (n1 + 2 n2).
    """
    characters = sorted(set("".join(texts)))[: 2**_BITS - 2]
    numbers = np.full(sys.maxunicode + 1, _UNKNOWN, np.uint16)
    numbers[_points(characters)] = np.arange(2, len(characters) + 2)
    counted = [np.unique(_grams(texts, numbers, order), return_counts=True)]
    for size in range(order - 1, 0, -1):
        counted.append(np.unique(_last(counted[-1][0], size), return_counts=True))
    edges = np.zeros(1, np.uint64)
    sizes = [(edges, np.ones(1, np.int64)), *(_with_edges(*pair) for pair in reversed(counted))]
    lines = np.cumsum([0, *(len(grams) for grams, _ in sizes)])
    model = NgramModel(
        numbers,
        lines,
        np.concatenate([grams for grams, _ in sizes]),
        np.full(lines[-1], 1 / (len(characters) + 2)),
        np.zeros(lines[-2]),
        np.zeros(lines[-2]),
    )
    for size, (_, counts) in enumerate(sizes[1:], start=1):
        _learn_size(model, size, counts)
    return model


def _with_edges(grams: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """N-grams and their counts with that of edges only, 0 times if it was not seen."""
    unseen = int(grams[0] != _EDGE)
    return np.pad(grams, (unseen, 0)), np.pad(counts, (unseen, 0))


def _learn_size(model: NgramModel, size: int, counts: np.ndarray) -> None:
    """Fill in the n-grams of a size, and their contexts, where all shorter ones are."""
    own, shorter = (slice(*model.lines[n : n + 2]) for n in (size, size - 1))
    contexts = model.keys[own] >> np.uint64(_BITS)
    first = np.flatnonzero(np.diff(contexts, prepend=contexts[:1] + np.uint64(1)))
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    # Bounded, so that a tiny or regular reference still leaves something for what it never saw.
    discount = min(max(once / max(1, once + 2 * twice), 0.1), 0.9)
    share = discount * np.add.reduceat((counts > 0).astype(np.int64), first)
    total = np.add.reduceat(counts, first)
    at = np.searchsorted(model.keys[shorter], contexts[first]) + shorter.start
    model.shares[at], model.totals[at] = share, total
    kinds = np.diff(np.append(first, len(counts)))
    ends = np.searchsorted(model.keys[shorter], _last(model.keys[own], size - 1))
    unseen = np.repeat(share, kinds) * model.chances[shorter][ends]
    mixed = (np.maximum(counts - discount, 0) + unseen) / np.repeat(total, kinds)
    model.chances[own] = np.where(counts > 0, mixed, 0)


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
    for some in _batches(texts):
        grams, places = np.unique(_grams(some, model.numbers, model.order), return_inverse=True)
        chance = np.full(len(grams), model.chances[0])
        for size in range(1, model.order + 1):
            own = _last(grams, size)
            seen = _look_up(model, model.chances, size, own)
            share, total = (
                _look_up(model, values, size - 1, own >> np.uint64(_BITS))
                for values in (model.shares, model.totals)
            )
            unseen = np.where(total > 0, share * chance / np.maximum(total, 1), chance)
            chance = np.where(seen > 0, seen, unseen)
        yield some, chance[places]


def _compiled_chances(
    model: NgramModel, texts: Sequence[str]
) -> Iterator[tuple[Sequence[str], np.ndarray]]:
    """The same from hash tables, each n-gram looked up once."""
    from curation import ngram_kernel as kernel

    for some in _batches(texts):
        ends = np.cumsum([len(text) for text in some])
        out, points = np.empty(ends[-1] + len(some)), _points(some)
        kernel.chances(model.ngrams, points, ends, model.numbers, _BITS, out)
        yield some, out


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


def _last(grams: np.ndarray, size: int) -> np.ndarray:
    """The last characters of n-grams, so many of them."""
    return grams & np.uint64((1 << (_BITS * size)) - 1)


def _look_up(model: NgramModel, values: np.ndarray, size: int, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted n-gram of a size, 0 where there is none."""
    keys, values = (array[slice(*model.lines[size : size + 2])] for array in (model.keys, values))
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


def _with_texts(rows: pl.DataFrame, folds: int) -> pl.DataFrame:
    folded = pl.Series([fold_of(i, folds) for i in rows["id"]], dtype=pl.Int64)
    return rows.select("id", "lang", text=spoken_text(rows), fold=folded)


def _first_chars(texts: pl.Series, max_chars: int) -> list[str]:
    """The first texts that together hold no more than so many characters, one at the least."""
    before = texts.str.len_chars().cum_sum().shift(1, fill_value=0)
    return texts.filter((before < max_chars) & (texts != "")).to_list()
