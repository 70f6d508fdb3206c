"""Grounding: whether a value stands in an utterance, whole.

Spaces, width and case are typography; digits, points, signs and the letters of a word are not. So
26度 does not stand in 126度, 5度 not in -5度, 8 not in 8.5, and AC not in ACC.
"""

import re
import unicodedata
from functools import lru_cache

_HAN_DIGIT = "零〇一二三四五六七八九十百千两"
_MINUS = str.maketrans("−–", "--")
# A space that parts nothing: all but those between two letters or two digits.
_SPACE = re.compile("(?<![a-z0-9]) | (?![a-z0-9])|(?<=[a-z]) (?=[0-9])|(?<=[0-9]) (?=[a-z])")


@lru_cache(1 << 12)  # values are few, and each is looked at several times a row
def normal_text(text: str) -> str:
    """NFKC, small letters, one minus sign, no spaces but between two letters or two digits."""
    text = unicodedata.normalize("NFKC", text.translate(_MINUS)).casefold()
    return _SPACE.sub("", " ".join(text.split()))


def stands_in(said: str, value: str) -> bool:
    """Whether `value` stands in `said`, both normal texts, cutting no number, sign or word."""
    start = said.find(value)
    while value and start >= 0:
        before, after = said[:start], said[start + len(value) :]
        if not _cuts_before(before, value[0]) and not _cuts_after(value[-1], after):
            return True
        start = said.find(value, start + 1)
    return False


def _cuts_before(before: str, first: str) -> bool:
    last = before[-1:]
    if first in _HAN_DIGIT:
        return bool(last) and last in _HAN_DIGIT
    if first.isascii() and first.isalpha():
        return last.isascii() and last.isalpha()
    if first.isdigit():
        # 26 in 20-26 is a whole number, in -26 or 零下26 it is not.
        return bool(re.search(r"[0-9.]$|(?:^|[^0-9])-$|零下$|负$", before))
    return False


def _cuts_after(last: str, after: str) -> bool:
    following = after[:1]
    if last in _HAN_DIGIT:
        return bool(following) and following in _HAN_DIGIT
    if last.isascii() and last.isalpha():
        return following.isascii() and following.isalpha()
    return last.isdigit() and bool(re.match(r"[0-9%]|\.[0-9]", after))
