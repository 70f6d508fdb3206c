"""Rows as files that other tools train on, written whole or not at all.

A row that leaves in the form it came in is the record that was delivered, key for key; in another
form its whole conversation is there. JSON answers stay text.
"""

import csv
import io
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, cast

import polars as pl

from curation.disk import Disk, save_over
from curation.formats import Form, write_record
from curation.rows import canonical_json
from curation.sources.csv import FORMULA_STARTS, is_prefixed

CSV_COLUMNS = (
    *("id", "source", "track", "category"),
    *("system", "prompt", "answer", "messages", "tools"),
)
_MARK = ".winnow-"
_STAGED = re.compile(re.escape(_MARK) + "[0-9a-f]{32}")
_DEAD_S = 3600.0


def export_rows(
    rows: pl.DataFrame,
    to: Path,
    *,
    form: Literal["alpaca", "sharegpt", "messages", "csv", "parquet"],
    disk: Disk | None = None,
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
    data = writers[form](rows) if form in writers else _write_json(rows, to, cast(Form, form))
    write_whole(to, data, disk=disk)
    return len(rows)


def _write_json(rows: pl.DataFrame, to: Path, form: Form) -> bytes:
    lines = (canonical_json(record) for record in _records(rows, form))
    if to.suffix == ".json":
        text = "[\n" + ",\n".join(lines) + "\n]\n"
    else:
        text = "".join(f"{line}\n" for line in lines)
    return text.encode()


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


def _write_csv(rows: pl.DataFrame) -> bytes:
    buffer = io.StringIO(newline="")
    # Every cell is quoted: where the list separator is a semicolon, none may begin inside another.
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(CSV_COLUMNS)
    for row in rows.iter_rows(named=True):
        writer.writerow([safe_cell(cell) for cell in _csv_cells(row)])
    return buffer.getvalue().encode()


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


def _write_parquet(rows: pl.DataFrame) -> bytes:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    message = pyarrow.struct([("role", text), ("content", text), ("tool_calls", text)])
    kinds = {pl.String: text, pl.Int64: pyarrow.int64()}
    schema = pyarrow.schema(
        [(n, kinds.get(type(t), pyarrow.list_(message))) for n, t in rows.schema.items()]
    )
    table = pyarrow.Table.from_pylist(rows.to_dicts(), schema=schema)
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def write_whole(to: Path, data: str | bytes, *, disk: Disk | None = None) -> None:
    """Write a file that appears complete or not at all; folders are made as needed.

    An export that is killed leaves a file `.winnow-…` in the folder, which the next export to that
    folder removes when it is an hour old.
    """
    disk, to = disk or Disk(), to.absolute()
    disk.make_folder(to.parent)
    _clear_dead(disk, to.parent)
    data = data.encode() if isinstance(data, str) else data
    save_over(disk, to, data, staging=to.parent, mark=_MARK)


def _clear_dead(disk: Disk, folder: Path) -> None:
    """Remove what exports that were killed left in a folder; one that lives takes seconds."""
    now = time.time()
    for path in folder.glob(f"{_MARK}*"):
        with suppress(FileNotFoundError, PermissionError):  # gone this moment; another user's
            said = path.lstat()
            ours = S_ISREG(said.st_mode) and _STAGED.fullmatch(path.name)
            if ours and now - said.st_mtime > _DEAD_S:
                disk.remove(path)
