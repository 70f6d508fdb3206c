"""JSON Lines: one object a line, each line on its own, so a broken line costs one record.

Lines are read as bytes with a cap, decoded strictly and parsed strictly: what cannot be told apart
from damage is reported with its line number and the rest goes on.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from curation.json_text import check_decoded, parse_json, printable
from curation.plugins import plugin
from curation.rows import digest
from curation.sources._base import Block, Record, SourceChanged
from curation.sources._files import source_files

_BOM = b"\xef\xbb\xbf"


BLOCK_BYTES = 1 << 20


@plugin()
def jsonl(*, path: Path, max_chars: int = 1_000_000) -> Callable[[], Iterator[Record]]:
    """Records of a `.jsonl` file, or of every such file in a folder by name.

    A line longer than `max_chars` bytes is refused without being read into memory. Positions are
    `seeds.jsonl:12`, lines counted from 1. What was appended, or delivered as a file that is last
    by name, is read without what stood there before.
    """
    return _Jsonl(path, max_chars)


@dataclass(frozen=True)
class _Jsonl:
    path: Path
    max_chars: int

    def __call__(self) -> Iterator[Record]:
        for block in self.blocks():
            yield from block.read()

    def blocks(self) -> Iterator[Block]:
        """Stretches of about a megabyte, cut at line ends."""
        for file, refused in source_files(self.path, "*.jsonl*"):
            if refused:
                record = Record(file.name, None, refused)
                yield Block(digest([file.name, refused]), file.name, 0, 0, partial(list, [record]))
                continue
            for name, start, end, first, last in _stretches(file):
                read = partial(_read_block, file, start, end, first, name, self.max_chars)
                yield Block(name, file.name, first, last, read)


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


def _stretches(file: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """(name, first byte, byte after the last, first line, last line) of the blocks of a file."""
    start, first = 0, 1
    with file.open("rb") as handle:
        while True:
            sha, length, lines = hashlib.sha256(f"{file.name}:{first}\n".encode()), 0, 0
            while chunk := handle.read(BLOCK_BYTES) if not length else handle.readline(BLOCK_BYTES):
                sha.update(chunk)
                length += len(chunk)
                lines += chunk.count(b"\n")
                if chunk.endswith(b"\n"):
                    break
            if not length:
                return
            last = first + lines - chunk.endswith(b"\n")
            yield sha.hexdigest()[:32], start, start + length, first, last
            start, first = start + length, first + lines


def _read_block(
    file: Path, start: int, end: int, first: int, name: str, max_chars: int
) -> Iterator[Record]:
    sha = hashlib.sha256(f"{file.name}:{first}\n".encode())
    with file.open("rb") as handle:
        handle.seek(start)
        for number, raw, whole in _capped_lines(handle, end, max_chars, sha.update):
            at = f"{file.name}:{first + number}"
            raw = raw.removeprefix(_BOM) if start == number == 0 else raw
            if not whole:
                text = raw[:2000].decode("utf-8", "backslashreplace")
                yield Record(at, None, f"longer than {max_chars:,} bytes", text)
            elif raw.strip():
                yield record_of(at, raw.strip(), max_chars)
    if sha.hexdigest()[:32] != name:
        raise SourceChanged(f"{str(file)!r} changed while it was read: run again")


def _capped_lines(
    file: IO[bytes], end: int, cap: int, seen: Callable[[bytes], None]
) -> Iterator[tuple[int, bytes, bool]]:
    """(lines before it, bytes, whether they are the whole line) up to the byte `end`.

    At most `cap` + 2 bytes of a line are given; `seen` is told all of them.
    """
    number, left = 0, end - file.tell()
    while left > 0 and (raw := file.readline(min(cap + 2, left))):
        seen(raw)
        left -= len(raw)
        whole = raw.endswith(b"\n") or len(raw) < cap + 2
        rest = raw
        while left > 0 and not whole and rest and not rest.endswith(b"\n"):
            rest = file.readline(min(BLOCK_BYTES, left))
            seen(rest)
            left -= len(rest)
        yield number, raw, whole
        number += 1


def _name(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
