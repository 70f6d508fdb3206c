"""The exam: training rows part from those only measured on. While it stays, only new rows cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from assets.accounting import Settled, replacing, resettle, settle
from assets.delta import changed_ids, is_input_of, read_kept
from assets.stage import Job, stage
from assets.unique import GROUP, LABELS, Signatures, read_rows, sign_all, templates_of
from curation.accounts import tally_rows
from curation.band_index import read_indexes
from curation.dedup import SIGNATURE_SCHEMA
from curation.exam import Exam, keep_exam, set_exam
from curation.related import find_alike
from curation.store import Made, Version
from curation.tables import lookup

_WHOLE = ("exam", "clusters", "once", "withdrawn")
"""Tables that are small and written whole."""


@stage(GROUP, section=("split", "task"), checks=("conservation",), remembers=("once",))
def split_rows(
    job: Job,
    rows: Version,
    augmented_rows: Version,
    bad_cases: Version,
    duplicates: Version,
    unique_rows: Version,
) -> Made:
    """Rows that share nothing with the test set or the held-back half: the exam stays unseen."""
    signatures = sign_all(job, rows, augmented_rows, "split")
    setting = _Setting(job, rows, augmented_rows, bad_cases, duplicates, unique_rows, signatures)
    if partly := setting.partly():
        since, ids = partly.since, partly.ids
        found, settled = setting.part(partly)
        if all(getattr(found, name).equals(since.table(name)) for name in ("exam", "withdrawn")):
            before = since.input("unique_rows").lookup("rows", ids, texts=False)
            was = setting.settle(before, since.lookup("fates", ids), found.exam)
            changes = {name: replacing(ids, getattr(found, name)) for name in ("rows", "fates")}
            whole = {name: getattr(found, name) for name in _WHOLE}
            books = resettle(since, was, settled)
            return Made({**changes, **whole}, since=since, memos=signatures.memos, **books)
    found, settled = setting.part(None)
    tables: dict[str, Any] = {name: getattr(found, name) for name in (*_WHOLE, "fates")}
    del found  # and the candidates with it
    tables["rows"] = read_kept(unique_rows, tables["fates"])
    return Made(tables, memos=signatures.memos, **settled)


class _Partly(NamedTuple):
    """The version to build on and the ids to look at anew, while the exam stays the same.

    `examined` are the ids of all that the exam is set from, where none of that is another.
    """

    since: Version
    ids: list[str]
    examined: pl.Series | None


@dataclass(frozen=True)
class _Setting:
    """What an exam is set from."""

    job: Job
    rows: Version
    augmented_rows: Version
    bad_cases: Version
    duplicates: Version
    unique_rows: Version
    signatures: Signatures

    @cached_property
    def imported(self) -> pl.DataFrame:
        """Labels of the imported rows it is set from: domain rows, and those not to train on."""
        examined = (pl.col("track") == "domain") | (pl.col("split") != "train")
        return self.rows.table("rows", ["id", "split", "track", "source"], where=examined)

    @property
    def once(self) -> pl.DataFrame | None:
        """What the version before remembers, whatever code or options made it."""
        before = self.job.previous
        return before.table("once") if before and "once" in before.tables else None

    def part(self, partly: _Partly | None) -> tuple[Exam, Settled]:
        """The exam and the verdicts on some rows, or on all of them."""

        def alike(tested: pl.DataFrame) -> pl.DataFrame:
            store, signed = self.job.store, self.signatures
            ids = partly.ids if partly else None
            if ids is None:
                ids = find_alike(read_indexes(store, signed.entry, signed.indexes), tested)
            return lookup(store, signed.entry, ids, SIGNATURE_SCHEMA.names())

        cases, pairs = self.bad_cases.table("rows"), self.duplicates.table("pairs")
        said = self.job.recipe.options["split"]
        options: dict[str, Any] = {
            "task": self.job.recipe.task,
            "templates": templates_of(self.job),
            "alike": alike,
            "read": lambda ids: read_rows(self.rows, self.augmented_rows, ids),
            "report": self.job.report,
        }
        if partly:
            unique = self.unique_rows.lookup("rows", partly.ids, texts=False)
        else:
            unique = self.unique_rows.table("rows", [*LABELS, "prompt_id"])
        if partly and partly.examined is not None:
            then = (partly.since.table(name) for name in _WHOLE)
            exam, clusters, once, withdrawn = then
            options |= {name: said[name] for name in ("threshold",) if name in said}
            options["examined"] = partly.examined
            given = (exam, clusters, once, withdrawn, unique, cases, pairs)
            found = keep_exam(*given, **options)
        else:
            edges = self.augmented_rows.table("edges")
            given = (unique, self.imported, cases, edges, pairs, self.once)
            found = set_exam(*given, **options, **said)
        return found, self.settle(unique, found.fates, found.exam)

    def settle(self, unique: pl.DataFrame, fates: pl.DataFrame, exam: pl.DataFrame) -> Settled:
        """The books of candidates, and of the rows that were imported to be examined by."""
        held = self.imported.filter(pl.col("split") != "train")
        by_split = held.partition_by("split", as_dict=True)
        entered = {f"rows/{split}": tally_rows(part) for (split,), part in by_split.items()}
        asked = exam.join(held, on="id", how="semi")
        entered["duplicates/kept"] = tally_rows(unique)
        return settle(entered, fates, besides={"exam": tally_rows(asked)})

    def partly(self) -> _Partly | None:
        """What to look at anew; None for everything.

        Those are the changed rows, and the domain's unless these are all general ones: of other
        rows only those that stem from one another could share a cluster with the exam.
        """
        since = self.job.same_code
        if since is None:
            return None
        trained = self.imported.filter(pl.col("split") == "train")
        made = self.augmented_rows.table("rows", ["id"], where=pl.col("track") == "domain")
        domain = {*trained["id"], *made["id"]}
        edges = self.augmented_rows.table("edges")
        related = {*edges["child"], *edges["parent"]}
        if self.unique_rows.lookup("rows", related - domain, ["id"]).height:
            return None
        versions = (self.rows, self.augmented_rows, self.unique_rows)
        ids, examined = changed_ids(since, [(version, "rows") for version in versions]), None
        same = all(is_input_of(since, one) for one in (self.augmented_rows, self.bad_cases))
        if same and self._are_general(since, ids):
            examined = pl.Series("id", sorted({*self.imported["id"], *made["id"], *related}))
        else:
            ids = sorted(domain.union(ids))
        few = len(ids) <= self.unique_rows.tables["rows"]["rows"] // 4
        return _Partly(since, ids, examined) if few else None

    def _are_general(self, since: Version, ids: Iterable[str]) -> bool:
        """Whether these are imported general rows to train on, then and now."""
        wanted = {*ids}
        versions = (since.input("rows"), self.rows)
        told = pl.concat(version.lookup("rows", wanted, texts=False) for version in versions)
        general = (pl.col("track") == "general") & (pl.col("split") == "train")
        return told.filter(~general).is_empty() and {*told["id"]} == wanted
