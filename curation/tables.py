"""Tables as immutable parts, so that consecutive versions share what did not change.

A table is a list of parts; each part replaces rows of the parts before it, by id, and takes others
away. Texts lie apart, once for all tables: a row's id names its messages and tools, so whoever
holds the id needs no second copy. A table's digest says the same of a table written whole and of
one grown part by part.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import polars as pl

from curation.frames import (
    Bare,
    Change,
    compare,
    digest_of,
    in_order,
    key_of,
    row_sum,
    say_schema,
)
from curation.runs import (
    RUN,
    SLICE,
    Frames,
    Run,
    look_in,
    no_rows,
    put_run,
    read_run,
    rows_in,
)
from curation.table_parts import (
    Part,
    parts_of,
    read_parts,
    read_pieces,
    scan_parts,
    touched_ids,
    until,
)
from curation.table_texts import NO_TEXTS, Known, put_texts, text_columns, texts_of, with_texts

MAX_PARTS, SPREAD = 8, 12
"""A table has no more parts, or up to so many more by its name and columns: few tables have theirs
put together in the same delivery."""
MAX_SHARE = 0.25
"""A change beyond this share of a table has it written whole; a part more than that merges some."""


def write_table(
    frames: Frames,
    kind: str,
    content: pl.DataFrame | Bare | Change,
    *,
    previous: Mapping[str, Any] | None = None,
    texts: Known = NO_TEXTS,
) -> dict[str, Any]:
    """The entry of a table in a manifest; only what differs from the entry `previous` is written.

    `content` is the whole table, or the change that leads to it from `previous`. `texts` may hold
    the rows' texts already; of a `Bare` table they must. Raises `Corrupt` when they do not.
    """
    if isinstance(content, Change):
        assert previous is not None, "a change needs the table that it changes"
        if grown := _grow(frames, kind, previous, content, texts):
            return grown
        whole, texts = _apply(frames, previous, content, texts)
        return _write_whole(frames, kind, whole, texts)
    whole = content if isinstance(content, Bare) else Bare(content, content.schema)
    if previous is not None and _alike(previous, whole):
        change = _change_to(frames, previous, whole.frame)
        if change and (grown := _grow(frames, kind, previous, change, texts)):
            return grown
    before = texts_of(previous) if previous else ()
    return _write_whole(frames, kind, whole, texts.with_runs(before))


def read_table(
    frames: Frames,
    entry: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    *,
    texts: bool = True,
    where: pl.Expr | None = None,
) -> pl.DataFrame:
    """A table in its canonical order, or some of its columns; without `texts` only plain ones.

    With `where` (of plain columns) come only the rows that it is true of, sooner than all.
    """
    wanted = [c for c in entry["columns"] if columns is None or c in columns]
    plain = [c for c in wanted if c not in text_columns(entry)]
    full = texts and len(plain) < len(wanted)
    if where is None:
        frame = read_parts(frames, entry, [*plain, "id"] if full else plain)
    else:
        needed = {*plain, *entry["key"], *(["id"] if full else [])}
        scan = scan_table(frames, entry).filter(where)
        frame = in_order(scan.select([c for c in entry["columns"] if c in needed]).collect())
    if full:
        frame = with_texts(frames, entry, frame, wanted)
    return frame.select([c for c in wanted if c in frame.columns])


def scan_table(frames: Frames, entry: Mapping[str, Any]) -> pl.LazyFrame:
    """All columns but texts in no order, read when it is known which and of what rows."""
    columns = [c for c in entry["columns"] if c not in text_columns(entry)]
    return scan_parts(frames, entry, columns)


def lookup(
    frames: Frames,
    entry: Mapping[str, Any],
    ids: Sequence[str] | pl.Series,
    columns: Sequence[str] | None = None,
    *,
    texts: bool = True,
) -> pl.DataFrame:
    """The rows with these ids, or their id and some columns, without reading the whole table.

    They come in canonical order, without `texts` only plain columns. The table needs an `id`
    column, in which an id may also stand more than once.
    """
    asked = [c for c in entry["columns"] if columns is None or c == "id" or c in columns]
    plain = [c for c in asked if c not in text_columns(entry)]
    wanted = pl.Series(ids, dtype=pl.String).unique().sort()
    key, parts = entry["key"], parts_of(entry)
    upserts, taken = [rows for rows, _ in parts], [gone for _, gone in parts]
    needed = list(dict.fromkeys([*plain, *key]))
    found = no_rows(frames, upserts).select(needed).with_columns(pl.lit(0, pl.UInt32).alias(RUN))
    found = pl.concat([found, *look_in(frames, upserts, wanted, needed)])
    if len(parts) > 1 and not found.is_empty():  # the last part that speaks of a row is right
        spoken = [found, *look_in(frames, taken, wanted)]
        last = pl.concat(frame.select(*key, RUN) for frame in spoken)
        last = last.group_by(key).agg(pl.col(RUN).max())
        found = found.join(last, on=[*key, RUN], how="semi", nulls_equal=True)
    found = in_order(found.select(plain))
    if texts and len(plain) < len(asked):
        return with_texts(frames, entry, found, asked)
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
    ids = touched_ids(frames, old, new)
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
    runs = [run for part in parts_of(entry) for run in part] + texts_of(entry)
    slices = dict.fromkeys(one for run in runs for one in run)
    return [key for one in slices for key in (one.key, one.index) if key]


# writing ------------------------------------------------------------------------------------------


def _write_whole(frames: Frames, kind: str, whole: Bare, known: Known) -> dict[str, Any]:
    entry = _entry(whole.schema, key_of(whole.frame))
    plain = whole.frame.drop(text_columns(entry), strict=False)
    entry["parts"] = [(put_run(frames, kind, plain), ())]
    entry["texts"] = put_texts(frames, whole.frame, text_columns(entry), (), known)
    return _finish(entry, whole.frame.height, row_sum(whole.frame))


def _grow(
    frames: Frames,
    kind: str,
    previous: Mapping[str, Any],
    change: Change,
    known: Known,
) -> dict[str, Any] | None:
    """The entry after a change, with one more part; None when it should be written whole."""
    size = change.upserts.height + change.gone.height
    if not size:
        return dict(previous)
    if size > MAX_SHARE * max(previous["rows"], 1):
        return None
    typed = _typed_like(frames, previous, change)
    told = _told_by(frames, previous, typed) if typed else None
    if told is None:
        return None
    change = told
    entry = {name: previous[name] for name in ("columns", "schema", "key")}
    if previous["key"] == ["id"]:
        ids = pl.concat([change.upserts["id"], change.gone["id"]])
        replaced = lookup(frames, previous, ids, texts=False)
        gone = change.gone.join(replaced, on="id", how="semi")
    else:
        replaced = gone = change.gone
    texts, parts = text_columns(entry), parts_of(previous)
    after = gone.is_empty() and _come_after(parts[-1][0], change.upserts, entry["key"])
    few = parts if after else _few_parts(frames, kind, previous)
    if few is None:
        return None
    upserts = put_run(frames, kind, change.upserts.drop(texts, strict=False))
    taken = put_run(frames, kind, gone) if gone.height else ()
    *before, last = few
    entry["parts"] = [*before, (last[0] + upserts, last[1])] if after else [*few, (upserts, taken)]
    entry["texts"] = put_texts(frames, change.upserts, texts, texts_of(previous), known)
    total = int(previous["sum"], 16) - row_sum(replaced) + row_sum(change.upserts)
    return _finish(
        entry, previous["rows"] - replaced.height + change.upserts.height, total % 2**256
    )


def _change_to(frames: Frames, previous: Mapping[str, Any], new: pl.DataFrame) -> Change | None:
    """What leads from a table to a frame of its columns; None when most of it is new."""
    rest, size, changes = in_order(new), 0, list[Change]()
    plain = [c for c in rest.columns if c not in text_columns(previous)]
    for old, last in read_pieces(frames, previous, plain):
        here, rest = until(last, rest)
        changes.append(compare(old, here, key=previous["key"]))
        size += changes[-1].upserts.height + changes[-1].gone.height
        if size > MAX_SHARE * max(previous["rows"], 1):
            return None
    return Change(
        pl.concat(change.upserts for change in changes), pl.concat(c.gone for c in changes)
    )


def _few_parts(frames: Frames, kind: str, entry: Mapping[str, Any]) -> list[Part] | None:
    """The parts of a table with room for one more; None when nearly all would be merged.

    Left as they are the leading parts that are each larger than all after it together; so a row is
    written anew only as often as what it stands with has doubled.
    """
    parts = parts_of(entry)
    if len(parts) < MAX_PARTS + crc32(f"{kind} {entry['schema']}".encode()) % SPREAD:
        return parts
    sizes = [rows_in(rows) + rows_in(gone) for rows, gone in parts]
    start = next((i for i, n in enumerate(sizes) if n <= sum(sizes[i + 1 :])), len(sizes) - 1)
    if start == 0:
        return None
    tail = {**entry, "parts": parts[start:]}
    rows = read_parts(frames, tail, [c for c in entry["columns"] if c not in text_columns(entry)])
    taken = [read_run(frames, gone) for _, gone in parts[start:] if gone]
    gone = pl.concat(taken).unique() if taken else rows.select(entry["key"]).clear()
    gone = gone.join(rows, on=entry["key"], how="anti", nulls_equal=True)
    put = (put_run(frames, kind, rows), put_run(frames, kind, gone) if gone.height else ())
    return [*parts[:start], put]


def _come_after(run: Run, upserts: pl.DataFrame, key: Sequence[str]) -> bool:
    """Whether rows can be added to a run as they are: many enough, and all of them behind it."""
    many = key == ["id"] and upserts.height >= SLICE // 8
    return many and str(upserts["id"].min()) > run[-1].last


def _typed_like(frames: Frames, previous: Mapping[str, Any], change: Change) -> Change | None:
    """The change with the types of the table; None where a column has really become another one.

    A column of nothing but nulls has whatever type the table gives it.
    """
    types = no_rows(frames, [rows for rows, _ in parts_of(previous)]).schema
    given = change.upserts.schema
    empty = [c for c, kind in types.items() if given[c] == pl.Null != kind]
    upserts = change.upserts.with_columns(pl.col(c).cast(types[c]) for c in empty)
    same = all(upserts.schema[c] == kind for c, kind in types.items())
    return Change(upserts, change.gone) if same else None


def _told_by(frames: Frames, previous: Mapping[str, Any], change: Change) -> Change | None:
    """The change told by the keys of the table; None where they no longer tell its rows apart.

    A table whose ids have all been different until now may get a second row of one of them.
    """
    key = change.gone.columns
    if key == previous["key"]:
        return change
    if previous["key"] != ["id"] or "id" not in key or not change.upserts["id"].is_unique().all():
        return None
    ids = [*change.upserts["id"], *change.gone["id"]]
    known = lookup(frames, previous, ids, texts=False)
    stay = known.join(change.gone, on=key, how="anti", nulls_equal=True)
    return Change(change.upserts, change.gone.select("id")) if stay.is_empty() else None


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
    frames: Frames, previous: Mapping[str, Any], change: Change, known: Known
) -> tuple[Bare, Known]:
    """The whole table after a change without its texts, and the runs that they are in."""
    key, columns = change.gone.columns, text_columns(previous)
    frame = read_table(frames, previous, texts=False)
    drop = pl.concat([change.gone, change.upserts.select(key)])
    kept = frame.join(drop, on=key, how="anti", nulls_equal=True)
    whole = pl.concat([kept, change.upserts.select(frame.columns)], how="vertical_relaxed")
    schema = whole.schema
    if columns:
        types = lookup(frames, previous, ()).schema
        schema = pl.Schema({c: whole.schema.get(c, types[c]) for c in previous["columns"]})
    known = known.with_runs(texts_of(previous))
    put = put_texts(frames, change.upserts, columns, (), known)
    return Bare(whole, schema), known.with_runs(put)
