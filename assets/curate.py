"""Curate: repeats merged, leaks out, every quality measured, and one fate for every row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.accounting import counts_frame, replacing, resettle, settle
from assets.code import code_version
from assets.delta import map_rows
from assets.recipe import Plug, Recipe
from assets.stage import Job, Stage, stage
from curation.accounts import tally_rows
from curation.dedup import find_duplicates
from curation.exam import set_exam
from curation.fates import keep_rows, make_fates, require_share
from curation.rows import digest
from curation.rules import judge_rows, read_columns
from curation.scorers._base import ScoreContext
from curation.scoring import failed_scores, join_facts, score_rows, take_reference
from curation.store import Change, Made, Version

GROUP = "4_curate"
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


def candidates(rows: Version, augmented_rows: Version) -> pl.DataFrame:
    """Every row that may be trained on: the imported ones of the train split and the made ones."""
    imported = rows.table("rows").filter(pl.col("split") == "train")
    made = augmented_rows.table("rows").join(imported, on="id", how="anti")
    return pl.concat([imported, made]).sort("id")


@stage(
    GROUP,
    section=("dedup", "task"),
    reads=lambda job: list(job.recipe.sources),
    checks=("conservation",),
)
def duplicates(job: Job, rows: Version, augmented_rows: Version) -> Made:
    """Which rows repeat which: exact and near repeats, and prompts with two different answers."""
    entered = candidates(rows, augmented_rows)
    # Of equal rows the one whose source the recipe names first stays, unless it says otherwise.
    options = {"priority": list(job.recipe.sources), **job.recipe.options["dedup"]}
    found = find_duplicates(entered, task=job.recipe.task, report=job.report, **options)
    tables = {name: getattr(found, name) for name in ("pairs", "conflicts", "fates", "facts")}
    made = augmented_rows.table("rows", ["id", "source"])
    again = made.join(entered, on=["id", "source"], how="anti")
    imported = entered.join(made, on=["id", "source"], how="anti")
    came = {"rows/train": tally_rows(imported), "augmented_rows/made": tally_rows(made)}
    known = {"imported already": tally_rows(again)}
    return Made(tables, **settle(came, found.fates, besides=known))


@stage(GROUP)
def unique_rows(job: Job, rows: Version, augmented_rows: Version, duplicates: Version) -> Made:
    """One row per meaning: the keepers of the merged rows and everything that repeats nothing."""
    kept = keep_rows(candidates(rows, augmented_rows), duplicates.table("fates"))
    return Made(tables={"rows": kept})


@stage(GROUP, section=("split", "task"), checks=("conservation",))
def split_rows(
    job: Job,
    rows: Version,
    augmented_rows: Version,
    bad_cases: Version,
    duplicates: Version,
    unique_rows: Version,
) -> Made:
    """Rows that share nothing with the test set or the held-back half: the exam stays unseen."""
    unique = unique_rows.table("rows")
    found = set_exam(
        unique,
        rows.table("rows"),
        bad_cases.table("rows"),
        augmented_rows.table("edges"),
        duplicates.table("pairs"),
        task=job.recipe.task,
        report=job.report,
        **job.recipe.options["split"],
    )
    tables = {name: getattr(found, name) for name in ("rows", "exam", "fates", "clusters")}
    came = {"duplicates/kept": tally_rows(unique)}
    return Made(tables, **settle(came, found.fates))


@stage(GROUP, section=("reference",))
def reference(job: Job, rows: Version) -> Made:
    """Trusted rows that scorers take as the measure of good text, frozen till the next edition."""
    options = job.recipe.options["reference"]
    before = job.previous
    same = before is not None and before.manifest["how"]["section"] == job.section
    frozen = before.table("rows") if before and same else None
    return Made(tables={"rows": take_reference(rows.table("rows"), frozen, **options)})


def fact_stages(recipe: Recipe) -> list[Stage]:
    """One stage for each scorer of the recipe."""
    return [_fact_stage(recipe, name, plug) for name, plug in recipe.scorers.items()]


def _fact_stage(recipe: Recipe, name: str, plug: Plug) -> Stage:
    needed = [use for use in plug.uses if use != "task"]
    section = [plug.section, recipe.task_plug.section if "task" in plug.uses else ""]
    code = (plug.module, *([recipe.task_plug.module] if "task" in plug.uses else []))

    def facts(job: Job, split_rows: Version, *inputs: Version) -> Made:
        given = dict(zip(needed, inputs, strict=True))
        models = {use: version.data_version for use, version in given.items()}
        fingerprint = digest([section, code_version(plug.factory, code), models])
        context = _context(job, given)
        scorer, memo = plug.make(), f"facts-{fingerprint}"
        scored, since = map_rows(
            job, split_rows, lambda rows: score_rows(rows, scorer, context), memo=memo, kind=name
        )
        values = {"fingerprint": fingerprint, **_describe_facts(scored, since)}
        return Made({"facts": scored}, values=values, since=since, memos=[memo])

    facts.__doc__ = (
        f"Score `{name}` ({plug.use}) of each row; a row that has its score is not measured again."
    )
    return Stage(
        f"facts/{name}",
        GROUP,
        facts,
        ("split_rows", *needed),
        section,
        code,
        reads=lambda job: plug.files_digest(),
    )


@stage(
    GROUP,
    section=("keep", "guard", "scorers"),
    checks=("conservation", "share"),
    guards=("conservation", "share"),
)
def _kept_rows(job: Job, split_rows: Version, duplicates: Version, *facts: Version) -> Made:
    """Rows that pass every rule of the recipe, and for every other row the first rule it broke."""
    scorers = {f.name.rpartition("/")[2]: f for f in facts} | {"label_conflict": duplicates}
    since, ids = _to_judge(job, split_rows, scorers)
    if ids is None:
        entered = split_rows.table("rows")
        found = {name: version.table("facts") for name, version in scorers.items()}
    else:
        entered = split_rows.lookup("rows", ids)
        found = {name: version.lookup("facts", ids) for name, version in scorers.items()}
    scored = join_facts(entered, found)
    failed = failed_scores(found, read_columns(job.recipe.keep, scored.columns))
    fates = _judge(scored, failed, job.recipe.keep)
    tables = {
        "rows": keep_rows(entered, fates),
        "fates": fates,
        "scores": scored.select("id", *scorers),
    }
    came = {"split_rows/kept": tally_rows(entered)}
    if since and ids is not None:
        settled = resettle(since, ids, came, fates)
        tables = {name: replacing(ids, frame) for name, frame in tables.items()}
    else:
        settled = settle(came, fates)
    settled["checks"]["share"] = _share_check(job, settled["values"]["fates_by_source"])
    return Made(tables, since=since, **settled)


def _judge(scored: pl.DataFrame, failed: pl.DataFrame, rules: Sequence[str]) -> pl.DataFrame:
    """A fate for each row: `quarantined` where a scorer failed on it, else by the rules."""
    broken = scored.join(failed, on="id")
    reason = pl.lit("error: ") + pl.col("scorer")
    quarantined = make_fates(broken, "quarantined", reason=reason)
    judged = judge_rows(scored.join(failed, on="id", how="anti"), rules)
    return pl.concat([judged, quarantined]).sort("id")


def _share_check(job: Job, counts: list[list[Any]]) -> tuple[bool, str]:
    try:
        require_share(counts_frame(counts), **job.recipe.options["guard"])
    except ValueError as error:
        return False, str(error)
    return True, "no rule removes more of a source than it may"


def _to_judge(
    job: Job, split_rows: Version, scorers: Mapping[str, Version]
) -> tuple[Version | None, list[str] | None]:
    """The version to build on and the ids to judge anew; no version and None for all of them."""
    since = job.previous
    if since is None or since.manifest["how"]["code"] != job.code:
        return None, None
    changes = [split_rows.changes("rows", since.input("split_rows"))]
    for version in scorers.values():
        before = since.input(version.name.partition("/")[2])
        changes.append(version.changes("facts", before))
    ids = {i for c in changes for frame in (c.upserts, c.gone) for i in frame["id"]}
    return since, sorted(ids)


def kept_stage(recipe: Recipe) -> Stage:
    """The judging stage, which reads every scorer's facts."""
    made = _kept_rows(recipe)
    facts = tuple(f"facts/{name}" for name in recipe.scorers)
    return Stage(
        "kept_rows", made.group, made.work, ("split_rows", "duplicates", *facts), made.section,
        checks=made.checks, guards=made.guards,
    )  # fmt: skip


def _context(job: Job, given: dict[str, Version]) -> ScoreContext:
    reference = pl.DataFrame()
    if "reference" in given:
        reference = given["reference"].table("rows")
    models = {use: Path(model_path(v)) for use, v in given.items() if use != "reference"}
    revision = model_revision(given["base_model"]) if "base_model" in given else ""
    return ScoreContext(job.recipe.task, reference, report=job.report, revision=revision, **models)


def model_path(version: Version) -> str:
    """Where a model lies: our folder, or the hub id or path the recipe names."""
    return str(version.folder("model")) if version.manifest["folders"] else version.values["model"]


def model_revision(version: Version) -> str:
    """The pinned commit of a model that comes from a hub, "" for one of our own."""
    return version.values.get("revision", "")


def _describe_facts(scored: pl.DataFrame | Change, since: Version | None) -> dict[str, Any]:
    """How many rows have a score, and where the scores lie, to choose a threshold by."""
    if isinstance(scored, Change):
        assert since is not None, "a change is told from a version"
        drop = pl.concat([scored.gone, scored.upserts.select("id")])
        before = since.table("facts", ["id", "value", "status"]).join(drop, on="id", how="anti")
        scored = pl.concat([before, scored.upserts.select(before.columns)])
    values = scored["value"].drop_nulls()
    places = {f"p{round(q * 100)}": values.quantile(q) for q in QUANTILES if len(values)}
    return {
        "status": dict(scored.group_by("status").len().sort("status").iter_rows()),
        "quantiles": {name: round(float(value or 0.0), 4) for name, value in places.items()},
    }
