"""Text keys of many texts: what `text_key` says of single characters as a table for a kernel.

A text that a table cannot decide (marks that combine with the letter before, maths, units whose
case counts, two numbers side by side) is left to `text_key` itself; so the two never differ.
"""

import unicodedata
from functools import cache
from typing import Any

import polars as pl

from curation.minhash import text_buffers
from curation.text import (
    _DIGITS_OR_MONEY,
    _MATHS,
    _MINUS,
    _NUMERALS,
    _apart,
    _is_spaced,
    _runs,
    _simplified,
    text_key,
)

SLOW, RUN, NUMERAL, DIGIT, AMOUNT, SPACED, SPACE, CAPITAL = (1 << i for i in range(8))
"""What a character is, after folding: undecided, part of a run of prose punctuation, in a numeral,
a digit, a digit or a currency, a letter of a script with spaces, white space, an ASCII capital."""
_SLICE = 65_536
_LISTED = ((0, 0x3400), (0xA000, 0xD800), (0xF900, 0x10000), (0x1F000, 0x1FB00), (0x2F800, 0x2FA20))
"""Code points that are looked up one by one."""
_HAN = ((0x3400, 0xA000), (0x20000, 0x2F800))
"""Those that are what they are, but for traditional characters."""


def fold_texts(texts: pl.Series) -> pl.Series:
    """`text_key` of each text; none may be null."""
    pieces = [texts[at : at + _SLICE] for at in range(0, len(texts), _SLICE)]
    return pl.concat([pl.Series([], dtype=pl.String), *map(_fold, pieces)]).rename(texts.name)


def _fold(texts: pl.Series) -> pl.Series:
    import numpy as np
    import pyarrow as pa

    from curation import fold_kernel, kernels

    data, offsets = text_buffers(texts)
    points, stops = np.empty(len(data), np.uint32), np.empty(len(texts), np.int64)
    kernels.decode(data, offsets, points, stops)
    out = np.empty(2 * len(data) + 8, np.uint8)
    ends, left = np.zeros(len(texts) + 1, np.int64), np.empty(len(texts), np.bool_)
    fold_kernel.fold(points, stops, *_table(), out, ends[1:], left)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
    array = pa.Array.from_buffers(pa.large_string(), len(texts), buffers)
    places = np.flatnonzero(left)
    slow = pl.Series([text_key(text) for text in texts.gather(places)], dtype=pl.String)
    return pl.Series(array, dtype=pl.String).scatter(places, slow)


@cache
def _table() -> tuple[Any, Any]:
    """What becomes of each code point, uint32, and what that is, uint8."""
    import numpy as np

    table, kinds = np.arange(0x110000, dtype=np.uint32), np.full(0x110000, SLOW, np.uint8)
    for first, end in _HAN:
        kinds[first:end] = 0
    listed = {code for block in _LISTED for code in range(*block)}
    for code in listed | _simplified().keys() | {ord(c) for c in _NUMERALS}:
        table[code], kinds[code] = _fold_one(chr(code))
    return table, kinds


def _fold_one(character: str) -> tuple[int, int]:
    """A character on its own: what it becomes, and of what kind that is."""
    if unicodedata.category(character)[0] in "MC" and not _runs(False).fullmatch(character):
        return 0, SLOW  # it may combine with its neighbour
    if 0x1100 <= ord(character) < 0x1200 or 0xFF9E <= ord(character) < 0xFFDD:
        return 0, SLOW
    plain = unicodedata.normalize("NFKC", character.translate(_apart())).translate(_MINUS)
    plain = plain.translate(_simplified())
    folded = plain.casefold()
    if len(folded) > 1 and all(_runs(False).fullmatch(c) for c in folded):
        return ord("…"), RUN  # the kernel asks how long a run is only where this is not in it
    if len(folded) != 1 or _MATHS.search(folded):
        return 0, SLOW
    kind = CAPITAL * (plain in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    kind |= RUN * bool(_runs(False).fullmatch(folded)) | SPACE * folded.isspace()
    kind |= NUMERAL * (folded in _NUMERALS) | DIGIT * (folded in "0123456789")
    kind |= AMOUNT * (folded in _DIGITS_OR_MONEY) | SPACED * _is_spaced(folded)
    return ord(folded), kind
