"""Strict JSON: what two parsers could read in two ways is refused with a short reason.

`json.loads` keeps the last of two equal keys, accepts NaN and lets half a surrogate pair through;
each of these turns one outside record into different text later on. Here they are errors.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

_SUSPECT = re.compile("\\\\u(?:0000|[dD][89a-fA-F])|[\x00\ud800-\udfff]")
_ESCAPED = re.compile("[\udc80-\udcff]")
_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])')
"""A string, which stays as it is, or a comma that closes a list or object."""
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises `ValueError` with a short reason: broken, duplicate key, NaN or infinity, lone surrogate,
    NUL, nested too deeply, or a number too long to read.
    """
    try:
        value = STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    check_characters(value, text)
    return value


def read_json(text: str) -> Any:
    """The one object or list in what a model wrote, strictly parsed.

    What stands around it, such as a code fence, is left out, and so are commas before a closing
    bracket. Raises `ValueError` with the reason `not_json` where there is none.
    """
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    end = max(text.rfind("}"), text.rfind("]")) + 1
    body = text[min(starts) : end] if starts else ""
    for tried in (body, _COMMA.sub(lambda found: found[1] or "", body)):
        with contextlib.suppress(ValueError):
            return parse_json(tried)
    raise ValueError("not_json")


def fenced(value: Any) -> str:
    """JSON in which no angle bracket is left to open or close a fence of a prompt."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def check_characters(value: Any, text: str) -> None:
    """Raise `ValueError` when a string of `value`, parsed from `text`, holds NUL or a surrogate."""
    if not _SUSPECT.search(text):
        return
    for string in _strings(value):
        if bad := _FORBIDDEN.search(string):
            what = "NUL character" if bad.group() == "\x00" else "lone surrogate"
            raise ValueError(f"{what} U+{ord(bad.group()):04X}")


def check_decoded(text: str) -> str:
    """The text; `ValueError` when it holds bytes that `surrogateescape` could not decode."""
    if bad := _ESCAPED.search(text):
        raise ValueError(f"not UTF-8: byte 0x{ord(bad.group()) - 0xDC00:02x} at {bad.start() + 1}")
    return text


def printable(text: str) -> str:
    """The text with whatever UTF-8 cannot hold written as an escape, so that it can be stored."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(k for k in keys if keys.count(k) > 1)!r}")
    return value


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"number {text[:20]} is out of range")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


STRICT = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_constant
)
