"""Only new rows cost: what was worked out about a row is remembered under the row's id.

Work on rows one by one (a score, a signature, a count of tokens) goes through `map_rows`. It is
done in batches that are remembered as they come, so a run that was killed goes on where it stood.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from assets.stage import Job
from curation.engines._base import HERE, Engine, engine_for, slices
from curation.frames import Bare, in_order
from curation.progress import Progress
from curation.rows import PLAIN, ROW_SCHEMA
from curation.store import Change, Version
from curation.table_parts import read_pieces, until
from curation.tables import lookup, read_table

BATCH = 20_000

SEEN = ("id", "track")
"""What work on a row may see besides its texts, which its id names. The language follows from
them; all else that is said of a row, such as its source, may change without work done again."""

Work = Callable[[pl.DataFrame], pl.DataFrame]
"""Rows to facts: any columns, but `id` first, and one line for each row."""


def read_kept(
    version: Version,
    fates: pl.DataFrame,
    *,
    where: pl.Expr | None = None,
    besides: pl.DataFrame | None = None,
) -> Bare:
    """The rows of an upstream table `rows` but those of another fate, read a slice at a time.

    `where` leaves out others, too; `besides` are more rows, sorted by id, that go among them.
    """
    gone = fates.filter(pl.col("fate") != "kept")["id"].implode()
    wanted = ~pl.col("id").is_in(gone) & (pl.lit(True) if where is None else where)
    more = ROW_SCHEMA.to_frame().select(PLAIN) if besides is None else besides.select(PLAIN)
    kept = []
    for piece, last in read_pieces(version.store, version.tables["rows"], PLAIN):
        here, more = until(last, more)
        kept.append(in_order(pl.concat([piece.filter(wanted).select(PLAIN), here])))
    return Bare(pl.concat(kept), ROW_SCHEMA)


def map_rows(
    job: Job, rows: Version, work: Work, *, memo: str, kind: str, engine: Engine = HERE
) -> tuple[pl.DataFrame | Change, Version | None]:
    """Facts about every row of the table `rows` of an upstream version, and what they change.

    `memo` names the work: the same rows under the same name are never worked on again. Comes back
    as the arguments `tables` and `since` of `Made`: the change since this stage's head where that
    did the same work, else the whole table.
    """
    change = changed_rows(job, rows, memo)
    wanted = change.upserts.select(SEEN) if change else rows.table("rows", SEEN)
    facts = map_some(job, rows, work, wanted, memo=memo, kind=kind, engine=engine)
    return (Change(facts, change.gone), job.previous) if change else (facts, None)


def map_some(
    job: Job,
    rows: Version,
    work: Work,
    wanted: pl.DataFrame,
    *,
    memo: str,
    kind: str,
    engine: Engine = HERE,
) -> pl.DataFrame:
    """Facts about these rows of the table `rows`, sorted by id; the rest as in `remember_rows`."""
    entry = remember_rows(job, rows, work, wanted, memo=memo, kind=kind, engine=engine)
    facts = _recall(job, entry, wanted["id"])
    return facts.drop(wanted.columns[1:])


def is_input_of(since: Version, version: Version) -> bool:
    """Whether an earlier version was made from what this upstream one says.

    One that was handed on to reproduce a model came without what it was made from.
    """
    name = version.name.partition("/")[2]
    known = name in since.manifest["inputs"]
    return known and since.input(name).data_version == version.data_version


def changed(version: Version, table: str, since: Version) -> Change:
    """What became of an upstream table since `since` was made from it; rows without their texts."""
    return version.changes(table, since.input(version.name.partition("/")[2]), texts=False)


def changed_ids(since: Version, tables: Iterable[tuple[Version, str]]) -> list[str]:
    """Ids that upstream tables say something else of than when `since` was made from them."""
    changes = [changed(version, table, since) for version, table in tables]
    return sorted({i for c in changes for frame in (c.upserts, c.gone) for i in frame["id"]})


def changed_rows(job: Job, rows: Version, memo: str) -> Change | None:
    """What became of an upstream table `rows` since this stage's head, if that did this work."""
    since = job.previous
    if since is None or memo not in since.manifest["memos"]:
        return None
    return changed(rows, "rows", since)


def remember_rows(
    job: Job,
    rows: Version,
    work: Work,
    wanted: pl.DataFrame,
    *,
    memo: str,
    kind: str,
    engine: Engine = HERE,
) -> dict[str, Any]:
    """The remembered table that has a fact for each of these rows, new ones worked out now.

    `wanted` has ids and what else the work depends on (`SEEN`, where it sees more than texts); that
    is remembered with the fact, which is worked out again when a row is said to be another. The
    `engine` reads the rows and works on them, if there are many; facts are remembered here.
    """
    entry = job.store.recall_table(memo)
    entry = entry if entry and {*wanted.columns} <= {*entry["columns"]} else None
    todo = wanted
    if entry:
        done_before = _recall(job, entry, wanted["id"], wanted.columns)
        todo = wanted.join(done_before, on=wanted.columns, how="anti")
    job.report(
        f"{kind}: {todo.height:,} rows to do, {wanted.height - todo.height:,} were done before"
    )
    progress = Progress(todo.height, kind, job.report)

    def done(batch: pl.DataFrame) -> pl.DataFrame:
        return work(rows.lookup("rows", batch["id"])).join(batch, on="id", maintain_order="left")

    engine = engine_for(engine, todo.height)
    for new in engine.map(done, slices(todo.sort("id"), BATCH, engine)):
        change = new if entry is None else Change(new, new.select("id").clear())
        entry = job.store.remember_table(memo, kind, change, entry)
        progress.step(new.height)
    return entry or job.store.remember_table(memo, kind, done(wanted.clear()))


def _recall(
    job: Job, entry: dict[str, Any], ids: pl.Series, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """The facts of these rows, sorted by id."""
    if len(ids) < BATCH:
        return lookup(job.store, entry, ids.to_list(), columns)
    every = read_table(job.store, entry, columns)
    return every if every["id"].equals(ids) else every.join(ids.to_frame("id"), on="id", how="semi")
