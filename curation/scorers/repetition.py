"""Repetition: how much of a row says again what it has already said, 0 to 1.

The share of character n-grams that occurred before follows the repetition filters of MassiveText
(Rae et al., 2021, table A1), by characters because Chinese has no spaces. A JSON answer is measured
on its values: its keys repeat by design. A question may quote and list
things, so of a question only the stuttering counts.
"""

import json
import re
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer, score_each

# A unit of one to four characters, beginning with a letter, four times or more: 哈哈哈哈, ha ha ha.
_RUN = re.compile(r"([^\W\d_].{0,3}?)\1{3,}", re.DOTALL)
_SHORTEST_RUN = 8
_NO_WORDS = re.compile(r"[\W\d_]{6,}")  # rulers, tables and round numbers repeat and say nothing


@plugin()
def repetition(*, n: int = 6) -> Scorer:
    """The larger of an answer's share of repeated `n`-grams and of its longest stutter."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        pairs = rows.select(UTTERANCE.alias("asked"), ANSWER.alias("said")).rows()
        return score_each(pairs, lambda p: max(measure_run(p[0]), measure_repetition(p[1], n)))

    return score


def measure_repetition(text: str, n: int) -> float:
    """Share of the text that is repetition, 0..1; 0 for an empty one."""
    text = _NO_WORDS.sub(" ", _values(text))
    total = len(text) - n + 1
    repeated = 1 - len({text[i : i + n] for i in range(total)}) / total if total > 0 else 0.0
    return max(repeated, measure_run(text))


def measure_run(text: str) -> float:
    """Share of the text that its longest stuttering run takes, 0..1; short runs count as none."""
    longest = max((len(m[0]) for m in _RUN.finditer(text)), default=0)
    return longest / len(text) if longest >= _SHORTEST_RUN else 0.0


def _values(text: str) -> str:
    """The values of a JSON text, apart by newlines; any other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return "\n".join(dict.fromkeys(_leaves(json.loads(text))))
    except (ValueError, RecursionError):
        return text


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for v in inner for leaf in _leaves(v)]
    return [str(value)]
