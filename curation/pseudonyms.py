"""Pseudonyms: for somebody's number another of the same form that is nobody's.

A plain digest would hide nothing: there are some ten thousand million mobile numbers and identity
numbers of people alive, and to hash all of them takes minutes. So whatever is told of a value is
an HMAC-SHA256 under a secret key. Whoever has the key can say whether a value that they know
occurred; from the digests alone nobody can say which values did.
"""

import hmac
import re
from datetime import date, timedelta

from curation.personal import Span, find_personal

_TRIES = 1_000
_BIRTHDAYS, _FIRST = 21_915, date(1950, 1, 1)  # sixty years
_MOBILE = re.compile("1[3-9][0-9]{9}")
_NOBODYS = "129"
"""No mobile number of the mainland begins with 12."""


def keyed_digest(key: bytes, span: Span) -> str:
    """32 hex digits that are the same for the same kind and value under one key."""
    return _hmac(key, f"value {span.kind}:{span.value}")[:32]


def pseudonym(key: bytes, span: Span) -> str:
    """A value of the same form, always the same for one value, in which nothing personal is found.

    Phone numbers are such as no plan gives to anybody: a mobile number that begins with 129, a
    country code 0, an area code or exchange that begins with 0. Identity and card numbers have
    wrong check digits, a social security number begins with 000, an address is at example.com.
    """
    for attempt in range(_TRIES):
        drawn = _hmac(key, f"pseudonym {attempt} {span.kind}:{span.value}")
        said = _WRITERS[span.kind](span, drawn)
        if not find_personal(said):
            return said
    raise AssertionError(f"no pseudonym for a {span.kind} of {len(span.written)} characters")


def _email(_span: Span, drawn: str) -> str:
    return f"user{drawn[:10]}@example.com"


def _phone(span: Span, drawn: str) -> str:
    written, digits = span.written, re.sub("[^0-9]", "", span.written)
    if _MOBILE.fullmatch(span.value):
        code = digits[:-11]
        code = "0" * len(code) if written[0] == "+" else code
        return _fill(written, code + _NOBODYS + _digits(drawn, 8))
    # The last digits drawn come last, so that a country's code before a number moves none.
    said = _fill(written, _digits(drawn, len(digits)))
    return re.sub("(?<![0-9])[0-9]", "0", said)


def _id_number(span: Span, drawn: str) -> str:
    digits = _digits(drawn, len(span.value))
    if len(digits) != 18:
        return _fill(span.written, "000" + digits[3:])
    born = _FIRST + timedelta(days=int(drawn[:8], 16) % _BIRTHDAYS)
    region = str(int(digits[0]) % 9 + 1) + digits[1:6]
    return _fill(span.written, f"{region}{born:%Y%m%d}{digits[14:]}")


def _bank_card(span: Span, drawn: str) -> str:
    return _fill(span.written, span.value[0] + _digits(drawn, len(span.value) - 1))


_WRITERS = {"phone": _phone, "id_number": _id_number, "email": _email, "bank_card": _bank_card}


def _digits(drawn: str, n: int) -> str:
    """The last n decimal digits of what was drawn, repeated where that is shorter."""
    decimal = f"{int(drawn, 16):070d}"
    return (decimal * (n // 70 + 1))[-n:] if n else ""


def _fill(written: str, digits: str) -> str:
    """The form of a number with other digits in it."""
    rest = iter(digits)
    return re.sub("[0-9Xx]", lambda _: next(rest), written)


def _hmac(key: bytes, said: str) -> str:
    return hmac.new(key, said.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
