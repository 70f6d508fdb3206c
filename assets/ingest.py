"""Ingest: every delivered record becomes a row, a repeat or a quarantined record with a reason."""

import polars as pl

from assets.recipe import Plug, Recipe
from assets.stage import Job, Stage
from curation.accounts import Account, count_records, tally_rows
from curation.ingest import Ingested, merge_sources, read_source
from curation.store import Made, Version

GROUP = "1_ingest"


def source_stages(recipe: Recipe) -> list[Stage]:
    """One stage for each source of the recipe."""
    return [_source_stage(name, plug) for name, plug in recipe.sources.items()]


def _source_stage(name: str, plug: Plug) -> Stage:
    def source(job: Job) -> Made:
        revision = str(plug.options.get("revision", ""))
        system = job.recipe.task.system if plug.common.get("track", "domain") == "domain" else None
        common = {"revision": revision, **plug.common}
        read = read_source(plug.make()(), source=name, system=system, report=job.report, **common)
        counts = read.counts
        left = {"new": tally_rows(read.rows)}
        left |= {k: count_records(name, counts[k]) for k in ("duplicate", "quarantined")}
        account = Account({"delivered": count_records(name, counts["delivered"])}, left)
        return _made(read, account)

    source.__doc__ = (
        f"Records of source `{name}` ({plug.use}) as rows, each delivered record accounted for."
    )
    return Stage(
        name=f"sources/{name}",
        group=GROUP,
        work=source,
        section=plug.section,
        code=(plug.module, "curation.ingest", "curation.formats"),
        reads=lambda job: [plug.files_digest(), job.recipe.task.system],
        checks=("conservation",),
        kinds=(plug.use,) if plug.use in ("csv", "parquet", "json") else (),
    )


def rows_stage(recipe: Recipe) -> Stage:
    """The stage that merges all sources into one table."""

    def rows(job: Job, *sources: Version) -> Made:
        """All imported rows, one per content id, whatever sources delivered the same text."""
        parts = [Ingested(s.table("rows"), s.table("occurrences")) for s in sources]
        merged = merge_sources(parts)
        given = [part.rows.select("id", "source") for part in parts]
        beaten = pl.concat(given).join(merged.rows, on=["id", "source"], how="anti")
        by_split = merged.rows.partition_by("split", as_dict=True)
        left = {split: tally_rows(frame) for (split,), frame in sorted(by_split.items())}
        entered = {f"{n}/new": tally_rows(g) for n, g in zip(names, given, strict=True)}
        return _made(merged, Account(entered, left | {"merged": tally_rows(beaten)}))

    names = tuple(f"sources/{name}" for name in recipe.sources)
    return Stage("rows", GROUP, rows, names, checks=("conservation",))


def _made(read: Ingested, account: Account) -> Made:
    """Tables, counts and the proof that each record has one outcome and each row a record."""
    occurrences = read.occurrences
    outcome = pl.when(pl.col("outcome") == "quarantined").then(
        pl.concat_str(pl.lit("quarantined: "), pl.col("reason").str.split(":").list.first())
    )
    counted = (
        occurrences.group_by(outcome.otherwise(pl.col("outcome")).alias("fate")).len().sort("fate")
    )
    wrong = account.problems()
    return Made(
        tables={"rows": read.rows, "occurrences": occurrences},
        values={
            "fates": dict(counted.iter_rows()),
            "splits": dict(read.rows.group_by("split").len().sort("split").iter_rows()),
            "account": account.to_dict(),
        },
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
    )
