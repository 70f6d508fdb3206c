"""Curate: repeats merged, leaks out, every quality measured, and one fate for every row."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets.accounting import Settled, counts_frame, replacing, resettle, settle
from assets.code import code_version
from assets.delta import changed_ids, changed_rows, map_rows, remember_rows
from assets.recipe import Plug, Recipe
from assets.stage import Job, Stage, stage
from curation.accounts import tally_rows
from curation.dedup import find_duplicates, find_related, sign_rows
from curation.exam import Exam, set_exam
from curation.fates import keep_rows, make_fates, require_share
from curation.frames import Bare
from curation.rows import PLAIN, ROW_SCHEMA, digest
from curation.rules import judge_rows, read_columns
from curation.scorers._base import ScoreContext, Scorer
from curation.scoring import failed_scores, join_facts, score_rows, take_reference
from curation.store import Change, Made, Version
from curation.tables import lookup, read_table

GROUP = "4_curate"
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


LABELS = ("id", "prompt_id", "split", "track", "source", "origin")
"""What the steps that compare rows read of every row; the texts only of those in question."""


def candidates(
    rows: Version, augmented_rows: Version, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Every row that may be trained on: the imported ones of the train split and the made ones."""
    imported = rows.table("rows", columns).filter(pl.col("split") == "train")
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


def _read_rows(rows: Version, augmented_rows: Version, ids: Iterable[str]) -> pl.DataFrame:
    """These rows with their texts, as imported or else as made."""
    ids = list(ids)
    imported = rows.lookup("rows", ids)
    made = augmented_rows.lookup("rows", ids).join(imported, on="id", how="anti")
    return pl.concat([imported, made]).sort("id")


@stage(
    GROUP,
    section=("dedup", "task"),
    reads=lambda job: list(job.recipe.sources),
    checks=("conservation",),
)
def duplicates(job: Job, rows: Version, augmented_rows: Version) -> Made:
    """Which rows repeat which: exact and near repeats, and prompts with two different answers."""
    entry, memo = sign_all(job, rows, augmented_rows, "dedup")
    signed = read_table(job.store, entry)
    since, ids = _to_compare(job, rows, augmented_rows, signed, memo)
    if ids is None:
        entered = candidates(rows, augmented_rows, LABELS)
        made = augmented_rows.table("rows", ["id", "source"])
    else:
        signed = signed.filter(pl.col("id").is_in(ids))
        entered = _read_candidates(rows, augmented_rows, ids, texts=False)
        made = augmented_rows.lookup("rows", ids, texts=False)
    # Of equal rows the one whose source the recipe names first stays, unless it says otherwise.
    options = {"priority": list(job.recipe.sources), **job.recipe.options["dedup"]}
    found = find_duplicates(
        entered,
        task=job.recipe.task,
        signed=signed,
        read=lambda ids: _read_candidates(rows, augmented_rows, ids),
        report=job.report,
        **options,
    )
    tables: dict[str, Any] = {
        name: getattr(found, name) for name in ("pairs", "conflicts", "fates", "facts")
    }
    settled = _settle_repeats(entered, made, found.fates)
    if since and ids is not None:
        then_made = since.input("augmented_rows")
        before = _read_candidates(since.input("rows"), then_made, ids, texts=False)
        made = then_made.lookup("rows", ids, texts=False)
        was = _settle_repeats(before, made, since.lookup("fates", ids))
        settled = resettle(since, was, settled)
        for name in ("pairs", "fates", "facts"):
            tables[name] = replacing(ids, tables[name])
        old = since.table("conflicts")
        others = old.filter(~pl.col("ids").list.eval(pl.element().is_in(ids)).list.any())
        tables["conflicts"] = pl.concat([others, found.conflicts])
    return Made(tables, memos=[memo], since=since, **settled)


def _to_compare(
    job: Job, rows: Version, augmented_rows: Version, signed: pl.DataFrame, memo: str
) -> tuple[Version | None, list[str] | None]:
    """The version to build on and the ids to compare anew; no version and None for all of them."""
    since = job.previous
    if since is None or since.manifest["how"]["code"] != job.code:
        return None, None
    same_order = since.manifest["how"]["reads"] == digest(list(job.recipe.sources))
    if not same_order or memo not in since.manifest["memos"]:
        return None, None
    changed = changed_ids(since, ((rows, "rows"), (augmented_rows, "rows")))
    ids = find_related(signed, changed, most=signed.height // 4)
    return (None, None) if ids is None else (since, ids)


def _settle_repeats(entered: pl.DataFrame, made: pl.DataFrame, fates: pl.DataFrame) -> Settled:
    """The books of candidates, some of which were made here."""
    again = made.join(entered, on=["id", "source"], how="anti")
    imported = entered.join(made, on=["id", "source"], how="anti")
    came = {"rows/train": tally_rows(imported), "augmented_rows/made": tally_rows(made)}
    return settle(came, fates, besides={"imported already": tally_rows(again)})


def sign_all(
    job: Job, rows: Version, augmented_rows: Version, section: str
) -> tuple[dict[str, Any], str]:
    """The table of signatures of all imported and made rows, each signed once ever; its memo's key.

    A section of the recipe says how near is near.
    """
    options = {
        name: job.recipe.options[section].get(name, given.default)
        for name, given in inspect.signature(sign_rows).parameters.items()
        if name in ("threshold", "permutations", "seed")
    }
    made_by = [options, job.recipe.task_plug.section, code_version(sign_rows)]
    memo, task = f"signatures-{digest(made_by)}", job.recipe.task
    entry: dict[str, Any] = {}
    for version in (rows, augmented_rows):
        change = changed_rows(job, version, memo)
        ids = change.upserts["id"] if change else version.table("rows", ["id"])["id"]
        entry = remember_rows(
            job,
            version,
            lambda batch: sign_rows(batch, task=task, **options),
            ids,
            memo=memo,
            kind="signatures",
        )
    return entry, memo


@stage(GROUP)
def unique_rows(job: Job, rows: Version, augmented_rows: Version, duplicates: Version) -> Made:
    """One row per meaning: the keepers of the merged rows and everything that repeats nothing."""
    since = job.previous
    if since is None or since.manifest["how"]["code"] != job.code:
        entered = candidates(rows, augmented_rows, PLAIN)
        kept = keep_rows(entered, duplicates.table("fates", ["id", "fate"]))
        return Made(tables={"rows": Bare(kept, ROW_SCHEMA)})
    tables = ((rows, "rows"), (augmented_rows, "rows"), (duplicates, "fates"))
    ids = changed_ids(since, tables)
    entered = _read_candidates(rows, augmented_rows, ids, texts=False)
    kept = keep_rows(entered, duplicates.lookup("fates", ids))
    return Made(tables={"rows": replacing(ids, kept)}, since=since)


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
    entry, memo = sign_all(job, rows, augmented_rows, "split")

    def part(ids: list[str] | None) -> tuple[Exam, Settled]:
        """The exam and the verdicts on these rows, or on all of them."""
        if ids is None:
            unique, signed = unique_rows.table("rows", PLAIN), read_table(job.store, entry)
        else:
            unique = unique_rows.lookup("rows", ids, texts=False)
            signed = lookup(job.store, entry, ids)
        found = set_exam(
            unique,
            rows.table("rows", ["id", "split", "track"]),
            bad_cases.table("rows"),
            augmented_rows.table("edges"),
            duplicates.table("pairs"),
            task=job.recipe.task,
            signed=signed,
            read=lambda ids: _read_rows(rows, augmented_rows, ids),
            report=job.report,
            **job.recipe.options["split"],
        )
        return found, settle({"duplicates/kept": tally_rows(unique)}, found.fates)

    since, ids = _to_part(job, rows, augmented_rows, unique_rows)
    if since and ids is not None:
        found, settled = part(ids)
        if found.exam.equals(since.table("exam")):
            before = since.input("unique_rows").lookup("rows", ids, texts=False)
            entered = {"duplicates/kept": tally_rows(before)}
            was = settle(entered, since.lookup("fates", ids))
            changes = {name: replacing(ids, getattr(found, name)) for name in ("rows", "fates")}
            whole = {name: getattr(found, name) for name in ("exam", "clusters")}
            books = resettle(since, was, settled)
            return Made({**changes, **whole}, since=since, memos=[memo], **books)
    found, settled = part(None)
    tables = {
        "rows": Bare(found.rows, ROW_SCHEMA),
        "exam": found.exam,
        "fates": found.fates,
        "clusters": found.clusters,
    }
    return Made(tables, memos=[memo], **settled)


def _to_part(
    job: Job, rows: Version, augmented_rows: Version, unique_rows: Version
) -> tuple[Version | None, list[str] | None]:
    """The version to build on and the ids to look at anew; no version and None for all of them.

    While the exam stays the same those are the changed rows and the domain's: of other rows only
    those that stem from one another could share a cluster with the exam.
    """
    since = job.previous
    if since is None or since.manifest["how"]["code"] != job.code:
        return None, None
    unique = unique_rows.table("rows", ["id", "track"])
    general = unique.filter(pl.col("track") != "domain")
    edges = augmented_rows.table("edges")
    if general["id"].is_in(pl.concat([edges["child"], edges["parent"]]).implode()).any():
        return None, None
    tables = ((rows, "rows"), (augmented_rows, "rows"), (unique_rows, "rows"))
    domain = unique.filter(pl.col("track") == "domain")["id"]
    ids = sorted({*changed_ids(since, tables), *domain})
    return (since, ids) if len(ids) <= unique.height // 4 else (None, None)


@stage(GROUP, section=("reference",))
def reference(job: Job, rows: Version) -> Made:
    """Trusted rows that scorers take as the measure of good text, frozen till the next edition."""
    options = job.recipe.options["reference"]
    before = job.previous
    same = before is not None and before.manifest["how"]["section"] == job.section
    frozen = before.table("rows", PLAIN) if before and same else None
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
    if ids is None:
        entered = split_rows.table("rows", PLAIN)
        found = {name: version.table("facts") for name, version in scorers.items()}
    else:
        entered = split_rows.lookup("rows", ids, texts=False)
        found = {name: version.lookup("facts", ids) for name, version in scorers.items()}
    scored = join_facts(entered, found)
    failed = failed_scores(found, read_columns(job.recipe.keep, scored.columns))
    fates = _judge(scored, failed, job.recipe.keep)
    tables: dict[str, Any] = {
        "rows": keep_rows(entered, fates),
        "fates": fates,
        "scores": scored.select("id", *scorers),
    }
    came = {"split_rows/kept": tally_rows(entered)}
    if since and ids is not None:
        before = since.input("split_rows").lookup("rows", ids, texts=False)
        was = settle({"split_rows/kept": tally_rows(before)}, since.lookup("fates", ids))
        settled = resettle(since, was, settle(came, fates))
        tables["scores"] = _typed_as(since.lookup("scores", ()), tables["scores"])
        tables = {name: replacing(ids, frame) for name, frame in tables.items()}
    else:
        tables["rows"] = Bare(tables["rows"], ROW_SCHEMA)
        settled = settle(came, fates)
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
    since = job.previous
    if since is None or since.manifest["how"]["code"] != job.code:
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
