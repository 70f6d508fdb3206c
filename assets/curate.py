"""Curate: every quality measured, and one fate for every row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.accounting import counts_frame, replacing, resettle, settle
from assets.code import code_version
from assets.delta import changed_ids, map_rows, read_kept
from assets.recipe import Plug, Recipe
from assets.stage import Job, Stage, stage
from assets.unique import GROUP
from curation.accounts import tally_rows
from curation.fates import keep_rows, make_fates, require_share
from curation.frames import Bare
from curation.rows import PLAIN, ROW_SCHEMA, digest
from curation.rules import judge_rows, read_columns
from curation.runs import SLICE
from curation.scorers._base import ScoreContext, Scorer
from curation.scoring import failed_scores, join_facts, score_rows, take_reference
from curation.store import Change, Made, Version

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


@stage(GROUP, section=("reference",))
def reference(job: Job, rows: Version) -> Made:
    """Trusted rows that scorers take as the measure of good text, frozen till the next edition."""
    options = job.recipe.options["reference"]
    frozen = before.table("rows", PLAIN) if (before := job.same_section) else None
    taken = take_reference(rows.table("rows", PLAIN), frozen, **options)
    return Made(tables={"rows": Bare(taken, ROW_SCHEMA)})


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
        fingerprint = digest(
            [section, code_version(plug.factory, code), models, plug.files_digest()]
        )
        context = _context(job, given)
        scorer, memo = plug.make(), f"facts-{fingerprint}"
        scored, since = map_rows(
            job, split_rows, lambda rows: _score(name, rows, scorer, context), memo=memo, kind=name
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
        files=plug.files_state,
    )


def _score(name: str, rows: pl.DataFrame, scorer: Scorer, context: ScoreContext) -> pl.DataFrame:
    """Facts of the rows; what a scorer raises on most of them is said in one line with its name."""
    try:
        return score_rows(rows, scorer, context)
    except OSError:  # a file or model that cannot be had says itself how to go on
        raise
    except Exception as error:
        said = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(f"the scorer {name!r} fails: {type(error).__name__}: {said}") from error


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
    named = read_columns(job.recipe.keep, [*PLAIN, *scorers])
    if ids is None:  # a scorer that is named like a column must meet it, to be refused
        needed = [c for c in PLAIN if c in {"id", "source", *named, *scorers}]
        entered = split_rows.table("rows", needed)
    else:
        entered = split_rows.lookup("rows", ids, texts=False)
    scored, errors = entered, dict[str, pl.DataFrame]()
    for name, version in scorers.items():
        facts_of = version.table("facts") if ids is None else version.lookup("facts", ids)
        scored = join_facts(scored, {name: facts_of})
        errors[name] = facts_of.filter(pl.col("status") == "error")
    fates = _judge(scored, failed_scores(errors, named), job.recipe.keep)
    tables: dict[str, Any] = {"fates": fates, "scores": scored.select("id", *scorers)}
    came = {"split_rows/kept": tally_rows(entered)}
    if since and ids is not None:
        before = since.input("split_rows").lookup("rows", ids, texts=False)
        was = settle({"split_rows/kept": tally_rows(before)}, since.lookup("fates", ids))
        settled = resettle(since, was, settle(came, fates))
        tables["scores"] = _typed_as(since.lookup("scores", ()), tables["scores"])
        tables["rows"] = keep_rows(entered, fates)
        tables = {name: replacing(ids, frame) for name, frame in tables.items()}
    else:
        settled = settle(came, fates)
        del entered, scored
        tables["rows"] = read_kept(split_rows, fates)
    settled["checks"]["share"] = _share_check(job, settled["values"]["fates_by_source"])
    return Made(tables, since=since, **settled)


def _typed_as(before: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Scores whose columns without a value take the type that they had before: none tells it."""
    unknown = [name for name in scores.columns if scores[name].null_count() == scores.height]
    return scores.cast({name: before.schema[name] for name in unknown})


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
    since = job.same_code
    if since is None:
        return None, None
    if not since.tables["scores"]["rows"]:  # of no rows the scores have no type to go on with
        return None, None
    tables = [(split_rows, "rows"), *((version, "facts") for version in scorers.values())]
    return since, changed_ids(since, tables)


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
    """How many rows have a score, and where the scores lie, to choose a threshold by.

    Where they lie is said of the rows whose ids come first, a slice of them: ids are digests, so
    it is a fair sample, and the same one in whatever deliveries the rows came.
    """
    if not isinstance(scored, Change):
        return _said_of(_count_status(scored), scored.head(SLICE))
    assert since is not None, "a change is told from a version"
    replaced = pl.concat([scored.gone["id"], scored.upserts["id"]])
    counts = Counter(since.values["status"]) + _count_status(scored.upserts)
    counts -= _count_status(since.lookup("facts", replaced))
    first = since.first("facts", SLICE + len(replaced), ["id", "value"])
    first = first.filter(~pl.col("id").is_in(replaced.implode()))
    first = pl.concat([first, scored.upserts.select("id", "value")]).sort("id").head(SLICE)
    return _said_of(counts, first)


def _count_status(scored: pl.DataFrame) -> Counter[str]:
    return Counter(scored["status"].to_list())


def _said_of(status: Counter[str], some: pl.DataFrame) -> dict[str, Any]:
    values = some["value"].drop_nulls()
    places = {f"p{round(q * 100)}": values.quantile(q) for q in QUANTILES if len(values)}
    return {
        "status": dict(sorted(status.items())),
        "quantiles": {name: round(float(value or 0.0), 4) for name, value in places.items()},
    }
