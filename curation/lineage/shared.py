"""Shared parts: one table asked in many versions, each part that they share read once.

Consecutive versions differ in a small part, so twenty of them are little more to read than one.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.runs import RUN, Run, Slice, between, look_in, scan_files
from curation.store import Store, Version
from curation.table_parts import Part, parts_of
from curation.table_texts import texts_of
from curation.text_index import groups_to_search

_SMALL = 4_096
"""Rows of a slice of texts that is searched as fast as its index is read."""
Rows = dict[str, dict[str, Any]]
"""Rows by their id."""


def lookup_each(
    versions: Sequence[Version], table: str, ids: Collection[str], columns: Sequence[str] = ()
) -> list[Rows]:
    """For each version its rows with these ids, without texts: all plain columns, or id and some.

    The ids of the table must be unique, as they are in `rows`, `fates` and `exam`.
    """
    wanted = pl.Series(list(ids), dtype=pl.String).unique().sort()
    entries = [v.tables[table] for v in versions]
    told: dict[Run, Rows] = {}
    for schema in {entry["schema"] for entry in entries}:
        parts = [p for entry in entries if entry["schema"] == schema for p in parts_of(entry)]
        for side in zip(*parts, strict=True):  # rows, and what was taken away
            told |= _read_each(versions[0].store, list(dict.fromkeys(side)), wanted, columns)
    return [_last_said(told, parts_of(entry)) for entry in entries]


def ids_where(versions: Iterable[Version], table: str, condition: pl.Expr) -> list[str]:
    """Ids of which any part of these tables says what is asked for, by parts.

    A later part may say otherwise, so look up what was found.
    """
    return _ids(versions, lambda v: [rows for rows, _ in _parts(v, table)], condition)


def ids_starting(versions: Iterable[Version], table: str, start: str) -> list[str]:
    """Ids that any part of these tables has and that begin so; look up which are still there."""
    low, high = start, f"{start}\U0010ffff"

    def runs(version: Version) -> list[Run]:
        return [between(rows, low, high) for rows, _ in _parts(version, table)]

    return _ids(versions, runs, pl.col("id").is_between(pl.lit(low), pl.lit(high)))


def texts_holding(versions: Iterable[Version], wanted: str) -> dict[str, bool]:
    """Ids of rows that hold a text, and whether it is one of their turns as it stands.

    What lies with the texts of these versions is found, if they have such a row or not.
    """
    stores = {one: v.store for v in versions for run in texts_of(v.tables["rows"]) for one in run}
    for store in dict.fromkeys(stores.values()):
        own = (one for one, its in stores.items() if its is store)
        store.frame_paths(one.key if _is_small(one) else one.index for one in own)
    small = [str(store.frame_path(one.key)) for one, store in stores.items() if _is_small(one)]
    parts = [scan_files(small)] if small else []
    for one, store in stores.items():
        parts += [] if _is_small(one) else _search_in(store, one, wanted)
    if not parts:
        return {}
    messages = pl.concat(part.select("id", "messages") for part in parts).explode("messages")
    turns = messages.select("id", text=pl.col("messages").struct.field("content"))
    hits = turns.filter(pl.col("text").str.contains(wanted, literal=True))
    whole = hits.group_by("id").agg((pl.col("text") == wanted).any())
    return dict(whole.collect().iter_rows())


def _is_small(one: Slice) -> bool:
    """Whether a slice is searched sooner than its index is read."""
    return not one.index or one.rows <= _SMALL


def _search_in(store: Store, one: Slice, wanted: str) -> list[pl.LazyFrame]:
    """The parts of a slice of texts that may hold what is wanted."""
    groups = list(
        groups_to_search(pl.read_parquet(store.frame_path(one.index), glob=False), wanted)
    )
    return [scan_files(store.frame_path(one.key)).slice(*group) for group in groups]


def _ids(
    versions: Iterable[Version], runs: Callable[[Version], list[Run]], condition: pl.Expr
) -> list[str]:
    lazy = [scan_files(path).filter(condition).select("id") for path in _files(versions, runs)]
    return list(dict.fromkeys(i for found in lazy for i in found.collect()["id"]))


def _files(versions: Iterable[Version], runs: Callable[[Version], list[Run]]) -> list[Path]:
    """Where the slices lie that the versions name, each once."""
    stores = {one.key: v.store for v in versions for run in runs(v) for one in run}
    return [store.frame_path(key) for key, store in stores.items()]


def _parts(version: Version, table: str) -> list[Part]:
    return parts_of(version.tables[table])


def _read_each(
    store: Store, runs: Sequence[Run], ids: pl.Series, columns: Sequence[str]
) -> dict[Run, Rows]:
    """For each run its rows with these ids."""
    told: list[Rows] = [{} for _ in runs]
    for found in look_in(store, runs, ids):
        there = [c for c in found.columns if c != RUN and (not columns or c in ("id", *columns))]
        for n, row in zip(found[RUN], found.select(there).iter_rows(named=True), strict=True):
            told[n][row["id"]] = row
    return dict(zip(runs, told, strict=True))


def _last_said(told: dict[Run, Rows], parts: Iterable[Part]) -> Rows:
    """What the last part that speaks of a row says."""
    found: Rows = {}
    for rows, gone in parts:
        for id in told[gone]:
            found.pop(id, None)
        found |= told[rows]
    return found
