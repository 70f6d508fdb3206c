"""Garbled text: how much of a text was read in the wrong encoding or lost its characters, 0 to 1.

Perplexity finds such text only where most of a row is text: behind a short command stands a JSON
answer that is usual. Here it is told by its bytes: text that was UTF-8 reads as UTF-8 again when it
is written in the encoding it was taken for, and text of another origin next to never does.
"""

import re
from functools import cache
from typing import Any

import polars as pl

from curation.plugins import plugin
from curation.rows import ANSWER, UTTERANCE
from curation.scorers._base import ScoreContext, Scorer
from curation.scorers._screen import score_some

# What stands where a character was lost, and characters that no text holds.
_LOST = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufff9-\uffff]|锟斤拷|[烫屯]{3,}"
)
_QUESTIONS = re.compile(r"[?？]{4,}")
_WESTERN = "\x80-\xff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_AS_WESTERN = re.compile(f"[{_WESTERN}]*[\xa1-\xff][{_WESTERN}]+")
_FOREIGN = re.compile("[^\x00-\x7f\ufffd]{3,}")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_RUN = 3
"""Characters of a run that is looked at, but for those of which one is enough."""
_BACK = 0.5
"""Share of its bytes that must read as other text, for a run to count as misread."""
_RARE, _FEWEST = 0.3, 4
"""Han characters of which more than this share is rare, in so many or more, are no text."""


@plugin()
def garbled() -> Scorer:
    """The larger of the question's and the answer's share of garbled characters."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        both = rows.select(asked=UTTERANCE, said=ANSWER).get_columns()
        shares = [score_some(texts, _odd(), _RUN, measure_garbled, otherwise=0.0) for texts in both]
        return pl.select(pl.max_horizontal(*shares)).to_series()

    return score


def measure_garbled(text: str) -> float:
    """Share of the characters that are garbled, 0..1; 0 for an empty text.

    Counted are characters that stand for lost ones, runs of question marks, runs that turn out to
    be UTF-8 read as a Western encoding or as GBK, and Han characters that nobody writes where most
    are such.
    """
    if not text:
        return 0.0
    spans = [*_QUESTIONS.finditer(text), *_LOST.finditer(text)]
    if not text.isascii():
        spans += [run for run in _AS_WESTERN.finditer(text) if _was_western(run[0])]
        spans += [run for run in _FOREIGN.finditer(text) if _reads_back(run[0], "gbk")]
        han = [*_HAN.finditer(text)]
        rare = [character for character in han if character[0] not in _common()]
        spans += rare if len(han) >= _FEWEST and len(rare) > _RARE * len(han) else []
    return len({at for span in spans for at in range(*span.span())}) / len(text)


def _was_western(run: str) -> bool:
    return any(_reads_back(run, encoding) for encoding in ("cp1252", "latin-1"))


def _reads_back(run: str, encoding: str) -> bool:
    """Whether most of a run, in the bytes it was read from, is characters of several bytes."""
    raw = run.encode(encoding, "ignore")
    back = raw.decode("utf-8", "ignore").encode("utf-8")
    if encoding == "gbk":  # two of its characters may chance to be one of two bytes
        back = "".join(_HAN.findall(back.decode("utf-8"))).encode("utf-8")
    wide = sum(byte >= 0x80 for byte in back)
    return len(raw) > 1 and wide > _BACK * sum(byte >= 0x80 for byte in raw) > 0


@cache
def _odd() -> Any:
    """Weights by code point: `_RUN` and more together are looked at closely (`score_some`)."""
    import numpy as np

    table = np.zeros(0x110000, np.uint8)
    table[0x80:0x100] = table[:0x20] = table[0x7F] = table[0xE000:0xF900] = _RUN
    table[0xFFF9:0x10000] = table[0x3400:0x4DC0] = table[0x4E00:0xA000] = _RUN
    table[[ord(character) for character in "\t\n\r"]] = 0
    table[[ord(character) for character in _common()]] = 0
    table[[ord(character) for character in "?？烫屯"]] = 1
    return table


@cache
def _common() -> frozenset[str]:
    """The frequent characters of GB 2312 (level 1) and Big5 (level 1): what people write with."""
    simplified = _decoded("gb2312", range(0xB0, 0xD8), range(0xA1, 0xFF))
    return simplified | _decoded("big5", range(0xA4, 0xC7), range(0x40, 0xFF))


def _decoded(encoding: str, firsts: range, seconds: range) -> frozenset[str]:
    pairs = (bytes([first, second]) for first in firsts for second in seconds)
    return frozenset("".join(pair.decode(encoding, "ignore") for pair in pairs))
