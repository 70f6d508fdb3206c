"""Texts of rows, which lie apart: once for all tables that hold the row, whose id names them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from curation.blobs import Corrupt
from curation.frames import TEXT, in_order
from curation.rows import ROW_SCHEMA

_TEXTS = 262_144
"""Rows whose texts are written together, so that few of them are held twice in memory."""
MAX_TEXTS = 32
"""More text objects of one table than this are drawn together, so that few have to be opened."""
_FEW = 65_536
"""So many texts are looked up; more are read with the rest."""


class Frames(Protocol):
    """What tables are written to and read from: frames as immutable objects named by content."""

    def put_frame(self, kind: str, frame: pl.DataFrame) -> str: ...

    def frame_path(self, key: str) -> Path: ...


def text_columns(entry: Mapping[str, Any]) -> list[str]:
    has_id = "id" in entry["columns"]
    return [c for c in entry["columns"] if has_id and c in TEXT]


def scan_ids(path: Path, ids: pl.Series) -> pl.LazyFrame:
    """Rows of a file sorted by id; row groups that hold none of them are not read."""
    among = pl.col("id").is_between(pl.lit(ids.min()), pl.lit(ids.max()))
    return pl.scan_parquet(path).filter(among & pl.col("id").is_in(ids.implode()))


def put_texts(
    frames: Frames,
    frame: pl.DataFrame,
    columns: Sequence[str],
    own: Sequence[str],
    known: Iterable[str],
) -> list[str]:
    """Text objects that together hold the texts of a frame's rows; new texts are a new object."""
    used = list(own)
    if not columns:
        return used
    missing = frame.select("id").unique()
    for key in [*own, *sorted(set(known) - set(own))]:
        if missing.is_empty():
            break
        there = pl.scan_parquet(frames.frame_path(key))
        if there.collect_schema().names() != ["id", *columns]:
            continue
        rest = missing.join(there.select("id").collect(), on="id", how="anti")
        if rest.height < missing.height and key not in used:
            used.append(key)
        missing = rest
    if missing.is_empty():  # an empty table has an empty object, to know its types by
        used = used or [frames.put_frame("texts", _no_texts(frame, columns))]
    else:
        used += _put_missing(frames, frame, columns, missing)
    return used if len(used) <= MAX_TEXTS else _merge_smallest(frames, used)


def _merge_smallest(frames: Frames, keys: Sequence[str]) -> list[str]:
    """The objects that are each larger than all smaller ones together, and these ones as one."""
    sizes = {key: frames.frame_path(key).stat().st_size for key in keys}
    ordered = sorted(keys, key=lambda key: (-sizes[key], key))
    start = len(keys) - 2
    for i in range(start):
        if sizes[ordered[i]] <= sum(sizes[key] for key in ordered[i + 1 :]):
            start = i
            break
    read = [pl.read_parquet(frames.frame_path(key)) for key in ordered[start:]]
    texts = in_order(pl.concat(read).unique("id", keep="any"))
    put = [frames.put_frame("texts", part) for part in texts.iter_slices(_TEXTS)]
    return [*ordered[:start], *put]


def _put_missing(
    frames: Frames, frame: pl.DataFrame, columns: Sequence[str], missing: pl.DataFrame
) -> list[str]:
    """New text objects for the ids of `missing`."""
    if lost := [c for c in columns if c not in frame.columns]:
        raise Corrupt(f"the {lost[0]} of row {missing['id'][0]} are nowhere in the store")
    texts = frame.select("id", *columns)
    if missing.height < texts.height:
        texts = texts.join(missing, on="id", how="semi").unique("id", keep="any")
    return [frames.put_frame("texts", part) for part in in_order(texts).iter_slices(_TEXTS)]


def _no_texts(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    given = {c: frame.schema.get(c, ROW_SCHEMA[c]) for c in ("id", *columns)}
    return pl.DataFrame(schema=given)


def with_texts(
    frames: Frames, entry: Mapping[str, Any], frame: pl.DataFrame, wanted: Sequence[str]
) -> pl.DataFrame:
    """The frame with its texts joined by id, columns as `wanted`."""
    columns = [c for c in text_columns(entry) if c in wanted]
    few, wanted_ids = frame.height < _FEW, frame["id"]
    texts: list[pl.DataFrame] = []
    for key in reversed(entry["texts"]):  # what is asked for together often came together, lately
        path = frames.frame_path(key)
        lazy = scan_ids(path, wanted_ids) if few else pl.scan_parquet(path)  # of no ids: its types
        texts.append(lazy.select("id", *columns).collect())
        wanted_ids = wanted_ids.filter(~wanted_ids.is_in(texts[-1]["id"].implode()))
        if wanted_ids.is_empty():
            break
    known = pl.concat(texts).unique("id", keep="any") if len(texts) > 1 else texts[0]
    joined = frame.join(known, on="id", how="left", maintain_order="left")
    if lost := joined[columns[0]].null_count():
        raise Corrupt(f"the texts of {lost:,} rows are missing, such as of {frame['id'][0]}")
    return joined.select([c for c in wanted if c in joined.columns])
