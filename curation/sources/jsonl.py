"""JSON Lines: one object a line, each line on its own, so a broken line costs one record.

Lines are read as bytes with a cap, decoded strictly and parsed strictly: what cannot be told apart
from damage is reported with its line number and the rest goes on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from curation.json_text import check_decoded, parse_json, printable
from curation.plugins import plugin
from curation.sources._base import Record
from curation.sources._files import source_files

_BOM = b"\xef\xbb\xbf"


@plugin()
def jsonl(*, path: Path, max_chars: int = 1_000_000) -> Callable[[], Iterator[Record]]:
    """Records of a `.jsonl` file, or of every such file in a folder by name.

    A line longer than `max_chars` bytes is refused without being read into memory. Positions are
    `seeds.jsonl:12`, lines counted from 1.
    """

    def read() -> Iterator[Record]:
        for file, refused in source_files(path, "*.jsonl*"):
            if refused:
                yield Record(file.name, None, refused)
            else:
                yield from _read_file(file, max_chars)

    return read


def record_of(position: str, raw: bytes, max_chars: int) -> Record:
    """The record of one line of bytes, or the reason it holds none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}"
        return Record(position, None, reason, raw[:2000].decode("utf-8", "backslashreplace"))
    if len(raw) > max_chars:
        return Record(position, None, f"longer than {max_chars:,} bytes", text[:2000])
    return record_of_text(position, text)


def record_of_text(position: str, text: str) -> Record:
    """The record of one JSON text, or the reason it holds none."""
    try:
        value = parse_json(check_decoded(text))
    except ValueError as error:
        return Record(position, None, str(error), printable(text[:2000]))
    if not isinstance(value, dict):
        return Record(position, None, f"a {_name(value)}, not an object", printable(text[:2000]))
    return Record(position, value)


def _read_file(file: Path, max_chars: int) -> Iterator[Record]:
    with file.open("rb") as lines:
        for number, raw, whole in _capped_lines(lines, max_chars):
            raw = raw.removeprefix(_BOM) if number == 1 else raw
            if not whole:
                start = raw[:2000].decode("utf-8", "backslashreplace")
                reason = f"longer than {max_chars:,} bytes"
                yield Record(f"{file.name}:{number}", None, reason, start)
            elif raw.strip():
                yield record_of(f"{file.name}:{number}", raw.strip(), max_chars)


def _capped_lines(file: IO[bytes], cap: int) -> Iterator[tuple[int, bytes, bool]]:
    """(line number, bytes, whether they are the whole line); at most `cap` + 2 bytes a line."""
    number = 0
    while raw := file.readline(cap + 2):
        number += 1
        whole = raw.endswith(b"\n") or len(raw) < cap + 2
        rest = raw
        while not whole and rest and not rest.endswith(b"\n"):
            rest = file.readline(1 << 20)
        yield number, raw, whole


def _name(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
