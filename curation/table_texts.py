"""Texts of rows, which lie apart: once for all tables that hold the row, whose id names them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from curation.blobs import Corrupt
from curation.frames import ROW_GROUP, TEXT
from curation.rows import ROW_SCHEMA
from curation.runs import (
    RUN,
    SLICE,
    Frames,
    Run,
    as_run,
    look_in,
    no_rows,
    put_run,
    read_run,
    rows_in,
)
from curation.text_index import index_texts

MAX_TEXTS = 12
"""More small runs of texts of one table than this are drawn together, so that few are opened. A
table that is made from others waits for these to do it, up to twice as many."""
LEAST_SHARE = 8
"""A table with fewer than one in so many of a run's texts has a copy of its own, quick to read."""
_FEW = 65_536
"""So many texts are looked up; more are read with the rest."""


class Known(NamedTuple):
    """Runs that may hold texts of a table, and whether some are those of tables it is made from."""

    runs: frozenset[Run] = frozenset()
    handed_on: bool = False

    def with_runs(self, runs: Iterable[Run]) -> "Known":
        return self._replace(runs=self.runs.union(runs))


NO_TEXTS = Known()


def text_columns(entry: Mapping[str, Any]) -> list[str]:
    has_id = "id" in entry["columns"]
    return [c for c in entry["columns"] if has_id and c in TEXT]


def texts_of(entry: Mapping[str, Any]) -> list[Run]:
    """The runs that together hold the texts of a table."""
    return [as_run(run) for run in entry["texts"]]


def put_text_run(frames: Frames, texts: pl.DataFrame) -> Run:
    """Write texts (`id`, `messages` and perhaps `tools`) with what it takes to search them."""
    return put_run(frames, "texts", texts, index_texts if "messages" in texts.columns else None)


def put_texts(
    frames: Frames,
    frame: pl.DataFrame,
    columns: Sequence[str],
    own: Sequence[Run],
    known: Known,
) -> list[Run]:
    """Runs that together hold the texts of `own` and of a frame's rows: known ones and a new one.

    Raises `Corrupt` when the frame lacks texts that are in none of them.
    """
    used, every = list(own), {*own, *known.runs}
    if not columns:
        return used
    if len(_small(used)) >= MAX_TEXTS:
        alike = (r for r in every.difference(used) if _has_columns(frames, r, columns))
        used = _drawn_together(frames, used, alike)
    missing = frame["id"].unique().sort()
    for run in sorted(every, key=lambda run: (rows_in(run), run)):  # what came last is small
        there = _ids_in(frames, run, missing, columns)
        if run not in used and (there.is_empty() or len(there) * LEAST_SHARE < rows_in(run)):
            continue
        used += [run] if run not in used else []
        missing = missing.filter(pl.repeat(True, len(missing), eager=True).scatter(there, False))
    if not missing.is_empty():
        used.append(put_text_run(frames, _texts(frames, frame, columns, missing, every)))
    used = used or [put_text_run(frames, _no_texts(frame, columns))]  # to know its types by
    return _merge_small(frames, used, MAX_TEXTS * (2 if known.handed_on else 1))


def with_texts(
    frames: Frames, entry: Mapping[str, Any], frame: pl.DataFrame, wanted: Sequence[str]
) -> pl.DataFrame:
    """The frame with its texts joined by id, columns as `wanted`."""
    columns = [c for c in text_columns(entry) if c in wanted]
    runs, ids = texts_of(entry), frame["id"].unique().sort()
    known = [no_rows(frames, runs).select("id", *columns)]
    small = [run for run in runs if rows_in(run) <= ROW_GROUP]  # few asked for are often in these
    for some in (small, [run for run in runs if run not in small]):
        found = _read(frames, some, ids, ["id", *columns])
        ids = ids.filter(
            ~ids.is_in(pl.concat([ids.clear(), *(part["id"] for part in found)]).implode())
        )
        known += found
    if not ids.is_empty():
        raise Corrupt(f"the texts of {len(ids):,} rows are missing, such as of {ids[0]}")
    texts = pl.concat(known).unique("id", keep="any")
    joined = frame.join(texts, on="id", how="left", maintain_order="left")
    return joined.select([c for c in wanted if c in joined.columns])


def _read(
    frames: Frames, runs: Sequence[Run], ids: pl.Series, columns: Sequence[str]
) -> list[pl.DataFrame]:
    if len(ids) < _FEW:
        return [found.drop(RUN) for found in look_in(frames, runs, ids, columns)]
    return [read_run(frames, run, columns) for run in runs]


def _ids_in(frames: Frames, run: Run, ids: pl.Series, columns: Sequence[str]) -> pl.Series:
    """The places of those ids (sorted) whose texts, these columns of them, are in a run.

    Where many are asked for all ids of the run are looked up among them: of a large source there
    are many runs, and a table of the ids for each of them would cost the square.
    """
    none = pl.Series([], dtype=pl.UInt32)
    if ids.is_empty() or not _has_columns(frames, run, columns):
        return none
    if len(ids) * LEAST_SHARE < rows_in(run):
        found = look_in(frames, [run], ids, ["id"])
        there = pl.concat([ids.clear(), *(some["id"] for some in found)])
    else:
        there = read_run(frames, run, ["id"])["id"]
    places = ids.search_sorted(there).clip(upper_bound=len(ids) - 1)
    return places.filter(ids.gather(places) == there)


def _has_columns(frames: Frames, run: Run, columns: Sequence[str]) -> bool:
    """Whether a run holds these columns of texts and no others."""
    return no_rows(frames, [run]).columns == ["id", *columns]


def _texts(
    frames: Frames,
    frame: pl.DataFrame,
    columns: Sequence[str],
    ids: pl.Series,
    known: Collection[Run],
) -> pl.DataFrame:
    """The texts of these ids: from the frame, or else from where they are known to be."""
    if set(columns) <= {*frame.columns}:
        texts = frame.select("id", *columns)
        if len(ids) == texts.height:
            return texts
        return texts.join(ids.to_frame("id"), on="id", how="semi").unique("id", keep="any")
    runs = [run for run in known if len(_ids_in(frames, run, ids, columns))]
    found = [part.drop(RUN) for part in look_in(frames, runs, ids)]
    texts = pl.concat(found).unique("id", keep="any") if found else None
    if texts is None or texts.height < len(ids):
        lost = ids if texts is None else ids.filter(~ids.is_in(texts["id"].implode()))
        raise Corrupt(f"the {columns[0]} of row {lost[0]} are nowhere in the store")
    return texts


def _small(runs: Iterable[Run]) -> list[Run]:
    """Those of less than a slice, the largest first."""
    return sorted((run for run in runs if rows_in(run) < SLICE), key=lambda r: (-rows_in(r), r))


def _drawn_together(frames: Frames, runs: Sequence[Run], others: Iterable[Run]) -> list[Run]:
    """The runs with one of the others in place of small ones whose texts it holds, as far as any.

    Most of what it holds must be theirs.
    """
    left = list(runs)
    for other in _small(others):
        within = [run for run in _small(left) if rows_in(run) < rows_in(other)]
        if sum(map(rows_in, within)) * 2 < rows_in(other):
            continue
        ids = read_run(frames, other, ["id"])["id"].implode()
        held = [run for run in within if read_run(frames, run, ["id"])["id"].is_in(ids).all()]
        if sum(map(rows_in, held)) * 2 >= rows_in(other):
            left = [other, *(run for run in left if run not in held)]
    return left


def _merge_small(frames: Frames, runs: Sequence[Run], most: int) -> list[Run]:
    """The runs with a slice or more as they are, and no more than so many that have less.

    Of the small ones stay those that are each larger than all smaller ones together; these become
    one. So a text is written anew only as often as what it lies with has doubled, up to a slice.
    """
    small = _small(runs)
    if len(small) <= most:
        return list(runs)
    sizes = [rows_in(run) for run in small]
    start = next((i for i, n in enumerate(sizes[:-2]) if n <= sum(sizes[i + 1 :])), len(sizes) - 2)
    read = pl.concat(read_run(frames, run) for run in small[start:])
    rest = [run for run in runs if run not in small[start:]]
    return [*rest, put_text_run(frames, read.unique("id", keep="any"))]


def _no_texts(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={c: frame.schema.get(c, ROW_SCHEMA[c]) for c in ("id", *columns)})
