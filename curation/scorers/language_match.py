"""Language: whether an answer is in the language that it was asked in.

A model that is shown a few answers in the wrong language falls into it at the worst moment. Code,
translations and answers of a few letters have no language of their own.
"""

import re

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE, guess_language
from curation.scorers._base import ScoreContext, Scorer

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^<>\n]{1,200}>", re.DOTALL)
_NAMES_A_LANGUAGE = re.compile(
    r"翻译|译成|译为|[英中汉法德俄日韩]文|[英汉法德俄日韩]语|外语|普通话|"
    r"\btranslat|\b(?:english|chinese|mandarin|french|german|spanish|japanese|korean|russian)\b",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[^\W\d_]")
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
        texts = rows.select("track", utterance=UTTERANCE, answer=ANSWER).iter_rows()
        found = [track == "domain" or matches(u or "", a or "") for track, u, a in texts]
        return pl.Series("language_match", found, dtype=pl.Boolean)

    return score


def matches(prompt: str, answer: str) -> bool:
    """Whether the two are in one language, or it cannot be told, or another one was asked for."""
    languages = {_language(prompt), _language(answer)}
    return languages != {"zh", "en"} or bool(_NAMES_A_LANGUAGE.search(prompt))


def _language(text: str) -> str:
    prose = _CODE.sub(" ", text)[:_HEAD]
    letters = _LETTER.findall(prose)
    weight = sum(1 if letter.isascii() else 4 for letter in letters)
    return guess_language(prose) if weight >= _LEAST else "other"
