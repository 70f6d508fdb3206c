"""Language: whether an answer is in the language that it was asked in.

A model that is shown a few answers in the wrong language falls into it at the worst moment. Code,
translations and answers of a few letters have no language of their own.
"""

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer

_CODE = (
    r"(?s)```.*?(?:```|\z)|`[^`\n]*`|https?://\S+|<[^<>\n]{1,200}>"
    r"|\A\s*(?:\{.*\}|\[.*\])\s*\z"  # all JSON
)
_NAMES_A_LANGUAGE = (
    r"(?i)翻译|译成|译为|[英中汉法德俄日韩]文|[英汉法德俄日韩]语|外语|普通话|"
    r"\btranslat|\b(?:english|chinese|mandarin|french|german|spanish|japanese|korean|russian)\b"
)
_HAN, _LATIN = "[\u3400-\u9fff\uf900-\ufaff]", "[A-Za-z]"
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
    texts = pl.DataFrame({"asked": prompts, "said": answers})
    languages = texts.select(asked=_language(pl.col("asked")), said=_language(pl.col("said")))
    one, other = languages.get_columns()
    crossed = (((one == "zh") & (other == "en")) | ((one == "en") & (other == "zh"))).fill_null(
        False
    )
    places = crossed.arg_true()  # of few: the names of languages take longer than all else
    named = prompts.gather(places).str.contains(_NAMES_A_LANGUAGE)
    return (~crossed).scatter(places, named).alias("language_match")


def _language(text: pl.Expr) -> pl.Expr:
    """`zh` or `en`, null where a text is in both, in neither, or too short to tell.

    As `rows.guess_language` has it: four Latin letters carry about as much as one Han character.
    """
    prose = text.str.replace_all(_CODE, " ").str.head(_HEAD)
    han, latin = prose.str.count_matches(_HAN), prose.str.count_matches(_LATIN)
    letters = prose.str.count_matches(r"\p{L}")
    share = han / (han + latin / 4)
    told = pl.when(4 * letters.cast(pl.Int64) - 3 * latin.cast(pl.Int64) >= _LEAST)
    language = pl.when(share > 0.5).then(pl.lit("zh")).when(share <= 0.1).then(pl.lit("en"))
    return told.then(language)
