"""Parquet tables, read a few rows at a time, so that a small file cannot unfold into gigabytes.

Dictionary and run-length encoding let 18 KB hold 3 GB of text. The metadata bounds the largest cell
of a row group, and that bound sets how many rows are decoded at once.
"""

import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from curation.plugins import plugin
from curation.rows import canonical_json
from curation.sources._base import Record

_BATCH_BYTES = 64 << 20
_MAX_BATCH = 1024


@plugin()
def parquet(
    *,
    path: Path,
    max_chars: int = 1_000_000,
    max_group_mb: int = 2048,
    max_file_rows: int = 20_000_000,
) -> Callable[[], Iterator[Record]]:
    """Records of a `.parquet` file, or of every such file in a folder by name.

    A record longer than `max_chars` as JSON, a row group larger than `max_group_mb` and a file of
    more than `max_file_rows` rows are refused. Dates become ISO text, NaN becomes null, bytes are
    refused. Positions are `rows.parquet:12`, rows counted from 1.
    """

    def read() -> Iterator[Record]:
        for file in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
            yield from _read_file(file, max_chars, max_group_mb, max_file_rows)

    return read


def _read_file(file: Path, max_chars: int, max_group_mb: int, max_rows: int) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    done = 0
    try:
        table = pyarrow.parquet.ParquetFile(file, memory_map=False)
        if table.metadata.num_rows > max_rows:
            reason = f"the file has {table.metadata.num_rows:,} rows, more than {max_rows:,}"
            yield Record(f"{file.name}:1", None, reason)
            return
        for group in range(table.metadata.num_row_groups):
            n_rows = table.metadata.row_group(group).num_rows
            batch_rows, megabytes = _batch_rows(table.metadata.row_group(group))
            if megabytes > max_group_mb:
                reason = f"row group {group} holds {megabytes:,} MB, more than {max_group_mb:,}"
                yield Record(f"{file.name}:{done + 1}", None, f"{reason}; {n_rows:,} rows skipped")
            else:
                batches = table.iter_batches(batch_rows, row_groups=[group])
                yield from _read_batches(batches, file.name, done, max_chars)
            done += n_rows
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        yield Record(f"{file.name}:{done + 1}", None, f"broken Parquet: {reason}")


def _batch_rows(group: Any) -> tuple[int, int]:
    """Rows to decode at once, and the group's size in MB before compression.

    A dictionary-encoded chunk may repeat one value as large as the chunk in every row; other chunks
    unfold to about their own size.
    """
    worst = 1.0
    for i in range(group.num_columns):
        chunk = group.column(i)
        repeats = any("DICTIONARY" in e for e in chunk.encodings)
        worst += chunk.total_uncompressed_size / (1 if repeats else max(group.num_rows, 1))
    return max(1, min(_MAX_BATCH, int(_BATCH_BYTES // worst))), group.total_byte_size >> 20


def _read_batches(batches: Any, name: str, done: int, max_chars: int) -> Iterator[Record]:
    for batch in batches:
        width = batch.nbytes / max(batch.num_rows, 1)
        step = max(1, min(batch.num_rows, int(_BATCH_BYTES // max(width, 1))))
        for start in range(0, batch.num_rows, step):
            for row in batch.slice(start, step).to_pylist():
                done += 1
                yield _record(f"{name}:{done}", row, max_chars)


def _record(position: str, row: dict[str, Any], max_chars: int) -> Record:
    try:
        data = {name: _plain(value, name, max_chars) for name, value in row.items()}
        text = canonical_json(data)
    except ValueError as error:
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
