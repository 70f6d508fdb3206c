"""Parquet tables, read a few rows at a time, so that a small file cannot unfold into gigabytes.

Dictionaries, run lengths and compression let 2 KB hold gigabytes of text. What the pages of a row
group unfold into is compared with the bytes of the file before any of it is decoded; then a cell is
at most as large as its row group, and that bound sets how many rows are decoded at once.
"""

import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from curation.plugins import plugin
from curation.rows import canonical_json
from curation.sources._base import Record
from curation.sources._files import source_files
from curation.sources._parquet_pages import unfolded_bytes

_BATCH_BYTES = 256 << 20
_MAX_BATCH = 64
_MEMORY_BYTES = 32 << 20  # of Arrow cells that may stand beside their Python copies
# Text compresses 3 to 30 times, repeated rows a little further; a bomb does 1,000 times and more.
_MOST_UNFOLDED, _SMALL_BYTES = 200, 4 << 20
_SMALL_ROWS = 100_000  # more rows than this and than the file has bytes are no rows of text


@plugin()
def parquet(
    *,
    path: Path,
    max_chars: int = 1_000_000,
    max_group_mb: int = 2048,
    max_file_rows: int = 20_000_000,
) -> Callable[[], Iterator[Record]]:
    """Records of a `.parquet` file, or of every such file in a folder by name.

    A record longer than `max_chars` as JSON, a row group larger than `max_group_mb` or 200 times
    its file, and a file of more than `max_file_rows` rows or of more rows than bytes are refused.
    Dates become ISO text, NaN becomes null, bytes are refused. Positions are `rows.parquet:12`,
    rows counted from 1.
    """

    def read() -> Iterator[Record]:
        for file, refused in source_files(path, "*.parquet"):
            if refused:
                yield Record(file.name, None, refused)
            else:
                yield from _read_file(file, max_chars, max_group_mb, max_file_rows)

    return read


def _read_file(file: Path, max_chars: int, max_group_mb: int, max_rows: int) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    done = 0
    try:
        table = pyarrow.parquet.ParquetFile(file, memory_map=False)
        size = file.stat().st_size
        if reason := _rows_refusal(table.metadata.num_rows, size, max_rows):
            yield Record(f"{file.name}:1", None, reason)
            return
        for group, held in zip(
            range(table.metadata.num_row_groups), unfolded_bytes(file), strict=True
        ):
            n_rows = table.metadata.row_group(group).num_rows
            n_bytes = max(held, table.metadata.row_group(group).total_byte_size)
            if reason := _group_refusal(group, n_bytes, size, max_group_mb):
                yield Record(f"{file.name}:{done + 1}", None, f"{reason}; {n_rows:,} rows skipped")
            else:
                batches = table.iter_batches(_batch_rows(n_bytes), row_groups=[group])
                yield from islice(_read_batches(batches, file.name, done, max_chars), n_rows)
            done += n_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        yield Record(f"{file.name}:{done + 1}", None, f"broken Parquet: {reason}")


def _rows_refusal(n_rows: int, size: int, max_rows: int) -> str:
    if n_rows > max_rows:
        return f"the file has {n_rows:,} rows, more than {max_rows:,}"
    few = n_rows <= max(size, _SMALL_ROWS)
    return "" if few else f"the file has {n_rows:,} rows in {size:,} bytes: not rows of text"


def _group_refusal(group: int, n_bytes: int, size: int, max_mb: int) -> str:
    if n_bytes > max_mb << 20:
        return f"row group {group} holds {n_bytes >> 20:,} MB, more than {max_mb:,}"
    if n_bytes > max(_SMALL_BYTES, size * _MOST_UNFOLDED):
        return f"row group {group} unfolds {size:,} bytes into {n_bytes >> 20:,} MB"
    return ""


def _batch_rows(n_bytes: int) -> int:
    """Rows of a group of `n_bytes` to decode at once, if one value as large as the group repeats.

    Only the group's own size is asked for: reading the metadata of a damaged column chunk ends the
    process in pyarrow 26 instead of raising.
    """
    return max(1, min(_MAX_BATCH, _BATCH_BYTES // max(n_bytes, 1)))


def _read_batches(batches: Any, name: str, done: int, max_chars: int) -> Iterator[Record]:
    for batch in batches:
        for one in _singles(batch):
            done += 1
            yield _record(f"{name}:{done}", one, max_chars)


def _singles(batch: Any) -> Iterator[Callable[[], dict[str, Any]]]:
    """A function for each row that gives its cells; large or undecodable batches go row by row."""
    try:
        rows = batch.to_pylist() if batch.nbytes <= _MEMORY_BYTES else []
    except UnicodeDecodeError:
        rows = []
    for i in range(batch.num_rows):
        yield (lambda i=i: rows[i]) if rows else (lambda i=i: batch.slice(i, 1).to_pylist()[0])


def _record(position: str, read: Callable[[], dict[str, Any]], max_chars: int) -> Record:
    try:
        data = {name: _plain(value, name, max_chars) for name, value in read().items()}
        text = canonical_json(data)
    except ValueError as error:  # undecodable text too
        return Record(position, None, str(error))
    if len(text) > max_chars:
        return Record(position, None, f"longer than {max_chars:,} characters", text[:2000])
    return Record(position, data)


def _plain(value: Any, name: str, max_chars: int) -> Any:
    """A decoded cell as what JSON can hold; text is measured before it is copied anywhere."""
    if isinstance(value, str) and len(value) > max_chars:
        raise ValueError(f"cell {name!r} is longer than {max_chars:,} characters")
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v, name, max_chars) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, name, max_chars) for v in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise ValueError(f"column {name!r} holds {type(value).__name__}, not text")
