"""Personal data: whether a row holds a phone number, identity number, e-mail or bank card.

Numbers that carry a check digit must pass it. Borders are looked around and not `\\b`: between a
Han character and a digit there is no word border, so 电话13812345678 would be missed.
"""

import re
import unicodedata

import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, full_text
from curation.scorers._screen import count_folded, score_some

_DIGITS = 8
"""Fewest digits of any number looked for: an international phone number."""
_START, _END = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_PHONES = (
    r"(?:(?:\+|00)?86[- ]?)?1[3-9][0-9][- ]?[0-9]{4}[- ]?[0-9]{4}",  # mainland mobile
    r"0[1-9][0-9]{1,2}-[2-9][0-9]{6,7}",  # mainland line with its area code
    r"(?:\+?1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-. ])[2-9][0-9]{2}[-. ][0-9]{4}",
    r"\+[1-9][0-9]{0,2}[- ][0-9](?:[- ]?[0-9]){6,11}",  # any country, written with its code
)
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
_NETWORKS = re.compile(r"[3-6][0-9]{15}|3[47][0-9]{13}|62[0-9]{15,17}|4[0-9]{18}")
"""Lengths of card numbers: 16, American Express 15, UnionPay also 17 to 19, Visa also 19."""
_ID_FACTORS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@plugin()
def pii() -> Scorer:
    """True where a row holds personal data; write the rule as `not pii`."""

    def score(rows: pl.DataFrame, _context: ScoreContext) -> pl.Series:
        weights = count_folded("0123456789") + _DIGITS * count_folded("@")
        texts = full_text(rows)
        return score_some(texts, weights, _DIGITS, lambda t: bool(find_pii(t)), otherwise=False)

    return score


def find_pii(text: str) -> list[str]:
    """Kinds of personal data in a text: phone, id_number, email, bank_card."""
    text = unicodedata.normalize("NFKC", text)
    kinds = {
        "phone": _PHONE.search(text),
        "id_number": _US_SSN.search(text) or any(map(_is_cn_id, _CN_ID.findall(text))),
        "email": _EMAIL.search(text),
        "bank_card": any(map(_is_card, _CARD.findall(text))),
    }
    return [kind for kind, found in kinds.items() if found]


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
