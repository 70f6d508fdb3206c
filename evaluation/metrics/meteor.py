"""METEOR: words of the answer found in gold, the more in one run the better.

As Banerjee & Lavie (2005) and Lavie & Agarwal (2007) have it, with two of its three matchers: equal
words, then equal stems (Porter, English only). Synonyms need WordNet, which is a download and knows
no Chinese, and are not used: numbers are lower than those of METEOR with it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache

import polars as pl

from curation.plugins import plugin
from curation.tasks._base import Task
from evaluation.metrics._cases import answer_pairs, mean
from evaluation.metrics._words import split_words

_AHEAD = 8
"""Words looked at to tell which of several places of a word goes on as the answer does."""


@plugin()
def meteor(*, alpha: float = 0.9, beta: float = 3.0, gamma: float = 0.5):
    """A metric in 0..1, the mean over task cases; None when there are none.

    `alpha` weighs recall against precision, `gamma` and `beta` are the penalty for matches that
    stand in many pieces, and its power. The defaults are those of 2005.
    """

    def metric(cases: pl.DataFrame, task: Task) -> float | None:
        pairs = [(split_words(gold), split_words(said)) for gold, said in answer_pairs(cases)]
        return mean([_score(gold, said, alpha, beta, gamma) for gold, said in pairs])

    return metric


def _score(
    gold: Sequence[str], said: Sequence[str], alpha: float, beta: float, gamma: float
) -> float:
    places = align_words(said, gold)
    matched = [(at, place) for at, place in enumerate(places) if place is not None]
    if not matched:
        return 0.0
    precision, recall = len(matched) / len(said), len(matched) / len(gold)
    f_mean = precision * recall / (alpha * precision + (1 - alpha) * recall)
    runs = 1 + sum(
        (at - 1, place - 1) != before
        for before, (at, place) in zip(matched, matched[1:])  # noqa: B905  # the last has no next
    )
    return f_mean * (1 - gamma * (runs / len(matched)) ** beta)


def align_words(said: Sequence[str], gold: Sequence[str]) -> list[int | None]:
    """For each word of the answer its place in gold, None without one; each place is taken once.

    As many words are matched as can be. Of several places the one goes first that goes on where the
    word before stands, then the one after which most words agree, then the first.
    """
    places: list[int | None] = [None] * len(said)
    _match(said, gold, places)
    _match([_stem(word) for word in said], [_stem(word) for word in gold], places)
    return places


def _match(said: Sequence[str], gold: Sequence[str], places: list[int | None]) -> None:
    taken = {place for place in places if place is not None}
    free: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(gold):
        if place not in taken:
            free[word].append(place)
    for at, word in enumerate(said):
        if places[at] is None and (open_places := free.get(word)):
            before = places[at - 1] if at else None
            best = max(open_places, key=_preference(said, gold, at, before))
            open_places.remove(best)
            places[at] = best


def _preference(
    said: Sequence[str], gold: Sequence[str], at: int, before: int | None
) -> Callable[[int], tuple[bool, int, int]]:
    def prefer(place: int) -> tuple[bool, int, int]:
        ahead = zip(said[at : at + _AHEAD], gold[place : place + _AHEAD], strict=False)
        agree = next((n for n, (one, other) in enumerate(ahead) if one != other), _AHEAD)
        return before is not None and place == before + 1, agree, -place

    return prefer


@lru_cache(1 << 14)
def _stem(word: str) -> str:
    return _stemmer().stem(word) if word.isascii() else word


@lru_cache(1)
def _stemmer():
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
