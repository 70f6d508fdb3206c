"""Repetition: how much of a row says again what it has already said, 0 to 1.

The share of character n-grams that occurred before follows the repetition filters of MassiveText
(Rae et al., 2021, table A1), by characters because Chinese has no spaces. A JSON answer is measured
on its values: its keys repeat by design. A question may quote and list
things, so of a question only the stuttering counts.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer

# A unit of one to four characters, beginning with a letter, four times or more: 哈哈哈哈, ha ha ha.
_LONGEST_UNIT, _TIMES = 4, 4
_RUN = re.compile(rf"([^\W\d_].{{0,{_LONGEST_UNIT - 1}}}?)\1{{{_TIMES - 1},}}", re.DOTALL)
_SHORTEST_RUN = 8
_MANY = 2_000_000
"""Characters from which on the compiled kernel is worth loading."""
_NO_WORDS = re.compile(r"[\W\d_]{6,}")  # rulers, tables and round numbers repeat and say nothing


@plugin()
def repetition(*, n: int = 6) -> Scorer:
    """The larger of an answer's share of repeated `n`-grams and of its longest stutter."""
    if n < 1:
        raise ValueError(f"repetition: n is {n!r}; at least 1")

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        asked = rows.select(text=UTTERANCE)["text"].fill_null("").to_list()
        said = [_words(text) for text in rows.select(text=ANSWER)["text"].fill_null("")]
        shares = zip(measure_shares(said, n), measure_runs(said), measure_runs(asked), strict=True)
        return pl.Series(map(max, shares), dtype=pl.Float64)

    return score


def measure_shares(texts: Sequence[str], n: int) -> list[float]:
    """`measure_share` of each text."""
    if sum(map(len, texts)) < _MANY:
        return [measure_share(text, n) for text in texts]
    import numpy as np

    from curation.repeat_kernel import count_different

    lengths = np.array([len(text) for text in texts])
    different = np.zeros(len(texts), np.int64)
    count_different(_points(texts), np.cumsum(lengths), n, different)
    return np.where(lengths >= n, 1 - different / np.maximum(lengths - n + 1, 1), 0.0).tolist()


def measure_share(words: str, n: int) -> float:
    """Share of a text's `n`-grams that stood in it before, 0..1."""
    total = len(words) - n + 1
    return 1 - len({words[i : i + n] for i in range(total)}) / total if total > 0 else 0.0


def measure_runs(texts: Sequence[str]) -> list[float]:
    """`measure_run` of each text; only those with a run of equal distances are looked through."""
    found = [0.0] * len(texts)
    for place in _may_stutter(texts):
        found[place] = measure_run(texts[place])
    return found


def measure_run(text: str) -> float:
    """Share of the text that its longest stuttering run takes, 0..1; short runs count as none."""
    longest = max((len(m[0]) for m in _RUN.finditer(text)), default=0)
    return longest / len(text) if longest >= _SHORTEST_RUN else 0.0


def _may_stutter(texts: Sequence[str]) -> list[int]:
    """Places of the texts that may hold a run: in it each character is that of a unit before.

    All texts are compared with themselves at once, some units of distance apart.
    """
    import numpy as np

    points = _points(texts)
    ends, found = np.cumsum([len(text) for text in texts]), set[int]()
    for unit in range(1, _LONGEST_UNIT + 1):
        least = max(_TIMES * unit, _SHORTEST_RUN) - unit
        same = np.flatnonzero(points[unit:] == points[:-unit])
        runs = same[: 1 - least][same[least - 1 :] - same[: 1 - least] == least - 1]
        found.update(np.searchsorted(ends, runs, side="right").tolist())
    return sorted(found)


def _points(texts: Sequence[str]) -> Any:
    """The code points of all texts, one after another (numpy, uint32)."""
    import numpy as np

    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)


def _words(text: str) -> str:
    return _NO_WORDS.sub(" ", _values(text))


def _values(text: str) -> str:
    """The values of a JSON text, apart by newlines; any other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return "\n".join(dict.fromkeys(_leaves(json.loads(text))))
    except (ValueError, RecursionError):
        return text


def _leaves(value: dict | list) -> Iterator[str]:
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _leaves(inner)
        else:
            yield str(inner)
