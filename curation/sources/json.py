"""A JSON array of objects, read element by element, so that large files need little memory.

Elements are decoded one after the other from a window of text. A broken element is skipped up to
its closing bracket, so the ones after it are still read. For one object a line use `jsonl`.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.json_text import STRICT, printable
from curation.plugins import plugin
from curation.sources._base import Record
from curation.sources._files import source_files
from curation.sources.jsonl import record_of_text

_CHUNK = 1 << 20
_CUT = "the file ends inside this element"
# Possessive, so that a long string costs no memory for ways back that there are none of.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_MARK = re.compile(r'["\[\]{},]')
_IN_STRING = re.compile(r'\\.|"', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")


@plugin()
def json(*, path: Path, max_chars: int = 1_000_000) -> Callable[[], Iterator[Record]]:
    """Records of a `.json` file that holds one array, or of every such file in a folder by name.

    Positions are `rows.json[12]`, elements counted from 0 as in `jq '.[12]'`. An element longer
    than `max_chars` characters is refused.
    """

    def read() -> Iterator[Record]:
        for file, refused in source_files(path, "*.json"):
            if refused:
                yield Record(file.name, None, refused)
            else:
                yield from _read_file(file, max_chars)

    return read


def _read_file(file: Path, max_chars: int) -> Iterator[Record]:
    for index, text, error in _elements(_Window(file, max_chars), max_chars):
        position = f"{file.name}[{index}]"
        refused = Record(position, None, error, printable(text[:2000]))
        yield refused if error else record_of_text(position, text)


class _Window:
    """The not yet consumed text of a file, grown by chunks; undecodable bytes become surrogates."""

    def __init__(self, file: Path, max_chars: int):
        self.text, self.at, self.ended = "", 0, False
        self._chunks = self._decode(file)
        self._max_chars = max_chars

    def grow(self) -> bool:
        """Read one more chunk; False at the end of the file."""
        chunk = next(self._chunks, "")
        self.text, self.at = self.text[self.at :] + chunk, 0
        self.ended = not chunk
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is not space, now at `at`; "" at the end of the file."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.grow():
                return self.text[self.at : self.at + 1]

    @staticmethod
    def _decode(file: Path) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        with file.open("rb") as handle:
            while raw := handle.read(_CHUNK):
                if text := decoder.decode(raw):
                    yield text


def _elements(window: _Window, max_chars: int) -> Iterator[tuple[int, str, str]]:
    """(index, text, error) of each element of the array."""
    if (first := window.peek()) != "[":
        hint = "; one object a line is `use: jsonl`" if first == "{" else ""
        yield 0, window.text[:2000], f"the file does not hold a JSON array{hint}"
        return
    window.at += 1
    index = 0
    while (mark := window.peek()) not in ("]", ""):
        if mark == ",":
            window.at += 1
            continue
        text, error = _element(window, max_chars)
        yield index, text, error
        if error == _CUT:
            return
        index += 1
    if not mark:
        yield index, "", "the file ends before the array does"


def _element(window: _Window, max_chars: int) -> tuple[str, str]:
    """Text of the element that begins at the window's place, and what is wrong with its extent."""
    while True:
        end = _decoded_end(window.text, window.at)
        end = end if end >= 0 else _bracket_end(window.text, window.at)
        if end >= 0:
            text, window.at = window.text[window.at : end], end
            return text, "" if len(text) <= max_chars else f"longer than {max_chars:,} characters"
        if not window.grow():
            text, window.at = window.text[window.at :], len(window.text)
            return text, _CUT
        if len(window.text) > max_chars + _CHUNK:
            return _skip_element(window), f"longer than {max_chars:,} characters"


def _decoded_end(text: str, at: int) -> int:
    """Where a valid element ends, if a comma or bracket after it shows that it does; else -1."""
    try:
        end = STRICT.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return -1
    end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    return end if text[end : end + 1] in (",", "]") and end < len(text) else -1


def _bracket_end(text: str, at: int) -> int:
    """Where an element ends by its brackets alone, valid or not; -1 when that is not in `text`."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        mark = token.group()
        if mark == '"':  # a string that does not end in this window
            return -1
        if depth == 0 and mark in (",", "]"):
            return token.start()
        depth += (mark in "[{") - (mark in "]}") if len(mark) == 1 else 0
        if depth <= 0 and mark in ("]", "}"):
            return token.end()
    return -1


def _skip_element(window: _Window) -> str:
    """Pass over an element too long to keep, chunk by chunk; returns its beginning."""
    start, depth, inside, place = window.text[window.at :][:2000], 0, False, window.at
    while True:
        token = (_IN_STRING if inside else _MARK).search(window.text, place)
        if token is None:
            half_escape = inside and window.text[place:].endswith("\\")
            window.at = len(window.text) - half_escape
            if not window.grow():
                return start
            place = window.at
            continue
        mark, place = token.group(), token.end()
        inside ^= mark == '"'
        depth += (mark in ("[", "{")) - (mark in ("]", "}"))
        if depth <= 0 and mark in ("]", "}", ","):
            window.at = token.start() if depth < 0 or mark == "," else token.end()
            return start
