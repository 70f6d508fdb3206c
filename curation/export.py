"""Rows as files that other tools train on, written whole or not at all.

A row that leaves in the form it came in is the record that was delivered, key for key; in another
form its whole conversation is there. JSON answers stay text.
"""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl

from curation.formats import Form, write_record
from curation.rows import canonical_json
from curation.sources.csv import FORMULA_STARTS, is_prefixed

CSV_COLUMNS = (
    *("id", "source", "track", "category"),
    *("system", "prompt", "answer", "messages", "tools"),
)


def export_rows(
    rows: pl.DataFrame,
    to: Path,
    *,
    form: Literal["alpaca", "sharegpt", "messages", "csv", "parquet"],
) -> int:
    """Write rows to the file `to` and return how many; the file appears complete or not at all.

    `alpaca`, `sharegpt` and `messages` are JSON lines, or one array when the name ends in `.json`.
    `csv` has one question and answer a line (longer conversations as JSON in `messages`), with a
    quote before cells that a spreadsheet would run; the csv source takes it off with `unprefix`.
    `parquet` holds all columns of a row as plain Arrow strings. Raises `ValueError` before anything
    is written when a row has no place in the form, with how many do not.
    """
    if to.is_dir():
        raise ValueError(f"{str(to)!r} is a folder; name a file in it")
    writers = {"csv": _write_csv, "parquet": _write_parquet}
    write = writers[form](rows) if form in writers else _write_json(rows, to, cast(Form, form))
    _write_whole(to, write)
    return len(rows)


def _write_json(rows: pl.DataFrame, to: Path, form: Form) -> Callable[[Path], None]:
    lines = (canonical_json(record) for record in _records(rows, form))
    if to.suffix == ".json":
        text = "[\n" + ",\n".join(lines) + "\n]\n"
    else:
        text = "".join(f"{line}\n" for line in lines)
    return lambda path: _write_text(path, text)


def _records(rows: pl.DataFrame, form: Form) -> list[dict[str, Any]]:
    records, refused = [], []
    for row in rows.select("id", "messages", "tools", "meta").iter_rows(named=True):
        try:
            records.append(write_record(row, form=form))
        except ValueError as error:
            refused.append((row["id"], error))
    if refused:
        where, why = refused[0]
        raise ValueError(f"{len(refused):,} of {len(rows):,} rows do not fit, first {where}: {why}")
    return records


def _write_csv(rows: pl.DataFrame) -> Callable[[Path], None]:
    buffer = io.StringIO(newline="")
    # Every cell is quoted: where the list separator is a semicolon, none may begin inside another.
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(CSV_COLUMNS)
    for row in rows.iter_rows(named=True):
        writer.writerow([safe_cell(cell) for cell in _csv_cells(row)])
    return lambda path: _write_text(path, buffer.getvalue())


def _csv_cells(row: dict[str, Any]) -> Iterable[str]:
    turns = row["messages"]
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    rest = turns[1:] if system else turns
    prompt = next((t["content"] for t in reversed(turns) if t["role"] == "user"), "")
    simple = len(rest) == 2 and not rest[1]["tool_calls"] and not row["tools"]
    record = {} if simple else write_record({**row, "meta": {}}, form="messages")
    whole = [canonical_json(record[k]) if k in record else "" for k in ("messages", "tools")]
    labels = [row[k] for k in ("id", "source", "track", "category")]
    return [*labels, system, prompt, turns[-1]["content"], *whole]


def safe_cell(cell: str) -> str:
    """The cell with a quote before it when a spreadsheet would run it as a formula."""
    return f"'{cell}" if cell[:1] in FORMULA_STARTS or is_prefixed(cell) else cell


def _write_parquet(rows: pl.DataFrame) -> Callable[[Path], None]:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    message = pyarrow.struct([("role", text), ("content", text), ("tool_calls", text)])
    kinds = {pl.String: text, pl.Int64: pyarrow.int64()}
    schema = pyarrow.schema(
        [(n, kinds.get(type(t), pyarrow.list_(message))) for n, t in rows.schema.items()]
    )
    table = pyarrow.Table.from_pylist(rows.to_dicts(), schema=schema)
    return lambda path: pyarrow.parquet.write_table(table, path, compression="zstd")


def write_whole(to: Path, text: str) -> None:
    """Write text to a file that appears complete or not at all; folders are made as needed."""
    _write_whole(to, lambda path: _write_text(path, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _write_whole(to: Path, write: Callable[[Path], None]) -> None:
    """Write beside `to`, flush to disk, then take the name; a crash leaves the old file."""
    to.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    try:
        write(Path(name))
        os.fsync(handle)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, to)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
    _fsync_folder(to.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
