"""The parts of a table and how they are read: of a row the last part that speaks of it is right."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from curation.frames import in_order
from curation.runs import Frames, Run, as_run, look_in, no_rows, read_run, scan_run

Part = tuple[Run, Run]
"""A part's rows, and the keys of what it takes away."""


def parts_of(entry: Mapping[str, Any]) -> list[Part]:
    """The parts of a table, of which the last that speaks of a row is right."""
    return [(as_run(rows), as_run(gone)) for rows, gone in entry["parts"]]


def read_parts(frames: Frames, entry: Mapping[str, Any], columns: Sequence[str]) -> pl.DataFrame:
    """Plain columns in canonical order."""
    return pl.concat(frame for frame, _ in read_pieces(frames, entry, columns))


def scan_parts(frames: Frames, entry: Mapping[str, Any], columns: Sequence[str]) -> pl.LazyFrame:
    """Plain columns in no order, which takes half the time; only what is asked of them is read."""
    key, ((base, _), *later) = entry["key"], parts_of(entry)
    scan = scan_run(frames, base)
    if not later:
        return scan.select(columns)
    needed = list(dict.fromkeys([*columns, *key]))
    came, replaced = _resolved(frames, key, later, needed)
    stayed = _without(scan.select(needed), replaced)
    return pl.concat([stayed, came.lazy()]).select(columns)


def look_up_said(
    frames: Frames, entry: Mapping[str, Any], ids: pl.Series, columns: Sequence[str]
) -> pl.DataFrame:
    """What any part says of these ids, in no order: also rows that a later one replaced."""
    runs = [rows for rows, _ in parts_of(entry)]
    found = look_in(frames, runs, ids.unique().sort(), columns)
    return pl.concat([no_rows(frames, runs), *found], how="diagonal").select(columns)


def read_pieces(
    frames: Frames,
    entry: Mapping[str, Any],
    columns: Sequence[str],
) -> Iterator[tuple[pl.DataFrame, str | None]]:
    """A table in canonical order, few rows at a time, and the last id that may be in each piece.

    Pieces are slices of the first part, without what later ones replace or take away and with what
    they bring there. The last has no last id, nor has the one piece of a table without ids. With
    `where` (of plain columns) only the rows come that it is true of.
    """
    key, ((base, _), *later) = entry["key"], parts_of(entry)
    needed = list(dict.fromkeys([*columns, *(key if later else ())])) or entry["columns"][:1]
    pieces = _apart(base) if "id" in entry["columns"] else [base]
    if not later:
        for piece in pieces:
            yield read_run(frames, piece, needed), _last_id(piece, pieces)
        return
    came, replaced = _resolved(frames, key, later, needed)
    for piece in pieces:
        last = _last_id(piece, pieces)
        here, came = until(last, came)
        less, replaced = until(last, replaced)
        frame = read_run(frames, piece, needed)
        if not less.is_empty():
            frame = _without(frame.lazy(), less).collect()
        if not here.is_empty():
            both = pl.concat([frame, here])
            frame = both.sort("id", nulls_last=True) if key == ["id"] else in_order(both)
        yield frame, last


def _without(rows: pl.LazyFrame, keys: pl.DataFrame) -> pl.LazyFrame:
    """The rows in their order but those with these keys; of ids alone a join takes far longer."""
    if keys.columns == ["id"]:
        return rows.filter(~pl.col("id").is_in(keys["id"].implode(), nulls_equal=True))
    return rows.join(
        keys.lazy(), on=keys.columns, how="anti", nulls_equal=True, maintain_order="left"
    )


def _apart(run: Run) -> list[Run]:
    """The slices of a run, those together that share an id."""
    pieces: list[Run] = []
    for one in run:
        if pieces and pieces[-1][-1].last == one.first:
            pieces[-1] += (one,)
        else:
            pieces.append((one,))
    return pieces


def _last_id(piece: Run, pieces: Sequence[Run]) -> str | None:
    return None if piece is pieces[-1] else piece[-1].last


def _resolved(
    frames: Frames,
    key: Sequence[str],
    parts: Iterable[Part],
    columns: Sequence[str],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What later parts bring, and every key that they speak of, in canonical order."""
    came: list[pl.DataFrame] = []
    spoken: list[pl.DataFrame] = []
    for rows, gone in reversed([*parts]):
        frame = read_run(frames, rows, columns)
        later = pl.concat(spoken) if spoken else frame.select(key).clear()
        came.append(_without(frame.lazy(), later).collect())
        spoken += [frame.select(key), *([read_run(frames, gone)] if gone else [])]
    return in_order(pl.concat(came)), in_order(pl.concat(spoken).unique())


def until(last: str | None, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A frame in canonical order in two: up to an id, None for all of it, and what comes after."""
    at = frame.height if last is None else frame["id"].search_sorted(last, side="right")
    return frame[:at], frame[at:]


def touched_ids(frames: Frames, old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.Series | None:
    """Ids that the parts which two versions do not share speak of; None when that is everything."""
    parts = [parts_of(entry) for entry in (old, new)]
    shared = 0
    for one, other in zip(*parts, strict=False):
        if one != other:
            break
        shared += 1
    if not shared:
        return None
    runs = [run for side in parts for part in side[shared:] for run in part if run]
    ids = [read_run(frames, run, ["id"])["id"] for run in runs]
    return pl.concat(ids).unique() if ids else pl.Series("id", [], dtype=pl.String)
