"""The records in the body of a post: a JSON object, a JSON array or JSON Lines.

A broken line costs itself, a broken element of an array too; what is told of each begins with its
place, `post:3` for the third line and `post[2]` for the third element.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from curation.ingest import raw_text
from curation.json_text import check_decoded, parse_json
from curation.plugins import find_plugin
from curation.sources._base import Record
from curation.sources.jsonl import record_of

MAX_LINES = 10_000
MAX_CHARS = 1_000_000
"""The longest line or element, in characters."""
_BOM = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS


class TooLarge(ValueError):
    """More than may be sent at once."""


def read_body(body: bytes) -> list[tuple[str, Record]]:
    """(position, record) of each record of a body.

    Raises `TooLarge` for more than 10,000 of them.
    """
    body = body.removeprefix(_BOM).strip()
    records = _elements(body) if body.startswith(b"[") else _lines(body)
    found = []
    for record in records:
        if len(found) == MAX_LINES:
            raise TooLarge(f"more than {MAX_LINES:,} lines: send them in several posts")
        found.append((record.position, record))
    return found


def gunzip(packed: bytes, *, max_bytes: int) -> bytes:
    """The bytes of a gzip stream of one member, as each gzip writes it.

    Raises `TooLarge` as soon as it unfolds into more than `max_bytes`, `ValueError` when broken.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        whole = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error:
        raise ValueError("the body is no gzip") from None
    if len(whole) > max_bytes:
        raise TooLarge(f"unfolds into more than {max_bytes:,} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the gzip ends too early, or something follows it")
    return whole


def _lines(body: bytes) -> Iterator[Record]:
    whole = _object(body)
    if whole is not None:
        yield whole
        return
    start, number = 0, 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        number += 1
        if line := body[start:end].strip():
            yield record_of(f"post:{number}", line, MAX_CHARS)
        start = end + 1


def _object(body: bytes) -> Record | None:
    """The one object that a body is, also where it is written in several lines."""
    if not body.startswith(b"{") or len(body) > MAX_CHARS:
        return None
    record = record_of("post:1", body, MAX_CHARS)
    return record if record.data is not None else None


def _elements(body: bytes) -> Iterator[Record]:
    """Of an array in which something is broken the elements are told apart by the source `json`."""
    try:
        every = parse_json(check_decoded(body.decode("utf-8", "surrogateescape")))
    except ValueError:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "post"
            path.write_bytes(body)
            yield from find_plugin("curation.sources", "json")(path=path, max_chars=MAX_CHARS)()
        return
    for number, one in enumerate(every):
        error = "" if isinstance(one, dict) else "not a JSON object"
        raw = raw_text(one) if error else ""
        yield Record(f"post[{number}]", None if error else one, error, raw)
