"""Curate: one fate for every row, by the rules of the recipe on what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from assets.accounting import counts_frame, replacing, resettle, settle
from assets.delta import changed_ids, read_kept
from assets.recipe import Recipe, ranked_scorers
from assets.stage import Job, Stage, stage
from assets.unique import GROUP
from curation.accounts import tally_rows
from curation.ensemble import ENSEMBLE
from curation.fates import keep_rows, make_fates, require_share
from curation.quantiles import SUFFIX, rank_scores
from curation.rows import PLAIN
from curation.rules import judge_rows, read_columns
from curation.scoring import failed_scores, join_facts
from curation.store import Made, Version

MOST_FLIPS = 0.01
"""Share of rows whose verdict may change although neither they nor the rules did."""


@stage(
    GROUP,
    section=("keep", "guard", "scorers"),
    checks=("conservation", "share", "flips"),
    guards=("conservation", "share"),
)
def _kept_rows(job: Job, split_rows: Version, duplicates: Version, *facts: Version) -> Made:
    """Rows that pass every rule of the recipe, and for every other row the first rule it broke."""
    scorers = {f.name.rpartition("/")[2]: f for f in facts} | {"label_conflict": duplicates}
    ranked = {name: name + SUFFIX for name in sorted(ranked_scorers(job.recipe))}
    since, ids = _to_judge(job, split_rows, scorers, ranked)
    named = read_columns(job.recipe.keep, [*PLAIN, *scorers, *ranked.values()])
    if ids is None:  # a scorer that is named like a column must meet it, to be refused
        asked = {"id", "source", *named, *scorers, *(["lang"] if ranked else [])}
        needed = [c for c in PLAIN if c in asked]
        entered = split_rows.table("rows", needed)
    else:
        entered = split_rows.lookup("rows", ids, texts=False)
    scored, errors = _join_scores(entered, scorers, ranked, ids)
    measured = {name for name in scorers if {name, ranked.get(name)} & named}
    fates = _judge(scored, failed_scores(errors, measured), job.recipe.keep)
    scores = scored.select("id", *scorers, *ranked.values())
    tables: dict[str, Any] = {"fates": fates, "scores": scores}
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
    settled["checks"]["share"] = share_check(job, settled["values"]["fates_by_source"])
    settled["checks"]["flips"] = _flips_check(job, fates, split_rows.tables["rows"]["rows"])
    return Made(tables, since=since, **settled)


def _join_scores(
    entered: pl.DataFrame,
    scorers: Mapping[str, Version],
    ranked: Mapping[str, str],
    ids: list[str] | None,
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The rows, all or those of these ids, with every score and the quantiles asked for.

    And by scorer the facts of rows that it failed on.
    """
    errors = dict[str, pl.DataFrame]()
    for name, version in scorers.items():
        facts = version.table("facts") if ids is None else version.lookup("facts", ids)
        entered = join_facts(entered, {name: facts})
        errors[name] = facts.filter(pl.col("status") == "error")
    for name, quantile in ranked.items():
        frozen = scorers[name].table("quantiles")
        shares = rank_scores(entered.select("lang", value=name), frozen)
        entered = entered.with_columns(shares.alias(quantile))
    return entered, errors


def _flips_check(job: Job, fates: pl.DataFrame, entered: int) -> tuple[bool, str]:
    """Whether rows that were judged before are judged alike now; new rules may change that."""
    if job.previous is None:
        return True, "nothing was judged before"
    before = job.previous
    few = fates.height < entered
    was = before.lookup("fates", fates["id"]) if few else before.table("fates", ["id", "fate"])
    both = was.select("id", was="fate").join(fates.select("id", "fate"), on="id")
    then, now = pl.col("was") == "kept", pl.col("fate") == "kept"
    into, out = both.select((now & ~then).sum(), (then & ~now).sum()).row()
    said = f"of rows judged before {into:,} came in and {out:,} went out"
    if job.same_section is None:
        return True, f"{said}; the rules are new"
    return into + out <= MOST_FLIPS * entered, said


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


def share_check(job: Job, counts: list[list[Any]]) -> tuple[bool, str]:
    """Whether no reason removes more of a source than `guard` allows, and which does."""
    try:
        require_share(counts_frame(counts), **job.recipe.options["guard"])
    except ValueError as error:
        return False, str(error)
    return True, "no rule removes more of a source than it may"


def _to_judge(
    job: Job, split_rows: Version, scorers: Mapping[str, Version], ranked: Iterable[str]
) -> tuple[Version | None, list[str] | None]:
    """The version to build on and the ids to judge anew; no version and None for all of them."""
    since = job.same_code
    if since is None:
        return None, None
    if not since.tables["scores"]["rows"]:  # of no rows the scores have no type to go on with
        return None, None
    for name in ranked:
        tables = (scorers[name].tables, since.input(scorers[name].name.partition("/")[2]).tables)
        if len({one["quantiles"]["digest"] for one in tables}) > 1:
            return None, None
    tables = [(split_rows, "rows"), *((version, "facts") for version in scorers.values())]
    return since, changed_ids(since, tables)


def kept_stage(recipe: Recipe) -> Stage:
    """The judging stage, which reads every scorer's facts and the ensemble's."""
    made = _kept_rows(recipe)
    facts = tuple(f"facts/{name}" for name in recipe.scores)
    section = {**made.section, ENSEMBLE: ENSEMBLE in recipe.scores}
    return Stage(
        "kept_rows", made.group, made.work, ("split_rows", "duplicates", *facts), section,
        checks=made.checks, guards=made.guards,
    )  # fmt: skip
