"""Harmful content by words: weapons, drugs, self-harm, violence, minors, hate, hacking, fraud.

Rules of words find what is asked for or said outright and miss what is hinted at; a guard model
(`guard_model`) reads more. A request that is declined is what a model should learn, and no harm.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, spoken_text
from curation.scorers._harmful_words import SHIPPED, load_words
from curation.scorers.refusal import declines


@plugin()
def harmful(*, words: Path | None = None) -> Scorer:
    """True where a row asks for or says something harmful; write the rule as `not harmful`.

    `words` is a YAML file to be used instead of our own, `curation/words/harmful.v1.yaml`. Raises
    `ValueError` for one of another form. What the system says does not count: it may forbid it.
    """
    known = load_words(words or SHIPPED)

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        found = pl.Series(map(bool, known.find(spoken_text(rows))), dtype=pl.Boolean)
        places = found.arg_true()
        taken_up = ["\n".join(undeclined(turns)) for turns in rows["messages"].gather(places)]
        still = known.find(pl.Series(taken_up, dtype=pl.String))
        return found.scatter(places, pl.Series(map(bool, still), dtype=pl.Boolean))

    return score


def undeclined(turns: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """What was said, but for each answer that declines (see `refusal`) and what it answers."""
    asked: list[str] = []
    for turn in turns:
        if turn["role"] == "assistant":
            yield from () if declines(turn["content"]) else (*asked, turn["content"])
            asked = []
        elif turn["role"] != "system":
            asked.append(turn["content"])
    yield from asked
