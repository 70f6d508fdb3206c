"""Plain text: manuals, tickets, transcripts, for the base model to read before it is fine-tuned.

A file is one text, or as many as there are stretches between blank lines. What is broken costs the
text that it stands in: a stretch that is not of the encoding is refused, and the next one goes on.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Literal

from curation.plugins import plugin
from curation.sources._base import Record
from curation.sources._files import source_files
from curation.sources.jsonl import jsonl

KINDS = (".txt", ".md", ".jsonl")


@plugin()
def text(
    *,
    path: Path,
    glob: str = "**/*",
    parts: Literal["file", "paragraph"] = "file",
    field: str = "text",
    encoding: str = "utf-8",
    max_chars: int = 10_000_000,
) -> Callable[[], Iterator[Record]]:
    """Texts of a file, or of the files of a folder that `glob` matches, by name.

    Of a `.txt` or `.md` file the whole is one text, or each stretch between blank lines is; a page
    break counts as a blank line. Of a `.jsonl` file each line is one, under the key `field`, in
    UTF-8. Positions are `manuals/brakes.md:12`, the line that a text begins at. One longer than
    `max_chars` bytes is refused without being read into memory. Raises `ValueError` for an encoding
    that is unknown or, like UTF-16, has line ends of its own.
    """
    try:
        plain = "\n".encode(encoding) == b"\n"
    except LookupError:
        plain = False
    if not plain:
        raise ValueError(f"encoding {encoding!r} cannot be read; try 'utf-8' or 'gb18030'")

    def read() -> Iterator[Record]:
        for file, refused in source_files(path, glob):
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            if refused and file.is_dir():
                continue
            kind = "" if file.suffix.lower() in KINDS else f"no file of {', '.join(KINDS)}"
            if refused or kind:
                yield Record(name, None, refused or kind)
            elif file.suffix.lower() == ".jsonl":
                yield from _read_lines(file, name, field, max_chars)
            else:
                yield from _read_file(file, name, parts, encoding, max_chars)

    return read


def _read_lines(file: Path, name: str, field: str, max_chars: int) -> Iterator[Record]:
    """What the source `jsonl` reads of a file, with the text under one key."""
    for record in jsonl(path=file, max_chars=max_chars)():
        position = name + record.position.removeprefix(file.name)
        if record.data is None:
            yield Record(position, None, record.error, record.raw)
        elif field not in record.data:
            keys = ", ".join(map(str, record.data))
            yield Record(position, None, f"no field {field!r}, only {keys}"[:200])
        else:
            yield Record(position, {"text": record.data[field]})


def _read_file(
    file: Path, name: str, parts: str, encoding: str, max_chars: int
) -> Iterator[Record]:
    with file.open("rb") as lines:
        for first, raw in _stretches(lines, parts == "paragraph", max_chars):
            yield _record(f"{name}:{first}", raw, encoding, max_chars)


def _stretches(lines: IO[bytes], by_blank: bool, max_chars: int) -> Iterator[tuple[int, bytes]]:
    """(first line, bytes) of each text of a file, at most a byte more than `max_chars` of it.

    A file of nothing is one empty text, so that it is accounted for.
    """
    held, first, found = bytearray(), 1, False
    for number, line in _lines(lines, max_chars):
        if by_blank and not line.strip():
            if held:
                yield first, bytes(held)
                held, found = bytearray(), True
            continue
        first = number if by_blank and not held else first
        held += line[: max_chars + 1 - len(held)]
    if held or not found:
        yield first, bytes(held)


def _lines(lines: IO[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their number, a long one in pieces; where a page breaks there is an empty one."""
    number = 1
    for piece in iter(partial(lines.readline, most), b""):
        for part in piece.replace(b"\f", b"\n\n").splitlines(keepends=True):
            yield number, part
        number += piece.endswith(b"\n")


def _record(position: str, raw: bytes, encoding: str, max_chars: int) -> Record:
    """The record of one text, or the reason it is none."""
    shown = raw[:2000].decode(encoding, "backslashreplace")
    if len(raw) > max_chars:
        return Record(position, None, f"longer than {max_chars:,} bytes", shown)
    try:
        return Record(position, {"text": raw.decode(encoding).strip()})
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        reason = f"not {encoding}: byte 0x{raw[error.start]:02x} in line {line} of the text"
        return Record(position, None, reason, shown)
