"""Text keys: two texts with one key say the same thing in another typography.

Width, traditional or simplified characters, case, spaces and prose punctuation do not count. All
that a number is made of does (digits, points, signs, units, what stands between two numbers), so
8.5 and 85, -10 and 10, 5 mW and 5 MW keep their own keys, as do a*b and a/b.
"""

import re
import unicodedata
from collections import Counter
from functools import cache

import polars as pl

_NUMERALS = "0-9一二三四五六七八九十百千万亿零〇两"
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Hyphens and minus signs that mean the same before a number; the dash — is not one of them.
_MINUS = re.compile("[\u2010-\u2013\u2212\ufe63]")
_MARK = "\ue000"  # private use: stands for punctuation that has to stay until the rest is gone
_PROSE = "".join(
    chr(c)
    for c in range(0x110000)
    if unicodedata.category(chr(c)) in ("Pd", "Ps", "Pe", "Pi", "Pf", "Po")
    and chr(c) not in "#%&*/@\\‰‱′″"
)
_PROSE_OR_SPACE = f"[{re.escape(_PROSE)}~\\s]"
_INSIDE_NUMBERS = re.compile(f"(?<=[{_NUMERALS}])({_PROSE_OR_SPACE}+)(?=[{_NUMERALS}])")
_SIGN = re.compile(r"([-—])\s*(?=\.?[0-9])|(\.)(?=[0-9])|(?<=[^\W\d_])(')(?=[^\W\d_])")
_UNIT = re.compile(r"((?<=[0-9])\s*[A-Za-zΩμ]{1,3}(?![A-Za-z]))")
_MATHS = re.compile(r"[+*/^=<>\\]")
_BETWEEN_WORDS = re.compile(f"(?<=[^\\W{_CJK}])(?:{_PROSE_OR_SPACE})+(?=[^\\W\\d{_CJK}])")
_STRIPPED = re.compile(f"{_PROSE_OR_SPACE}+")
_ANY_CASE_UNITS = ("am", "pm", "km", "kg", "cm", "mm", "kmh")
_NUMBER = re.compile(r"[-—]?(?:[0-9]+(?:[.,:/][0-9]+)*)\s*(?:[A-Za-z°%‰]{1,3})?")
_HAN_NUMBER = re.compile("[一二三四五六七八九十百千万亿零〇两半]+")
_NEGATION = re.compile(
    "[不没无非未别勿莫甭][要用得许能会必是有]?|禁止|停止|取消|拒绝|除了|以外"
    r"|\b(?:not|no|never|none|without|except|cannot|nor|neither)\b|n't\b"
)


@cache
def _simplified() -> dict[int, str]:
    """Traditional to simplified, character by character, as OpenCC's `t2s` maps single ones.

    One character at a time is what a key needs: the same text has the same key in any context.
    """
    import opencc

    blocks = ((0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0))
    characters = [chr(c) for block in blocks for c in range(*block)]
    converter = opencc.OpenCC("t2s")
    once = converter.convert("\n".join(characters))
    twice = converter.convert(once).split("\n")  # a few of its results are mapped once more
    pairs = zip(characters, twice, strict=True)
    return {ord(a): b for a, b in pairs if a != b}


@cache
def _compatible() -> dict[int, str]:
    """Characters whose NFKC form is a number that would grow into its neighbours: ² ① ½ ㏠."""
    table = {}
    for code in (c for c in range(0xB2, 0x1FBFA) if not 0x3400 <= c < 0xF900):
        character = chr(code)
        form = unicodedata.normalize("NFKC", character)
        if form != character and unicodedata.category(character) != "Nd" and re.search("[0-9]", form):
            raised = unicodedata.decomposition(character).startswith(("<super>", "<sub>"))
            table[code] = ("^" if raised else " ") + form.replace("\u2044", "/") + " "
    return table


def text_key(text: str) -> str:
    """The text without typography; texts are repeats of each other when their keys are equal.

    NFKC, traditional to simplified, case, spaces and prose punctuation; between two words of a
    script with spaces one space stays. A text of nothing but punctuation is its own key.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_compatible())).translate(_simplified())
    plain = _fold_case(_MINUS.sub("-", plain.replace("’", "'")))
    held: list[str] = []
    plain = _INSIDE_NUMBERS.sub(lambda m: _hold(held, " ".join(m[1].split()) or " "), plain)
    plain = _SIGN.sub(lambda m: _hold(held, m[1] or m[2] or m[3]), plain)
    if _MATHS.search(plain):
        plain = re.sub(r"[()\[\]{}]", lambda m: _hold(held, m[0]), plain)
    plain = _BETWEEN_WORDS.sub(lambda m: _hold(held, " "), plain)
    plain = _STRIPPED.sub("", "".join(c for c in plain if unicodedata.category(c)[0] != "C" or c == _MARK))
    waiting = iter(held)
    return re.sub(_MARK, lambda m: next(waiting), plain) or text.strip()
