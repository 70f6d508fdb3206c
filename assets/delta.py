"""Only new rows cost: what was worked out about a row is remembered under the row's id.

Work on rows one by one (a score, a signature, a count of tokens) goes through `map_rows`. It is
done in batches that are remembered as they come, so a run that was killed goes on where it stood.
"""

from collections.abc import Callable

import polars as pl

from assets.stage import Job
from curation.progress import Progress
from curation.store import Change, Version
from curation.tables import lookup, read_table

BATCH = 100_000

Work = Callable[[pl.DataFrame], pl.DataFrame]
"""Rows to facts: any columns, but `id` first, and one line for each row."""


def map_rows(
    job: Job, rows: Version, work: Work, *, memo: str, kind: str
) -> tuple[pl.DataFrame | Change, Version | None]:
    """Facts about every row of the table `rows` of an upstream version, and what they change.

    `memo` names the work: the same rows under the same name are never worked on again. Comes back
    as the arguments `tables` and `since` of `Made`: the change since this stage's head where that
    did the same work, else the whole table.
    """
    since = job.previous
    if since is not None and memo in since.manifest["memos"]:
        change = rows.changes("rows", since.input(rows.name.partition("/")[2]))
        facts = _known_or_new(job, rows, work, change.upserts["id"], memo, kind)
        return Change(facts, change.gone), since
    ids = rows.table("rows", ["id"])["id"]
    return _known_or_new(job, rows, work, ids, memo, kind), None


def _known_or_new(
    job: Job, rows: Version, work: Work, ids: pl.Series, memo: str, kind: str
) -> pl.DataFrame:
    """Facts of these rows, sorted by id; new ones are remembered batch by batch."""
    entry = job.store.recall_table(memo)
    known = _recall(job, entry, ids)
    todo = ids.to_frame() if known is None else ids.to_frame().join(known, on="id", how="anti")
    job.report(f"{todo.height:,} rows to do, {len(ids) - todo.height:,} were done before")
    parts = [] if known is None else [known]
    progress = Progress(todo.height, kind, job.report)
    for batch in todo.sort("id").iter_slices(BATCH):
        done = work(rows.lookup("rows", batch["id"]))
        change = done if entry is None else Change(done, done.select("id").clear())
        entry = job.store.remember_table(memo, kind, change, entry)
        parts.append(done)
        progress.step(batch.height)
    return pl.concat(parts).sort("id") if parts else work(rows.lookup("rows", ()))


def _recall(job: Job, entry: dict | None, ids: pl.Series) -> pl.DataFrame | None:
    if entry is None:
        return None
    if len(ids) < BATCH:
        return lookup(job.store, entry, ids.to_list())
    return read_table(job.store, entry).join(ids.to_frame(), on="id", how="semi")
