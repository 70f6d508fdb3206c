"""Personal data in a text: phone numbers, identity numbers, e-mail addresses and bank cards.

Numbers that carry a check digit must pass it. Borders are looked around and not `\\b`: between a
Han character and a digit there is no word border, so 电话13812345678 would be missed. A text is
looked through as it is meant, full width as half width and JSON escapes as what they stand for,
and what is found is told by its place in the text as it is written.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

KINDS = ("phone", "id_number", "email", "bank_card")
DIGITS = 8
"""Fewest digits of any number looked for: an international phone number."""

_START, _END = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_MOBILE = r"(?:(?:\+|00)?86[- ]?)?(1[3-9][0-9])[- ]?([0-9]{4})[- ]?([0-9]{4})"
_NORTH_AMERICA = (
    r"(?:\+?1[-. ])?(?:\(([2-9][0-9]{2})\) ?|([2-9][0-9]{2})[-. ])([2-9][0-9]{2})[-. ]([0-9]{4})"
)
_PHONES = (
    _MOBILE,  # of mainland China
    r"0[1-9][0-9]{1,2}-[2-9][0-9]{6,7}",  # mainland line with its area code
    _NORTH_AMERICA,
    r"\+[1-9][0-9]{0,2}[- ][0-9](?:[- ]?[0-9]){6,11}",  # any country, written with its code
)
_NATIONAL = re.compile(f"{_MOBILE}|{_NORTH_AMERICA}")
_PHONE = re.compile(r"(?<![0-9A-Za-z.+])(?:" + "|".join(_PHONES) + r")(?![0-9A-Za-z])")
_CN_ID = re.compile(
    _START
    + r"[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
    + _END
)
_US_SSN = re.compile(
    _START + r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}" + r"(?![-0-9A-Za-z])"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@"
    r"(?!example\.)(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_CARD = re.compile(r"(?<![0-9A-Za-z.])[3-6][0-9]{3}(?:[ -]?[0-9]){11,15}(?![0-9A-Za-z])")
_NUMBER = re.compile(rf"[0-9](?:[-. ()]{{0,2}}[0-9]){{{DIGITS - 1}}}")
"""What stands in every number looked for, however it is parted."""
_NETWORKS = re.compile(r"[3-6][0-9]{15}|3[47][0-9]{13}|62[0-9]{15,17}|4[0-9]{18}")
"""Lengths of card numbers: 16, American Express 15, UnionPay also 17 to 19, Visa also 19."""
_ID_FACTORS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)

_PATTERNS = (
    ("phone", _PHONE),
    ("id_number", _US_SSN),
    ("id_number", _CN_ID),
    ("email", _EMAIL),
    ("bank_card", _CARD),
)
_UNIT = re.compile(r'\\++(?:u[0-9A-Fa-f]{4}|["/bfnrt])?|.', re.DOTALL)
"""What is read as one character: itself, or a JSON escape with however many backslashes."""
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
"""Characters of no width, which people copy along without seeing them."""


@dataclass(frozen=True)
class Span:
    """A stretch of a text that is personal data; `written` is it in half width, unescaped."""

    kind: str
    start: int
    end: int
    written: str

    @property
    def value(self) -> str:
        """What is the same however it is written: +86 138-1234-5678 and 13812345678."""
        if self.kind == "email":
            return self.written.lower()
        if self.kind == "phone" and (found := _NATIONAL.fullmatch(self.written)):
            return "".join(part for part in found.groups() if part)
        return re.sub("[^0-9X+]", "", self.written.upper())


def find_personal(text: str) -> list[Span]:
    """Personal data in its order in the text; of what overlaps the longest."""
    if not _may_hold(text):
        return []
    seen, starts, ends = fold_text(text)
    if "@" not in seen and not _NUMBER.search(seen):
        return []
    found = [
        Span(kind, starts[match.start()], ends[match.end() - 1], match[0])
        for kind, pattern in _PATTERNS
        for match in pattern.finditer(seen)
        if _CHECKS.get(pattern, bool)(match[0])
    ]
    chosen: list[Span] = []
    for span in sorted(found, key=lambda s: (s.start - s.end, KINDS.index(s.kind), s.start)):
        if all(span.end <= other.start or other.end <= span.start for other in chosen):
            chosen.append(span)
    return sorted(chosen, key=lambda span: span.start)


def kinds_of(found: Iterable[Any]) -> list[str]:
    """The kinds among spans, or what was written down of them, each once, as ordered in `KINDS`."""
    found = {one.kind for one in found}
    return [kind for kind in KINDS if kind in found]


def fold_text(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """A text as it is looked through, and where what each character stands for begins and ends.

    NFKC character by character, so that nothing grows together with its neighbour; a character that
    becomes several counts as a whole for each of them. A JSON escape is the character it means: in
    `"电话\\n13812345678"` no letter n stands before the number.
    """
    if text.isascii() and "\\" not in text:
        return text, range(len(text)), range(1, len(text) + 1)
    units = _UNIT.findall(text) if "\\" in text else text
    seen = [_meant(unit) for unit in units]
    if len(units) == len(text) and all(len(said) == 1 for said in seen):
        return "".join(seen), range(len(text)), range(1, len(text) + 1)
    ends = accumulate(map(len, units))
    spread = [
        (end - len(unit), end)
        for unit, end, said in zip(units, ends, seen, strict=True)
        for _ in said
    ]
    return "".join(seen), [start for start, _ in spread], [end for _, end in spread]


@lru_cache(1 << 16)
def _meant(unit: str) -> str:
    """What a character or an escape is read as; nothing of one that has no width."""
    if unit[0] != "\\":
        return "" if _HIDDEN.match(unit) else unicodedata.normalize("NFKC", unit)
    escaped = unit.lstrip("\\")
    if len(escaped) > 1:
        return _meant(chr(int(escaped[1:], 16)))
    return "\n" if escaped and escaped in "bfnrt" else escaped or "\\"


def _may_hold(text: str) -> bool:
    """Whether a closer look is worth its while; most texts have neither an @ nor enough digits."""
    if "\\" in text:
        return True
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return "@" in plain or sum(map(plain.count, "0123456789")) >= DIGITS


def _is_cn_id(number: str) -> bool:
    """The check character of GB 11643-1999 (ISO 7064, MOD 11-2)."""
    total = sum(int(d) * f for d, f in zip(number[:17], _ID_FACTORS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _is_card(number: str) -> bool:
    """The Luhn check digit (ISO/IEC 7812-1) of a number as long as its network's.

    A number of one digit only is a placeholder.
    """
    digits = [int(d) for d in number if d.isdigit()]
    if not _NETWORKS.fullmatch("".join(map(str, digits))):
        return False
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


_CHECKS = {_CN_ID: _is_cn_id, _CARD: _is_card}
