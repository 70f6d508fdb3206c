"""Answers as text for people: labels to the left, tables whose columns line up in any script."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Lines = Iterator[str]
UI = "http://127.0.0.1:3000"
"""Where `make ui` serves Dagster."""
_LABEL = 11


def field(label: str, value: Any) -> str:
    """One labelled line: `verdict    promoted`."""
    return f"{label:<{_LABEL}}{value}".rstrip()


def section(title: str, rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> Lines:
    """A title and aligned rows under it; nothing at all when there is no row."""
    cells = [["–" if c is None else str(c) for c in row] for row in rows]
    if cells:
        yield f"{title}:"
        yield from aligned(cells, right=right)


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Lines:
    """Rows indented by two; columns are as wide as a terminal shows them (Han takes two cells)."""
    n = max(len(row) for row in rows)
    widths = [max(shown_width(row[i]) for row in rows if i < len(row)) for i in range(n)]
    for row in rows:
        parts = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=False)):
            blank = " " * (width - shown_width(cell))
            parts.append(blank + cell if i in right else cell + blank)
        yield ("  " + "  ".join(parts)).rstrip()


def shown_width(text: str) -> int:
    """Cells of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def visible(text: str) -> str:
    """The text with each character that a terminal does not show, or obeys, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, chars: int = 80) -> str:
    """A text on one line, at most so long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= chars else flat[: chars - 1] + "…"


def counts(said: Mapping[str, int]) -> str:
    """`12 kept, 3 merged: exact`, most frequent first."""
    ordered = sorted(said.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n:,} {name}" for name, n in ordered) or "none"


def number(value: Any) -> str:
    """A measured number for people; a dash for none."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def yes(value: Any, word: str = "yes") -> str:
    """A word where something holds, else a dash."""
    return word if value else "–"
