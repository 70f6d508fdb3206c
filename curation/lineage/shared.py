"""Shared parts: one table asked in many versions, each part that they share read once.

Consecutive versions differ in a small part, so twenty of them are little more to read than one.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.store import Store, Version

Rows = dict[str, dict[str, Any]]
"""Rows by their id."""


def lookup_each(
    versions: Sequence[Version], table: str, ids: Collection[str], columns: Sequence[str] = ()
) -> list[Rows]:
    """For each version its rows with these ids, without texts: all plain columns, or id and some.

    The ids of the table must be unique, as they are in `rows`, `fates` and `exam`.
    """
    keys = dict.fromkeys(key for v in versions for part in _parts(v, table) for key in part if key)
    if not keys or not ids:
        return [{} for _ in versions]
    wanted = pl.Series(list(ids), dtype=pl.String)
    among = pl.col("id").is_between(pl.lit(wanted.min()), pl.lit(wanted.max()))
    these = among & pl.col("id").is_in(wanted.implode())
    told = {key: _rows_of(versions[0].store, key, these, columns) for key in keys}
    return [_last_said(told, _parts(v, table)) for v in versions]


def ids_where(versions: Iterable[Version], table: str, condition: pl.Expr) -> list[str]:
    """Ids of which any part of these tables says what is asked for, by parts.

    A later part may say otherwise, so look up what was found.
    """
    lazy = [
        pl.scan_parquet(path).filter(condition).select("id")
        for path in _files(versions, lambda v: [rows for rows, _ in _parts(v, table)])
    ]
    return list(dict.fromkeys(i for found in lazy for i in found.collect()["id"]))


def texts_holding(versions: Iterable[Version], wanted: str) -> dict[str, bool]:
    """Ids of rows that hold a text, and whether it is one of their turns as it stands.

    What lies with the texts of these versions is found, if they have such a row or not.
    """
    found: dict[str, bool] = {}
    for path in _files(versions, lambda v: v.tables["rows"]["texts"]):
        messages = pl.scan_parquet(path).select("id", "messages").explode("messages")
        turns = messages.select("id", text=pl.col("messages").struct.field("content"))
        hits = turns.filter(pl.col("text").str.contains(wanted, literal=True))
        whole = hits.group_by("id").agg((pl.col("text") == wanted).any()).collect()
        found |= dict(whole.iter_rows())
    return found


def _files(versions: Iterable[Version], keys: Callable[[Version], list[str]]) -> list[Path]:
    """Where the objects lie that the versions name, each once."""
    stores = {key: version.store for version in versions for key in keys(version)}
    return [store.frame_path(key) for key, store in stores.items()]


def _parts(version: Version, table: str) -> list[tuple[str, str]]:
    return version.tables[table]["parts"]


def _rows_of(store: Store, key: str, these: pl.Expr, columns: Sequence[str]) -> Rows:
    lazy = pl.scan_parquet(store.frame_path(key)).filter(these)
    there = lazy.collect_schema().names()
    frame = lazy.select(c for c in there if not columns or c in ("id", *columns)).collect()
    return {row["id"]: row for row in frame.iter_rows(named=True)}


def _last_said(told: dict[str, Rows], parts: Iterable[tuple[str, str]]) -> Rows:
    """What the last part that speaks of a row says."""
    found: Rows = {}
    for rows, gone in parts:
        for id in told[gone] if gone else ():
            found.pop(id, None)
        found |= told[rows]
    return found
