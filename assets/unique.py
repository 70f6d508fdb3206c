"""Unique rows: repeats merged, leaks out. What did not change is not compared again."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from assets.accounting import Settled, replacing, resettle, settle
from assets.code import code_version
from assets.delta import SEEN, changed_ids, changed_rows, read_kept, remember_rows
from assets.recipe_texts import row_sources
from assets.stage import Job, stage
from curation.accounts import tally_rows
from curation.band_index import COMPARED, read_indexes, remember_indexes
from curation.conflicts import reject_rows
from curation.dedup import SIGNATURE_SCHEMA, Duplicates, find_duplicates, near_ids, sign_rows
from curation.engines._base import engine_for
from curation.fates import keep_rows
from curation.related import find_related
from curation.rows import PLAIN, digest
from curation.store import Made, Version
from curation.table_parts import look_up_said, read_pieces
from curation.tables import lookup, read_table

GROUP = "4_curate"

LABELS = ("id", "split", "track", "source", "origin")
"""What the steps that compare rows read of every row; the texts only of those in question."""


def candidates(rows: Version, augmented_rows: Version, columns: Sequence[str]) -> pl.DataFrame:
    """Every row that may be trained on: the imported ones of the train split and the made ones."""
    imported = rows.table("rows", columns, where=pl.col("split") == "train")
    made = augmented_rows.table("rows", columns).join(imported, on="id", how="anti")
    return pl.concat([imported, made]).sort("id")


def _read_candidates(
    rows: Version, augmented_rows: Version, ids: Iterable[str], *, texts: bool = True
) -> pl.DataFrame:
    """Those of these rows that are `candidates`, with their texts.

    A bad case set right is one although its row was imported too, to be held out.
    """
    ids = list(ids)
    imported = rows.lookup("rows", ids, texts=texts).filter(pl.col("split") == "train")
    made = augmented_rows.lookup("rows", ids, texts=texts).join(imported, on="id", how="anti")
    return pl.concat([imported, made]).sort("id")


def read_rows(rows: Version, augmented_rows: Version, ids: Iterable[str]) -> pl.DataFrame:
    """These rows with their texts, as imported or else as made."""
    ids = list(ids)
    imported = rows.lookup("rows", ids)
    made = augmented_rows.lookup("rows", ids).join(imported, on="id", how="anti")
    return pl.concat([imported, made]).sort("id")


@stage(
    GROUP,
    section=("dedup", "task"),
    reads=lambda job: _named(job),
    checks=("conservation",),
)
def duplicates(job: Job, rows: Version, augmented_rows: Version, verdicts: Version) -> Made:
    """Which rows repeat which, prompts with two different answers, and what people rejected."""
    signatures = sign_all(job, rows, augmented_rows, "dedup")
    since, ids = _to_compare(job, rows, augmented_rows, verdicts, signatures)
    bands, names = None, [*SIGNATURE_SCHEMA.names()]
    if ids is None:  # the bands are most of what is said of all rows
        names.remove("bands")
        signed = read_table(job.store, signatures.entry, names)
        bands = (piece for piece, _ in read_pieces(job.store, signatures.entry, ["id", "bands"]))
        entered = candidates(rows, augmented_rows, LABELS)
        made = augmented_rows.table("rows", ["id", "source"])
    else:
        signed = lookup(job.store, signatures.entry, ids, names)
        entered = _read_candidates(rows, augmented_rows, ids, texts=False)
        made = augmented_rows.lookup("rows", ids, texts=False)
    # Of equal rows the one whose source the recipe names first stays, unless it says otherwise.
    options = {"priority": row_sources(job.recipe.sources), **job.recipe.options["dedup"]}
    options |= _sign_options(job, "dedup")
    rejected = reject_rows(entered, signed, verdicts.table("rows"))
    found = find_duplicates(
        entered.join(rejected, on="id", how="anti", maintain_order="left"),
        task=job.recipe.task,
        signed=signed,
        bands=bands,
        read=lambda ids: _read_candidates(rows, augmented_rows, ids),
        engine=engine_for(job.recipe.engine, entered.height),
        report=job.report,
        **options,
    )
    found = replace(found, fates=pl.concat([found.fates, rejected]).sort("id"))
    settled = _settle_repeats(entered, made, found.fates)
    if since and ids is not None:
        return _replace_repeats(since, ids, found, settled, signatures.memos)
    tables = {name: getattr(found, name) for name in ("pairs", "conflicts", "fates", "facts")}
    return Made(tables, memos=signatures.memos, **settled)


def _replace_repeats(
    since: Version, ids: list[str], found: Duplicates, settled: Settled, memos: list[str]
) -> Made:
    """The version since, with what was found for these rows in place of what was."""
    then_made = since.input("augmented_rows")
    before = _read_candidates(since.input("rows"), then_made, ids, texts=False)
    made = then_made.lookup("rows", ids, texts=False)
    was = _settle_repeats(before, made, since.lookup("fates", ids))
    changes = {name: replacing(ids, getattr(found, name)) for name in ("pairs", "fates", "facts")}
    old = since.table("conflicts")
    others = old.filter(~pl.col("ids").list.eval(pl.element().is_in(ids)).list.any())
    conflicts = pl.concat([others, found.conflicts])
    books = resettle(since, was, settled)
    return Made({**changes, "conflicts": conflicts}, memos=memos, since=since, **books)


class Signatures(NamedTuple):
    """The remembered signatures of all rows: their table, its memo, and that of its indexes."""

    entry: dict[str, Any]
    memo: str
    indexes: str

    @property
    def memos(self) -> list[str]:
        """What a version names that looked at them."""
        return [self.memo, self.indexes]


def _to_compare(
    job: Job, rows: Version, augmented_rows: Version, verdicts: Version, signatures: Signatures
) -> tuple[Version | None, list[str] | None]:
    """The version to build on and the ids to compare anew; no version and None for all of them."""
    since = job.same_code
    if since is None:
        return None, None
    same_names = since.manifest["how"]["reads"] == digest(_named(job))
    if not same_names or signatures.memo not in since.manifest["memos"]:
        return None, None
    changed = changed_ids(since, [(one, "rows") for one in (rows, augmented_rows, verdicts)])
    signing = _sign_options(job, "dedup")

    def near(pairs: pl.DataFrame) -> list[str]:
        asked = {*pairs["id"], *pairs["other"]}
        full = _read_candidates(rows, augmented_rows, asked)
        if gone := asked.difference(full["id"]):  # what a row was merged into may be no more
            then = _read_candidates(since.input("rows"), since.input("augmented_rows"), gone)
            full = pl.concat([full, then])
        said = {name: signing[name] for name in ("threshold", "templates")}
        return near_ids(pairs, full, task=job.recipe.task, **said)

    def read(ids: pl.Series) -> pl.DataFrame:
        return look_up_said(job.store, signatures.entry, ids, COMPARED)

    among = read_indexes(job.store, signatures.entry, signatures.indexes)
    most = signatures.entry["rows"] // 4
    ids = find_related(changed, among, read, most=most, near=near)
    return (None, None) if ids is None else (since, ids)


def _settle_repeats(entered: pl.DataFrame, made: pl.DataFrame, fates: pl.DataFrame) -> Settled:
    """The books of candidates, some of which were made here."""
    again = made.join(entered, on=["id", "source"], how="anti")
    imported = entered.join(made, on=["id", "source"], how="anti")
    came = {"rows/train": tally_rows(imported), "augmented_rows/made": tally_rows(made)}
    return settle(came, fates, besides={"imported already": tally_rows(again)})


def sign_all(job: Job, rows: Version, augmented_rows: Version, section: str) -> Signatures:
    """The signatures of all imported and made rows, each signed once ever.

    A section of the recipe says how near is near.
    """
    options = _sign_options(job, section)
    made_by = [options, job.recipe.task_plug.section, code_version(sign_rows)]
    memo, task = f"signatures-{digest(made_by)}", job.recipe.task
    entry: dict[str, Any] = {}
    for version in (rows, augmented_rows):
        wanted = _to_sign(job, version, memo)
        if version is augmented_rows:  # a row that is imported too is signed as that
            change = changed_rows(job, rows, memo)
            if change and change.gone.height:  # and one that no longer is, as made
                again = augmented_rows.lookup("rows", change.gone["id"], texts=False)
                wanted = pl.concat([wanted, again.select(SEEN)]).unique("id")
            imported = rows.lookup("rows", wanted["id"], ["id"])
            wanted = wanted.join(imported, on="id", how="anti")
        entry = remember_rows(
            job,
            version,
            lambda batch: sign_rows(batch, task=task, **options),
            wanted,
            memo=memo,
            kind="signatures",
            engine=job.recipe.engine,
        )
    return Signatures(entry, memo, remember_indexes(job.store, entry, memo))


def _sign_options(job: Job, section: str) -> dict[str, Any]:
    """How a section of the recipe has rows signed; what it leaves out stands in the signature."""
    options = {
        name: job.recipe.options[section].get(name, given.default)
        for name, given in inspect.signature(sign_rows).parameters.items()
        if name in ("threshold", "permutations", "seed")
    }
    return {**options, "templates": templates_of(job)}


def templates_of(job: Job) -> list[str]:
    """The templates that `dedup` names, and those that build the prompts of a source."""
    named = job.recipe.options["dedup"].get("templates", ())
    built = (plug.common.get("template", "") for plug in job.recipe.sources.values())
    return sorted({*named, *filter(None, built)})


def _named(job: Job) -> list[list[str]]:
    """What the recipe says of sources that decides which row stays, and which are near."""
    return [row_sources(job.recipe.sources), templates_of(job)]


def _to_sign(job: Job, version: Version, memo: str) -> pl.DataFrame:
    """What is `SEEN` of the rows that became others, or of all."""
    change = changed_rows(job, version, memo)
    return change.upserts.select(SEEN) if change else version.table("rows", SEEN)


@stage(GROUP)
def unique_rows(job: Job, rows: Version, augmented_rows: Version, duplicates: Version) -> Made:
    """One row per meaning: the keepers of the merged rows and everything that repeats nothing."""
    since = job.same_code
    if since is None:
        fates = duplicates.table("fates", ["id", "fate"])
        train = pl.col("split") == "train"
        made = keep_rows(augmented_rows.table("rows", PLAIN), fates)
        imported = rows.lookup("rows", made["id"], ["id", "split"]).filter(train)
        made = made.join(imported, on="id", how="anti", maintain_order="left")
        return Made(tables={"rows": read_kept(rows, fates, where=train, besides=made)})
    tables = ((rows, "rows"), (augmented_rows, "rows"), (duplicates, "fates"))
    ids = changed_ids(since, tables)
    entered = _read_candidates(rows, augmented_rows, ids, texts=False)
    kept = keep_rows(entered, duplicates.lookup("fates", ids))
    return Made(tables={"rows": replacing(ids, kept)}, since=since)
