"""Curate: repeats merged, leaks out, every quality measured, and one fate for every row."""

from pathlib import Path

import polars as pl

from assets.code import code_version
from assets.recipe import Plug, Recipe
from assets.stage import Job, Stage, stage
from curation.dedup import find_duplicates
from curation.exam import set_exam
from curation.fates import count_fates, keep_rows, prove_conservation, require_share
from curation.rows import digest
from curation.rules import judge_rows
from curation.scorers._base import ScoreContext
from curation.scoring import FACT_SCHEMA, join_facts, score_rows
from curation.store import Made, Store, Version

GROUP = "4_curate"


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
    return Made(tables, **account(entered, found.fates))


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
    return Made(tables, **account(unique, found.fates))


def fact_stages(recipe: Recipe) -> list[Stage]:
    """One stage for each scorer of the recipe."""
    return [_fact_stage(recipe, name, plug) for name, plug in recipe.scorers.items()]


def _fact_stage(recipe: Recipe, name: str, plug: Plug) -> Stage:
    uses = {"reference": "rows", "base_model": "base_model", "reward_model": "reward_model"}
    needed = [use for use in plug.uses if use in uses]
    section = [plug.section, recipe.task_plug.section if "task" in plug.uses else ""]
    code = (plug.module, *([recipe.task_plug.module] if "task" in plug.uses else []))

    def facts(job: Job, split_rows: Version, *inputs: Version) -> Made:
        given = dict(zip(needed, inputs, strict=True))
        fingerprint = digest(
            [
                section,
                code_version(plug.factory, code),
                {use: v.data_version for use, v in given.items()},
            ]
        )
        rows = split_rows.table("rows")
        previous = _recall_facts(job.store, fingerprint)
        scored = score_rows(rows, plug.make(), _context(job, given), previous=previous)
        fresh = scored.join(previous, on="id", how="anti")
        _remember_facts(job.store, fingerprint, name, fresh)
        values = scored["value"].drop_nulls()
        status = dict(scored.group_by("status").len().sort("status").iter_rows())
        return Made(
            tables={"facts": scored},
            values={"fingerprint": fingerprint, "status": status, "quantiles": _quantiles(values)},
        )

    facts.__doc__ = (
        f"Score `{name}` ({plug.use}) of each row; a row that has its score is not measured again."
    )
    inputs = ("split_rows", *(uses[use] for use in needed))
    return Stage(
        f"facts/{name}", GROUP, facts, inputs, section, code, reads=lambda job: plug.files_digest()
    )


@stage(
    GROUP,
    section=("keep", "guard", "scorers"),
    checks=("conservation", "share"),
    guards=("conservation", "share"),
)
def _kept_rows(job: Job, split_rows: Version, duplicates: Version, *facts: Version) -> Made:
    """Rows that pass every rule of the recipe, and for every other row the first rule it broke."""
    entered = split_rows.table("rows")
    scorers = {f.name.rpartition("/")[2]: f.table("facts") for f in facts}
    scorers["label_conflict"] = duplicates.table("facts")
    scored = join_facts(entered, scorers)
    fates = judge_rows(scored, job.recipe.keep)
    scores = scored.select("id", *scorers)
    accounted = account(entered, fates)
    try:
        require_share(fates, **job.recipe.options["guard"])
        accounted["checks"]["share"] = (True, "no rule removes more of a source than it may")
    except ValueError as error:
        accounted["checks"]["share"] = (False, str(error))
    return Made({"rows": keep_rows(entered, fates), "fates": fates, "scores": scores}, **accounted)


def kept_stage(recipe: Recipe) -> Stage:
    """The judging stage, which reads every scorer's facts."""
    made = _kept_rows(recipe)
    facts = tuple(f"facts/{name}" for name in recipe.scorers)
    return Stage(
        "kept_rows", made.group, made.work, ("split_rows", "duplicates", *facts), made.section,
        checks=made.checks, guards=made.guards,
    )  # fmt: skip


def account(entered: pl.DataFrame, fates: pl.DataFrame) -> dict[str, dict]:
    """Counts by fate and by source, and the conservation check, as keyword arguments of `Made`."""
    proof = prove_conservation(entered, fates)
    conserved = bool(proof["conserved"].all())
    label = pl.concat_str("fate", pl.lit(": "), "reason")
    named = fates.with_columns(
        fate=pl.when(pl.col("reason") == "").then(pl.col("fate")).otherwise(label)
    )
    counts = named.group_by("fate").len().sort("len", "fate", descending=[True, False])
    totals = proof.select(pl.col(pl.Int64).sum()).row(0, named=True)
    line = f"{entered.height:,} in = " + " + ".join(
        f"{n:,} {fate}" for fate, n in totals.items() if fate not in ("entered", "created") and n
    )
    by_source = [list(row) for row in count_fates(fates).iter_rows()]
    return {
        "values": {"fates": dict(counts.iter_rows()), "fates_by_source": by_source},
        "checks": {"conservation": (conserved, line + ("" if conserved else " does not add up"))},
    }


def _context(job: Job, given: dict[str, Version]) -> ScoreContext:
    reference = pl.DataFrame()
    if "reference" in given:
        rows = given["reference"].table("rows")
        reference = rows.filter(pl.col("split") == "train")
    models = {use: Path(model_path(v)) for use, v in given.items() if use != "reference"}
    revision = model_revision(given["base_model"]) if "base_model" in given else ""
    return ScoreContext(job.recipe.task, reference, report=job.report, revision=revision, **models)


def model_path(version: Version) -> str:
    """Where a model lies: our folder, or the hub id or path the recipe names."""
    return str(version.folder("model")) if version.manifest["folders"] else version.values["model"]


def model_revision(version: Version) -> str:
    """The pinned commit of a model that comes from a hub, "" for one of our own."""
    return version.values.get("revision", "")


def _recall_facts(store: Store, fingerprint: str) -> pl.DataFrame:
    remembered = store.recall(f"facts-{fingerprint}") or {"parts": []}
    parts = [store.read_frame(part) for part in remembered["parts"]]
    return pl.concat([FACT_SCHEMA.to_frame(), *parts])


def _remember_facts(store: Store, fingerprint: str, name: str, fresh: pl.DataFrame) -> None:
    """Append: facts already there are never written again."""
    if fresh.height:
        remembered = store.recall(f"facts-{fingerprint}") or {"parts": []}
        store.remember(
            f"facts-{fingerprint}", {"parts": [*remembered["parts"], store.put_frame(name, fresh)]}
        )


def _quantiles(values: pl.Series) -> dict[str, float]:
    """Where the scores lie, to choose a threshold by."""
    if values.is_empty():
        return {}
    return {
        f"p{round(q * 100)}": round(float(values.quantile(q) or 0.0), 4)
        for q in (0.01, 0.1, 0.5, 0.9, 0.99)
    }
