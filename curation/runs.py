"""Runs: frames in canonical order as slices, so that a few rows are found without reading all.

A slice is one immutable object. What names it says which ids it may hold, so a question about some
rows reads, and verifies, the slices that hold them and no others.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl

from curation.frames import TEXT_GROUP, collect_many, in_order
from curation.id_index import IDS, LEAST, IdIndexes, first_bits, index_ids, may_hold

RUN = "__run"
"""Column of `look_in`: the place of a row's run among those asked."""
_AT = "__at"
_FEW = 16
"""So many ids are looked for in the row groups that may hold one."""
SLICE = 65_536
"""Rows of one object: few to verify when one is wanted, enough to compress well."""


class Frames(Protocol):
    """What runs are written to and read from: frames as immutable objects named by content."""

    @property
    def indexes(self) -> IdIndexes: ...

    def put_frame(self, kind: str, frame: pl.DataFrame) -> str: ...

    def frame_path(self, key: str) -> Path: ...

    def frame_paths(self, keys: Iterable[str]) -> list[Path]: ...


class Slice(NamedTuple):
    """One object of a run, how many rows are in it, and the first and last id; "" without ids.

    `index` is an object that helps to search it, "" for none.
    """

    key: str
    rows: int
    first: str
    last: str
    index: str


Run = tuple[Slice, ...]


def as_run(said: Iterable[Any]) -> Run:
    """A run as a manifest says it."""
    return tuple(Slice(*one) for one in said)


def put_run(
    frames: Frames,
    kind: str,
    frame: pl.DataFrame,
    index: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
) -> Run:
    """Write a frame in canonical order; one without rows is an object too, to know its types by.

    `index` makes what helps to search a slice, in the order of its rows; else its ids are indexed.
    """
    frame = in_order(frame)
    parts = frame.iter_slices(SLICE) if frame.height else [frame]
    return tuple(_put_slice(frames, kind, part, index) for part in parts)


def read_run(frames: Frames, run: Run, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All rows in canonical order, or some of their columns."""
    chosen = list(columns) if columns is not None else None
    paths = frames.frame_paths(part.key for part in run)
    read = [pl.read_parquet(path, columns=chosen, glob=False) for path in paths]
    return pl.concat(read) if len(read) > 1 else read[0]


def scan_run(frames: Frames, run: Run) -> pl.LazyFrame:
    """The same, read when it is asked for what."""
    return scan_files([str(path) for path in frames.frame_paths(part.key for part in run)])


def look_in(
    frames: Frames, runs: Sequence[Run], ids: pl.Series, columns: Sequence[str] | None = None
) -> list[pl.DataFrame]:
    """Rows with these ids (sorted) in frames with one more column, `RUN`: which run they are in.

    No frame comes back where no slice may hold such a row. The runs have the same columns and
    types. Of a slice that may hold few, the row groups that may hold one are read; all others are
    read together.
    """
    held = _holding(frames, runs, ids)
    few = [part for part in held if len(part[2]) <= _FEW and part[1].rows > TEXT_GROUP]
    whole = [part for part in held if part not in few]
    keys = {one.key for _, one, _ in held}
    lie = dict(zip(keys, frames.frame_paths(keys), strict=True))
    found: list[pl.LazyFrame] = []
    if whole:
        paths = [(str(lie[one.key]), n) for n, one, _ in whole]
        at = pl.DataFrame(paths, schema={_AT: pl.String, RUN: pl.UInt32}, orient="row")
        lazy = scan_files([*dict.fromkeys(at[_AT])], include_file_paths=_AT, parallel="prefiltered")
        # Row groups outside the range are passed over; `is_in` alone has all of them read.
        lazy = lazy.filter(pl.col("id").is_between(pl.lit(ids[0]), pl.lit(ids[-1])))
        lazy = lazy.filter(pl.col("id").is_in(ids.implode()))
        lazy = lazy.select(*columns, _AT) if columns is not None else lazy
        found.append(lazy.join(at.lazy(), on=_AT, maintain_order="left").drop(_AT))
    for n, one, those in few:  # Polars passes over row groups for `==`, and not for `is_in`
        asked = reduce(or_, (pl.col("id") == i for i in those))
        lazy = scan_files(lie[one.key]).filter(asked)
        lazy = lazy.select(columns) if columns is not None else lazy
        found.append(lazy.with_columns(pl.lit(n, pl.UInt32).alias(RUN)))
    return collect_many(found)


def scan_files(paths: Path | list[str], **options: Any) -> pl.LazyFrame:
    """Parquet files whose names mean themselves, whatever characters are in them."""
    return pl.scan_parquet(paths, glob=False, **options)


def _holding(
    frames: Frames, runs: Sequence[Run], ids: pl.Series
) -> list[tuple[int, Slice, pl.Series]]:
    """Run and slice that may hold some of these ids (sorted), each with those it may hold."""
    parts = [(n, one) for n, run in enumerate(runs) for one in run]
    if ids.is_empty() or not parts:
        return []
    starts = ids.search_sorted(pl.Series([one.first for _, one in parts]), side="left")
    ends = ids.search_sorted(pl.Series([one.last for _, one in parts]), side="right")
    ranges = zip(parts, starts.to_list(), ends.to_list(), strict=True)
    held = [(part, start, end) for part, start, end in ranges if start < end]
    keys = [_index_key(one, end - start) for (_, one), start, end in held]
    indexes = frames.indexes.read((key for key in keys if key), frames.frame_paths)
    bits = first_bits(ids) if indexes else ()
    found = []
    for ((n, one), start, end), key in zip(held, keys, strict=True):
        those, index = ids[start:end], indexes.get(key)
        if index is not None:
            those = those.filter(pl.Series(may_hold(index, bits[start:end])))
        if len(those):
            found.append((n, one, those))
    return found


def _index_key(one: Slice, asked: int) -> str:
    """The object to learn from which of so many ids a slice may hold, "" where all of it is read.

    Of a slice with few rows it is the slice itself.
    """
    if one.rows < LEAST:
        return one.key if asked > _FEW and one.rows else ""
    return one.index if asked * 8 < one.rows else ""


def between(run: Run, low: str, high: str) -> Run:
    """The slices of a run that may hold an id from `low` to `high`."""
    return tuple(part for part in run if part.first <= high and low <= part.last)


def no_rows(frames: Frames, runs: Iterable[Run]) -> pl.DataFrame:
    """An empty frame with the columns and types of these runs, which are the same in all."""
    least = min((part for run in runs for part in run), key=lambda part: part.rows)
    return pl.DataFrame(schema=_schema(frames.frame_path(least.key)))


@lru_cache(maxsize=512)
def _schema(path: Path) -> pl.Schema:
    """Of an object, whose path names its content."""
    return scan_files(path).collect_schema()


def rows_in(run: Run) -> int:
    """How many rows a run holds, as its slices say."""
    return sum(part.rows for part in run)


def _put_slice(
    frames: Frames,
    kind: str,
    part: pl.DataFrame,
    index: Callable[[pl.DataFrame], pl.DataFrame] | None,
) -> Slice:
    ids = part["id"] if "id" in part.columns and part.height else None
    ends = ("", "") if ids is None else (ids[0] or "", ids[-1] or "")
    key = frames.put_frame(kind, part)
    if index and part.height:
        return Slice(key, part.height, *ends, frames.put_frame(f"{kind}-index", index(part)))
    starts = None if ids is None else index_ids(ids)
    found = "" if starts is None else frames.put_frame(IDS, starts)
    return Slice(key, part.height, *ends, found)
