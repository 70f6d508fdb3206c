"""Few-shot prompts: what the base model can do when it is shown examples and not trained.

Fine-tuning that loses to this was not worth it, so it is one of the four arms that are always
compared.
"""

from collections import Counter
from collections.abc import Sequence

import polars as pl

from curation.rows import ANSWER, UTTERANCE


def few_shot_prompts(
    seeds: pl.DataFrame, utterances: Sequence[str], *, k: int = 3, system: str = ""
) -> list[list[dict[str, str]]]:
    """For each utterance the messages that ask it after `k` solved seed rows, most similar last.

    `seeds` is ROW_SCHEMA. Similar means shared character bigrams (Dice, 1945), ties by id; a seed
    with the very text of the utterance is never shown. Raises `ValueError` when there is no seed.
    """
    if not seeds.height:
        raise ValueError("few-shot prompts need at least one seed row")
    shown = seeds.sort("id").select(UTTERANCE.alias("prompt"), ANSWER.alias("answer")).rows()
    grams = [_bigrams(prompt) for prompt, _ in shown]
    return [_messages(u, _nearest(u, shown, grams, k), system) for u in utterances]


def _nearest(
    utterance: str, shown: Sequence[tuple[str, str]], grams: Sequence[Counter[str]], k: int
) -> list[tuple[str, str]]:
    own = _bigrams(utterance)
    scored = [(-_dice(own, g), i) for i, g in enumerate(grams) if shown[i][0] != utterance]
    return [shown[i] for _, i in reversed(sorted(scored)[:k])]


def _messages(
    utterance: str, turns: Sequence[tuple[str, str]], system: str
) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}] if system else []
    for prompt, answer in turns:
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": utterance}]


def _bigrams(text: str) -> Counter[str]:
    return Counter(text[i : i + 2] for i in range(max(len(text) - 1, 1)))


def _dice(left: Counter[str], right: Counter[str]) -> float:
    return 2 * (left & right).total() / max(left.total() + right.total(), 1)
