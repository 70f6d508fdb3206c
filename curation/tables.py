"""Tables as immutable parts, so that consecutive versions share what did not change.

A table is a list of parts; each part replaces rows of the parts before it, by id, and takes others
away. Texts lie apart, once for all tables: a row's id names its messages and tools, so whoever
holds the id needs no second copy. A table's digest says the same of a table written whole and of
one grown part by part.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curation.frames import (
    TEXT,
    Bare,
    Change,
    compare,
    digest_of,
    in_order,
    key_of,
    row_sum,
    say_schema,
)
from curation.table_texts import Frames, put_texts, scan_ids, text_columns, with_texts

MAX_PARTS = 24
MAX_SHARE = 0.25
"""A change beyond this share of a table has it written whole; a part more than that merges some."""
Part = tuple[str, str]
"""Object keys of a part's rows and of what it takes away; "" for none."""


def write_table(
    frames: Frames,
    kind: str,
    content: pl.DataFrame | Bare | Change,
    *,
    previous: Mapping[str, Any] | None = None,
    texts: Iterable[str] = (),
) -> dict[str, Any]:
    """The entry of a table in a manifest; only what differs from the entry `previous` is written.

    `content` is the whole table, or the change that leads to it from `previous`. `texts` are text
    objects that may hold the rows' texts already; those of a `Bare` table must. Raises `Corrupt`
    when they do not.
    """
    known = {*texts}
    if isinstance(content, Change):
        assert previous is not None, "a change needs the table that it changes"
        if grown := _grow(frames, kind, previous, content, texts):
            return grown
        whole, known = _apply(frames, previous, content, known)
        return _write_whole(frames, kind, whole, known)
    whole = content if isinstance(content, Bare) else Bare(content, content.schema)
    if previous is not None and _alike(previous, whole):
        change = compare(read_table(frames, previous, texts=False), whole.frame)
        if grown := _grow(frames, kind, previous, change, texts):
            return grown
    return _write_whole(frames, kind, whole, known.union((previous or {}).get("texts", ())))


def read_table(
    frames: Frames,
    entry: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    *,
    texts: bool = True,
) -> pl.DataFrame:
    """A table in its canonical order, or some of its columns; without `texts` only plain ones."""
    wanted = [c for c in entry["columns"] if columns is None or c in columns]
    plain = [c for c in wanted if c not in text_columns(entry)]
    frame = _read_parts(frames, entry, plain)
    if texts and len(plain) < len(wanted):
        frame = with_texts(frames, entry, frame, wanted)
    return frame.select([c for c in wanted if c in frame.columns])


def lookup(
    frames: Frames, entry: Mapping[str, Any], ids: Sequence[str], *, texts: bool = True
) -> pl.DataFrame:
    """The rows with these ids, in canonical order, without reading the whole table.

    The table needs an `id` column, in which an id may also stand more than once.
    """
    plain = [c for c in entry["columns"] if c not in text_columns(entry)]
    wanted = pl.Series(ids, dtype=pl.String).unique()
    keyed = entry["key"] == ["id"]
    found = (_last_wins if keyed else _filtered)(frames, entry, plain, wanted)
    if texts and text_columns(entry):
        found = with_texts(frames, entry, found, entry["columns"])
    return found


def change_between(
    frames: Frames, old: Mapping[str, Any], new: Mapping[str, Any], *, texts: bool = True
) -> Change:
    """The change from one version of a table to another; costs what differs, not what is there.

    Rows of `upserts` come with their texts, or without `texts` with the other columns.
    """
    empty = lookup(frames, new, (), texts=texts) if new["key"] == ["id"] else None
    if old["digest"] == new["digest"] and old["columns"] == new["columns"] and empty is not None:
        return Change(empty, empty.select("id"))
    if empty is None or old["key"] != ["id"] or old["schema"] != new["schema"]:
        before = read_table(frames, old)
        return compare(before, read_table(frames, new), key=new["key"])
    ids = _touched(frames, old, new)
    if ids is None:
        sides = [read_table(frames, entry, texts=False) for entry in (old, new)]
    else:
        sides = [lookup(frames, entry, ids.to_list(), texts=False) for entry in (old, new)]
    change = compare(*sides, key=["id"])
    if texts and text_columns(new):
        upserts = with_texts(frames, new, change.upserts, new["columns"])
        return Change(upserts, change.gone)
    return change


def objects_of(entry: Mapping[str, Any]) -> list[str]:
    """Keys of every object that a table is made of."""
    return [key for part in entry["parts"] for key in part if key] + list(entry["texts"])


# writing ------------------------------------------------------------------------------------------


def _write_whole(
    frames: Frames, kind: str, whole: Bare, known_texts: Iterable[str]
) -> dict[str, Any]:
    entry = _entry(whole.schema, key_of(whole.frame))
    entry["parts"] = [(frames.put_frame(kind, whole.frame.drop(TEXT, strict=False)), "")]
    if not text_columns(entry):
        entry["parts"] = [(frames.put_frame(kind, whole.frame), "")]
    entry["texts"] = put_texts(frames, whole.frame, text_columns(entry), (), known_texts)
    return _finish(entry, whole.frame.height, row_sum(whole.frame))


def _grow(
    frames: Frames,
    kind: str,
    previous: Mapping[str, Any],
    change: Change,
    known_texts: Iterable[str],
) -> dict[str, Any] | None:
    """The entry after a change, with one more part; None when it should be written whole."""
    size = change.upserts.height + change.gone.height
    if not size:
        return dict(previous)
    if size > MAX_SHARE * max(previous["rows"], 1):
        return None
    merged = _few_parts(frames, kind, previous)
    if merged is None:
        return None
    typed = _typed_like(frames, previous, change)
    if typed is None:
        return None
    change = typed
    entry = {name: previous[name] for name in ("columns", "schema", "key")}
    if previous["key"] == ["id"]:
        ids = [*change.upserts["id"], *change.gone["id"]]
        replaced = lookup(frames, previous, ids, texts=False)
        gone = change.gone.join(replaced, on="id", how="semi")
    else:
        replaced = gone = change.gone
    part = (
        frames.put_frame(kind, change.upserts.drop(text_columns(entry), strict=False)),
        frames.put_frame(kind, gone) if gone.height else "",
    )
    entry["parts"] = [*merged, part]
    texts = text_columns(entry)
    entry["texts"] = put_texts(frames, change.upserts, texts, previous["texts"], known_texts)
    total = int(previous["sum"], 16) - row_sum(replaced) + row_sum(change.upserts)
    return _finish(
        entry, previous["rows"] - replaced.height + change.upserts.height, total % 2**256
    )


def _few_parts(frames: Frames, kind: str, entry: Mapping[str, Any]) -> list[Part] | None:
    """The parts of a table with room for one more; None when nearly all would be merged.

    Left as they are the leading parts that are each larger than all after it together; so a row is
    written anew only as often as what it stands with has doubled.
    """
    parts: list[Part] = [tuple(part) for part in entry["parts"]]
    if len(parts) < MAX_PARTS:
        return parts
    sizes = [sum(frames.frame_path(k).stat().st_size for k in part if k) for part in parts]
    start = next((i for i, n in enumerate(sizes) if n <= sum(sizes[i + 1 :])), len(sizes) - 1)
    if start == 0:
        return None
    tail = {**entry, "parts": parts[start:]}
    rows = _read_parts(frames, tail, [c for c in entry["columns"] if c not in text_columns(entry)])
    taken = [pl.read_parquet(frames.frame_path(gone)) for _, gone in parts[start:] if gone]
    gone = pl.concat(taken).unique() if taken else rows.select(entry["key"]).clear()
    gone = gone.join(rows, on=entry["key"], how="anti", nulls_equal=True)
    put = (frames.put_frame(kind, rows), frames.put_frame(kind, gone) if gone.height else "")
    return [*parts[:start], put]


def _typed_like(frames: Frames, previous: Mapping[str, Any], change: Change) -> Change | None:
    """The change with the types of the table; None where a column has really become another one.

    A column of nothing but nulls has whatever type the table gives it.
    """
    types = pl.read_parquet_schema(frames.frame_path(previous["parts"][0][0]))
    given = change.upserts.schema
    empty = [c for c, kind in types.items() if given[c] == pl.Null != kind]
    upserts = change.upserts.with_columns(pl.col(c).cast(types[c]) for c in empty)
    same = all(upserts.schema[c] == kind for c, kind in types.items())
    return Change(upserts, change.gone) if same else None


def _entry(schema: pl.Schema, key: Sequence[str]) -> dict[str, Any]:
    return {"columns": schema.names(), "schema": say_schema(schema), "key": list(key)}


def _finish(entry: dict[str, Any], rows: int, total: int) -> dict[str, Any]:
    return entry | {
        "rows": rows,
        "sum": f"{total:064x}",
        "digest": digest_of(entry["schema"], rows, total),
    }


def _alike(previous: Mapping[str, Any], whole: Bare) -> bool:
    """Whether a frame can be told as a change of a table: same columns, keys and few changes."""
    key = previous["key"]
    if previous["schema"] != say_schema(whole.schema) or key != key_of(whole.frame):
        return False
    nested = any(whole.schema[c].is_nested() for c in key)
    return not nested and (key == ["id"] or not whole.frame.is_duplicated().any())


def _apply(
    frames: Frames, previous: Mapping[str, Any], change: Change, texts: set[str]
) -> tuple[Bare, set[str]]:
    """The whole table after a change without its texts, and the objects that they are in."""
    key, columns = change.gone.columns, text_columns(previous)
    frame = read_table(frames, previous, texts=False)
    drop = pl.concat([change.gone, change.upserts.select(key)])
    kept = frame.join(drop, on=key, how="anti", nulls_equal=True)
    whole = pl.concat([kept, change.upserts.select(frame.columns)], how="vertical_relaxed")
    schema = whole.schema
    if columns:
        types = lookup(frames, previous, ()).schema
        schema = pl.Schema({c: whole.schema.get(c, types[c]) for c in previous["columns"]})
    known = texts.union(previous["texts"])
    return Bare(whole, schema), known.union(put_texts(frames, change.upserts, columns, (), known))


# reading ------------------------------------------------------------------------------------------


def _read_parts(frames: Frames, entry: Mapping[str, Any], columns: Sequence[str]) -> pl.DataFrame:
    """Plain columns in canonical order: each part without what later ones replace or take away."""
    key, parts = entry["key"], entry["parts"]
    needed = list(dict.fromkeys([*columns, *(key if len(parts) > 1 else ())]))
    needed = needed or entry["columns"][:1]
    kept: list[pl.DataFrame] = []
    later: list[pl.DataFrame] = []
    for rows, gone in reversed(parts):
        frame = pl.read_parquet(frames.frame_path(rows), columns=needed)
        replaced = pl.concat(later) if later else None
        if len(parts) > 1:
            later.append(frame.select(key))
            later += [pl.read_parquet(frames.frame_path(gone))] if gone else []
        if replaced is not None and not frame.join(replaced, on=key, how="semi").is_empty():
            frame = frame.join(
                replaced, on=key, how="anti", nulls_equal=True, maintain_order="left"
            )
        kept.append(frame)
    if len(kept) == 1:
        return kept[0].rechunk()  # as it was written
    if key != ["id"]:
        return in_order(pl.concat(kept))
    small = pl.concat(kept[:-1]).sort("id")
    return kept[-1].merge_sorted(small, key="id").rechunk()


def _last_wins(
    frames: Frames, entry: Mapping[str, Any], columns: Sequence[str], ids: pl.Series
) -> pl.DataFrame:
    """Rows with these ids from the last part that speaks of each."""
    found: list[pl.DataFrame] = []
    wanted = ids
    for rows, gone in reversed(entry["parts"]):
        if wanted.is_empty() and found:
            break
        frame = scan_ids(frames.frame_path(rows), wanted).select(columns).collect()
        found.append(frame)
        settled = [frame["id"]]
        if gone:
            settled.append(scan_ids(frames.frame_path(gone), wanted).collect()["id"])
        wanted = wanted.filter(~wanted.is_in(pl.concat(settled).implode()))
    return in_order(pl.concat(found))


def _filtered(
    frames: Frames, entry: Mapping[str, Any], columns: Sequence[str], ids: pl.Series
) -> pl.DataFrame:
    """Rows with these ids of a table in which a whole row is the key."""
    kept: list[pl.DataFrame] = []
    gone: list[pl.DataFrame] = []
    for rows, less in reversed(entry["parts"]):
        frame = scan_ids(frames.frame_path(rows), ids).collect()
        if gone:
            frame = frame.join(pl.concat(gone), on=entry["key"], how="anti", nulls_equal=True)
        kept.append(frame)
        gone += [scan_ids(frames.frame_path(less), ids).collect()] if less else []
    return in_order(pl.concat(kept).select(columns))


def _touched(frames: Frames, old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.Series | None:
    """Ids that the parts which two versions do not share speak of; None when that is everything."""
    parts = [[tuple(part) for part in entry["parts"]] for entry in (old, new)]
    shared = 0
    for one, other in zip(*parts, strict=False):
        if one != other:
            break
        shared += 1
    if not shared:
        return None
    keys = [key for side in parts for part in side[shared:] for key in part if key]
    ids = [pl.read_parquet(frames.frame_path(key), columns=["id"])["id"] for key in keys]
    return pl.concat(ids).unique() if ids else pl.Series("id", [], dtype=pl.String)
