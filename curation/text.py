"""Text keys: two texts with one key say the same thing in another typography.

Width, traditional or simplified characters, case, spaces and prose punctuation do not count. All
that a number is made of does (digits, points, signs, units, what stands between two numbers), so
8.5 and 85, -10 and 10, 5 mW and 5 MW keep their own keys, as do a*b and a/b.
"""

import re
import unicodedata
from functools import cache

import polars as pl

_MANY = 4_096
"""Texts from which on a compiled kernel is worth loading."""
_NUMERALS = frozenset("0123456789一二三四五六七八九十百千万亿零〇两")
_DIGITS_OR_MONEY = frozenset("0123456789$¥€£")
_NOT_PROSE = frozenset("#%&*/@\\‰‱′″")  # punctuation by category, but it changes what is said
_MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-") | {0x2019: "'"}
_MATHS = re.compile(r"[+*/^=<>\\]")
_LEADING_SIGN = re.compile(r"([-—]?)\s*(\.?)$")
_CASED_UNIT = re.compile(
    r"((?<=[0-9])\s*(?:[kKmMGTPnuμ]?(?:Wh?|[Bb](?:ps)?|Hz|V|Ah?|J|Pa)|[MmGgTt])(?![A-Za-z]))"
)
_NUMBER = re.compile(
    r"[-—]?[.]?[0-9]+(?:[.,:/^-]+[0-9]+)*(?:[A-Za-zμ°%‰$¥€£]{1,3})?|[一二三四五六七八九十百千万亿零〇两半]+"
)
_OPPOSITES = (
    ("开 启 on open start", "关 闭 off close stop"),
    ("高 升 加 增 up high more increase", "低 降 减 down low less decrease"),
    ("上", "下"),
    ("左 left", "右 right"),
    ("前 before", "后 after"),
    ("内", "外"),
    ("大", "小"),
    ("多", "少"),
    ("冷", "热"),
    ("快", "慢"),
    ("进", "出"),
    ("继续 resume", "暂停 pause"),
    ("真 true", "假 false"),
    ("男", "女"),
    ("正", "负"),
    ("奇", "偶"),
)
_SENSES = {
    word: (pair, side)
    for pair, sides in enumerate(_OPPOSITES)
    for side, words in enumerate(sides)
    for word in words.split()
}
_OPPOSITE = re.compile(
    f"{'|'.join(w for w in _SENSES if not w.isascii())}"
    f"|(?<![a-z])(?:{'|'.join(w for w in _SENSES if w.isascii())})(?![a-z])"
)
_NEGATION = re.compile(
    "[不没无非未别勿莫甭反][要用得许能会必是有]?|禁止|停止|取消|拒绝|除了|以外"
    r"|(?<![a-z])(?:not?|never|none|without|except|cannot|nor|neither)(?![a-z])|n't\b"
)
_POLARITY = re.compile(f"{_NEGATION.pattern}|{_OPPOSITE.pattern}")


def text_key(text: str) -> str:
    """The text without typography; texts are repeats of each other when their keys are equal.

    NFKC, simplified characters, one case, no spaces or prose punctuation; one space stays between
    two words of a script that has spaces. A text of nothing but punctuation is its own key.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_apart())).translate(_MINUS)
    plain = _fold_case(plain.translate(_simplified()))
    maths = bool(_MATHS.search(plain))
    return _runs(maths).sub(_bridge_maths if maths else _bridge, plain) or text.strip()


def text_keys(texts: pl.Series) -> pl.Series:
    """`text_key` of each text, computed once for texts that repeat; null stays null."""
    unique = texts.unique().drop_nulls()
    if len(unique) < _MANY:
        keys = pl.Series([text_key(t) for t in unique], dtype=pl.String)
    else:
        from curation.text_table import fold_texts

        keys = fold_texts(unique)
    return texts.replace_strict(unique, keys, default=None, return_dtype=pl.String)


def meaning_marks(key: str) -> tuple[str, ...]:
    """Numbers, negations and opposites (开/关, on/off) of a key, in their order.

    Texts whose marks differ say different things however similar they look.
    """
    return (*_NUMBER.findall(key), "|", *_POLARITY.findall(key))


def named_senses(key: str) -> frozenset[tuple[int, int]]:
    """Which of two opposites a key names, as (pair, side): 打开 and `turn on` give the same one."""
    return frozenset(_SENSES[word] for word in _OPPOSITE.findall(key))


def is_negated(key: str) -> bool:
    """Whether a key denies anything, so that an opposite in it may be meant the other way round."""
    return bool(_NEGATION.search(key))


@cache
def _simplified() -> dict[int, str]:
    """Traditional to simplified, character by character, as OpenCC's `t2s` maps single ones.

    One character at a time is what a key needs: a word has the same key in every context.
    """
    import opencc

    blocks = ((0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0))
    characters = [chr(c) for block in blocks for c in range(*block)]
    converter = opencc.OpenCC("t2s")
    once = converter.convert("\n".join(characters))
    twice = converter.convert(once).split("\n")  # a few results have a simplified form themselves
    return {ord(a): b for a, b in zip(characters, twice, strict=True) if a != b}


@cache
def _apart() -> dict[int, str]:
    """² ① ½ and their like, set apart: their NFKC digits would grow into the number beside them."""
    table = {}
    for character in map(chr, [*range(0xB2, 0x3400), *range(0x1F100, 0x1FBFA)]):
        form = unicodedata.normalize("NFKC", character)
        if (
            form != character
            and unicodedata.category(character) != "Nd"
            and re.search("[0-9]", form)
        ):
            raised = unicodedata.decomposition(character).startswith(("<super>", "<sub>"))
            table[ord(character)] = f"{'^' if raised else ' '}{form.replace('⁄', '/')} "
    return table


@cache
def _runs(maths: bool) -> re.Pattern[str]:
    """Runs of prose punctuation, spaces and invisible characters; in maths brackets count."""
    kinds = {"Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Cc", "Cf", "Zs", "Zl", "Zp"}
    planes = (*range(0x20000), *range(0xE0000, 0xE1000))  # elsewhere are letters and nothing
    codes = (c for c in map(chr, planes) if unicodedata.category(c) in kinds)
    stays = _NOT_PROSE | frozenset("()[]{}-" if maths else "")
    found = "".join(c for c in codes if c not in stays)
    settled = "(?!(?<=[a-z]) (?=[a-z]))"  # the one space that stays as it is, and most common
    return re.compile(f"{settled}[{re.escape(found)}~\\s\ufe00-\ufe0f]+")


def _fold_case(text: str) -> str:
    """Case folded except in units where it is another unit: m and M, b and B, g and G."""
    parts = _CASED_UNIT.split(text)
    return "".join(p if i % 2 else p.casefold() for i, p in enumerate(parts))


def _bridge(match: re.Match[str]) -> str:
    """What a run of punctuation and spaces leaves between its two neighbours."""
    run, start, end = match[0], match.start(), match.end()
    before, after = match.string[start - 1 : start], match.string[end : end + 1]
    if before in _NUMERALS and after in _NUMERALS:
        sign = run[0].isspace() and run[-1] == "-"  # 3 -5 are two numbers, 3-5 may be a range
        return " " * sign + " ".join(run.split()) or " "
    if after in _DIGITS_OR_MONEY:
        return "".join(_LEADING_SIGN.search(run).groups())  # type: ignore[union-attr]
    if _is_spaced(before) and _is_spaced(after):
        return run if run == "'" else " "
    return ""


def _bridge_maths(match: re.Match[str]) -> str:
    """The same where brackets and minus were left standing: `3, -5` is not `3-5`."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if after in ("-", "(") and before in _NUMERALS:
        return "".join(match[0].split())
    return _bridge(match)


def _is_spaced(character: str) -> bool:
    """Whether it is a letter of a script with spaces between words."""
    return character.isalpha() and not (
        "\u3040" <= character <= "\u30ff"
        or "\u3400" <= character <= "\u9fff"
        or "\uf900" <= character <= "\ufaff"
        or character >= "\U00020000"
    )
