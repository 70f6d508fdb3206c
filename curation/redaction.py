"""Redaction: personal data taken out of a record before it becomes a row.

What is kept of it is its kind, its place in the stored text and a keyed digest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import polars as pl

from curation.json_text import parse_json
from curation.personal import Span, find_personal, fold_text
from curation.pseudonyms import keyed_digest, pseudonym
from curation.rows import canonical_json, guess_language

PERSONAL_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # "" of a record that was dropped
        "position": pl.String,  # of the record, as in its occurrence
        "turn": pl.Int64,  # of the message, from 0; -1 for tools
        "part": pl.String,  # content | tool_calls | tools | rejected
        "kind": pl.String,  # phone | id_number | email | bank_card
        "start": pl.Int64,  # in the stored text; of a dropped record in the text it had
        "end": pl.Int64,
        "digest": pl.String,  # HMAC of kind and value
    }
)
_TAGS = {
    "zh": {"phone": "电话号码", "id_number": "证件号码", "email": "邮箱", "bank_card": "银行卡号"},
    "en": {"phone": "phone", "id_number": "id number", "email": "email", "bank_card": "bank card"},
}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_HAN = ("zh", "mixed")
_HALF = re.compile(r"[0-9A-Za-z@._%+() -]*\Z")


class Fact(NamedTuple):
    """What was found once, but for whose it is: columns of `PERSONAL_SCHEMA`."""

    turn: int
    part: str
    kind: str
    start: int
    end: int
    digest: str


@dataclass(frozen=True)
class Redaction:
    """What a source does with personal data, and the key that its digests are made under."""

    mode: Literal["drop", "redact", "pseudonymise"]
    key: bytes

    def apply(
        self, parts: Mapping[str, Any], *, system: str = ""
    ) -> tuple[dict[str, Any], list[Fact]]:
        """What `formats.read_record` made of a record without personal data, and what stood there.

        The recipe's own `system` text is about nobody and stays. What a record holds beyond its
        conversation is given up where personal data stands in either: such a row cannot be written
        back as it was delivered anyway. With `drop` the texts stay; who asks does not keep them.
        """
        messages = [dict(message) for message in parts["messages"]]
        meta = dict(parts["meta"])
        lang = guess_language("".join(message["content"] for message in messages))
        facts: list[Fact] = []

        def hide(text: str, turn: int, part: str) -> str:
            hidden, places = self._hide(text, lang)
            facts.extend(
                Fact(turn, part, at.kind, at.start, at.end, keyed_digest(self.key, at))
                for at in places
            )
            return hidden

        for turn, message in enumerate(messages):
            if message["role"] != "system" or message["content"] != system:
                message["content"] = hide(message["content"], turn, "content")
            message["tool_calls"] = hide(message["tool_calls"], turn, "tool_calls")
        tools = hide(parts["tools"], -1, "tools")
        if "rejected" in meta:
            meta["rejected"] = hide(meta["rejected"], len(messages) - 1, "rejected")
        if facts or find_personal(canonical_json(meta.get("difference"))):
            meta = {name: said for name, said in meta.items() if name not in ("difference", "of")}
        return {"messages": messages, "tools": tools, "meta": meta}, facts

    def _hide(self, text: str, lang: str) -> tuple[str, list[Span]]:
        if self.mode == "drop":
            return text, find_personal(text)
        if self.mode == "redact":
            return redact_text(text, lang)
        return hide_text(text, partial(pseudonym, self.key))


def redact_text(text: str, lang: str = "") -> tuple[str, list[Span]]:
    """The text with tags such as `[邮箱]` and `[email]` for personal data, and where they stand.

    `lang` is as `guess_language` says. A number of a JSON text gives way to a tag in quotes, for a
    bare one would be no JSON. Of an object whose keys are several numbers these become one key.
    """
    if not find_personal(text):
        return text, []
    names, numbers = _TAGS["zh" if (lang or guess_language(text)) in _HAN else "en"], _numbers(text)

    def tag(span: Span) -> str:
        said = f"[{names[span.kind]}]"
        return f'"{said}"' if (span.start, span.end) in numbers else said

    return hide_text(text, tag, numbers)


def redact_cut(text: str, longest: int) -> str:
    """The same of a text that was cut at `longest` bytes or characters, if it is as long.

    What stands at its end may be half a number, that nothing tells from any other, and goes.
    """
    if len(text.encode("utf-8", "surrogatepass")) >= longest:
        seen, starts, _ = fold_text(text)
        half = _HALF.search(seen)
        text = text[: starts[half.start()]] if half and half[0] else text
    return redact_text(text)[0]


def hide_text(
    text: str, write: Callable[[Span], str], whole: Sequence[tuple[int, int]] = ()
) -> tuple[str, list[Span]]:
    """The text with what `write` says in place of personal data, and the spans where that stands.

    A span within one of the stretches `whole` is that whole stretch. In what comes back nothing is
    found any more: where a replacement makes up another number with what stands beside it, both are
    replaced as one.
    """
    spans = find_personal(text)
    while True:
        spans = [_grown(span, whole) for span in spans]
        hidden, places = _put(text, spans, write)
        left = find_personal(hidden)
        if not left:
            return hidden, places
        wider = _with(text, spans, places, left[0])
        assert wider != spans, "a replacement is personal data itself"
        spans = wider


def _grown(span: Span, whole: Sequence[tuple[int, int]]) -> Span:
    around = [(a, b) for a, b in whole if a <= span.start and span.end <= b]
    return replace(span, start=around[0][0], end=around[0][1]) if around else span


def _put(text: str, spans: Sequence[Span], write: Callable[[Span], str]) -> tuple[str, list[Span]]:
    """The text with each span written anew, and where the spans are then."""
    hidden, places, at = "", list[Span](), 0
    for span in spans:
        start = len(hidden) + span.start - at
        hidden += text[at : span.start] + write(span)
        places.append(replace(span, start=start, end=len(hidden)))
        at = span.end
    return hidden + text[at:], places


def _with(text: str, spans: Sequence[Span], places: Sequence[Span], more: Span) -> list[Span]:
    """The spans and one more, found where they are `places` now; those that it touches join it."""
    pairs = list(zip(spans, places, strict=True))
    touched = [s for s, place in pairs if place.start < more.end and more.start < place.end]
    start = _origin(more.start, pairs)
    end = max([_origin(more.end, pairs), *(span.end for span in touched)])
    joined = Span(more.kind, start, end, fold_text(text[start:end])[0])
    others = [span for span in spans if span not in touched]
    return sorted([*others, joined], key=lambda span: span.start)


def _origin(at: int, pairs: Sequence[tuple[Span, Span]]) -> int:
    """Where in the text stands what is at this place now; within a replacement, where it begins."""
    shift = 0
    for span, place in pairs:
        if place.start < at < place.end:
            return span.start
        if place.end <= at:
            shift = span.end - place.end
    return at + shift


def _numbers(text: str) -> list[tuple[int, int]]:
    """Where numbers that are no part of a string stand in a JSON text; nowhere in another text."""
    if text.lstrip()[:1] not in ("{", "["):
        return []
    try:
        parse_json(text)
    except ValueError:
        return []
    return [found.span() for found in _TOKEN.finditer(text) if found[0][0] != '"']
