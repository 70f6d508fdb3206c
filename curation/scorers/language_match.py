"""Language: whether an answer is in the language that it was asked in.

A model that is shown a few answers in the wrong language falls into it at the worst moment. Code,
translations and answers of a few letters have no language of their own.
"""

from functools import cache
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer
from curation.scorers._screen import weigh_texts

_CODE = (
    r"(?s)```.*?(?:```|\z)|`[^`\n]*`|https?://\S+|<[^<>\n]{1,200}>"
    r"|\A\s*(?:\{.*\}|\[.*\])\s*\z"  # all JSON
)
_NAMES_A_LANGUAGE = (
    r"(?i)翻译|译成|译为|[英中汉法德俄日韩]文|[英汉法德俄日韩]语|外语|普通话|"
    r"\btranslat|\b(?:english|chinese|mandarin|french|german|spanish|japanese|korean|russian)\b"
)
_HAN, _LATIN, _LETTER = "[\u3400-\u9fff\uf900-\ufaff]", "[A-Za-z]", r"\p{L}"
_LAST_LETTER = 0x40000
"""No code point from here on is one."""
_BITS = 20
"""Of a number that holds a count of each of them: enough for `_HEAD` characters."""
_HEAD = 400
"""Characters that tell the language."""
_LEAST = 12
"""Letters below which a text is too short to be in a language; a Han character counts as four."""


@plugin()
def language_match() -> Scorer:
    """False where prompt and answer are in different languages; write the rule as `language_match`.

    Compared are the last user turn and the last answer, Chinese with English. A row of the domain
    answers in the form of its task, so it always passes.
    """

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        places = (rows["track"] != "domain").arg_true()
        texts = rows[places].select(asked=UTTERANCE.fill_null(""), said=ANSWER.fill_null(""))
        matched = match_languages(texts["asked"], texts["said"])
        return pl.repeat(True, rows.height, eager=True).scatter(places, matched)

    return score


def match_languages(prompts: pl.Series, answers: pl.Series) -> pl.Series:
    """Whether each two are in one language, or it cannot be told, or another one was asked for."""
    one, other = _languages(prompts), _languages(answers)
    crossed = (((one == "zh") & (other == "en")) | ((one == "en") & (other == "zh"))).fill_null(
        False
    )
    places = crossed.arg_true()  # of few: the names of languages take longer than all else
    named = prompts.gather(places).str.contains(_NAMES_A_LANGUAGE)
    return (~crossed).scatter(places, named).alias("language_match")


def _languages(texts: pl.Series) -> pl.Series:
    """`zh` or `en`, null where a text is in both, in neither, or too short to tell.

    As `rows.guess_language` has it: four Latin letters carry about as much as one Han character.
    """
    prose = texts.str.replace_all(_CODE, " ").str.head(_HEAD)
    counts = weigh_texts(prose, _counted())
    fields = [counts >> (_BITS * field) & (1 << _BITS) - 1 for field in range(3)]
    han, latin, letters = pl.DataFrame(fields, schema=["han", "latin", "letters"])
    share = han / (han + latin / 4)
    told = pl.when(4 * letters - 3 * latin >= _LEAST)
    language = pl.when(share > 0.5).then(pl.lit("zh")).when(share <= 0.1).then(pl.lit("en"))
    return pl.select(told.then(language)).to_series()


@cache
def _counted() -> Any:
    """By code point (numpy, int64), what it adds to the counts of Han, Latin and all letters."""
    import numpy as np

    points = np.r_[:0xD800, 0xE000:_LAST_LETTER]
    characters = pl.Series(map(chr, points.tolist()), dtype=pl.String)
    table = np.zeros(0x110000, np.int64)
    for field, kind in enumerate((_HAN, _LATIN, _LETTER)):
        table[points] += characters.str.contains(kind).to_numpy().astype(np.int64) << _BITS * field
    return table
