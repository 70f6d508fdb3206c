"""CSV tables: one record a line of the table, keyed by its header.

Cells stay text. A line with another number of cells than the header, broken quoting or bytes of
another encoding costs that line; the rest goes on.
"""

import csv as table
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.json_text import check_characters, check_decoded, printable
from curation.plugins import plugin
from curation.sources._base import Record
from curation.sources._files import archive_reason


@plugin()
def csv(
    *,
    path: Path,
    delimiter: str = ",",
    encoding: str = "utf-8",
    unprefix: bool = False,
    max_chars: int = 1_000_000,
) -> Callable[[], Iterator[Record]]:
    """Records of a `.csv` file with a header line; positions are `rows.csv:12`, its first line.

    `encoding` may be `gb18030` for tables saved by Chinese office programs. `unprefix` removes the
    quote that `export_rows` puts before cells a spreadsheet would run as formulas. `max_chars` caps
    one cell. Raises `ValueError` for an unknown encoding or a delimiter of several characters.
    """
    if len(delimiter) != 1:
        raise ValueError(f"delimiter is one character, got {delimiter!r}")
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError(f"unknown encoding {encoding!r}; try 'utf-8' or 'gb18030'") from None
    name = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding

    def read() -> Iterator[Record]:
        if refused := archive_reason(path):
            yield Record(path.name, None, refused)
            return
        with path.open(encoding=name, errors="surrogateescape", newline="") as lines:
            yield from _read_table(lines, path.name, delimiter, max_chars, unprefix)

    return read


def _read_table(
    lines: Iterator[str], name: str, delimiter: str, max_chars: int, unprefix: bool
) -> Iterator[Record]:
    table.field_size_limit(max(max_chars, table.field_size_limit()))  # one limit for the process
    reader = table.reader(lines, delimiter=delimiter, strict=True)
    header, start = None, 1
    while True:
        try:
            cells = next(reader)
            if cells and header is None:
                header = _header(cells)
            elif cells and header is not None:
                yield Record(f"{name}:{start}", _record(header, cells, max_chars, unprefix))
        except StopIteration:
            return
        except (table.Error, ValueError) as error:
            through = f" (lines {start} to {reader.line_num})" if reader.line_num > start else ""
            yield Record(f"{name}:{start}", None, printable(f"{error}{through}"))
            if header is None:  # without names no cell means anything
                return
        start = reader.line_num + 1


def _header(cells: list[str]) -> list[str]:
    names = [check_decoded(c).strip() for c in cells]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"the header names {twice!r} twice")
    return names


def _record(header: list[str], cells: list[str], max_chars: int, unprefix: bool) -> dict[str, str]:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells, but the header has {len(header)}")
    for name, cell in zip(header, cells, strict=True):
        if len(cell) > max_chars:
            raise ValueError(f"cell {name!r} is longer than {max_chars:,} characters")
        check_characters(check_decoded(cell), cell)
    if unprefix:
        cells = [c[1:] if is_prefixed(c) else c for c in cells]
    return dict(zip(header, cells, strict=True))


FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")
"""A spreadsheet runs a cell that begins with one of these; some read full width as the same."""


def is_prefixed(cell: str) -> bool:
    """Whether a cell is a quote before what would run, or before another such quote."""
    return cell[:1] == "'" and cell.lstrip("'")[:1] in FORMULA_STARTS
