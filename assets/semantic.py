"""Semantic copies: a scorer that compares rows. What did not change is not compared again.

A row's vector is worked out once ever. Topics are frozen like the reference, so that a delivery
moves no row to another one, and compares only the groups of rows it changes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from assets.accounting import replacing
from assets.code import code_version
from assets.delta import SEEN, changed_ids, is_input_of, map_some
from assets.facts import describe_facts, first_scores, naming
from assets.plug import Plug
from assets.recipe import Recipe
from assets.stage import Job, Stage
from assets.unique import GROUP as CURATE
from assets.unique import templates_of
from curation.rows import digest
from curation.scorers._base import ScoreContext
from curation.scoring import FACT_SCHEMA
from curation.semantic import (
    GROUP,
    PER_TOPIC,
    assign_topics,
    fit_topics,
    needs_topic,
    semantic_copies,
)
from curation.store import Made, Version

PLACED = ("id", "track", "split", "origin")
"""What is said of a row besides its texts that it is compared by."""
JUDGES = ("similarity",)
"""Options that say what is near; what a vector or a topic is follows from the others."""


def compare_stages(recipe: Recipe) -> list[Stage]:
    """Two stages for each scorer of the recipe that compares rows: its topics and its facts."""
    plugs = [(name, plug) for name, plug in recipe.scorers.items() if plug.compares]
    return [
        make(recipe, name, plug) for name, plug in plugs for make in (_topics_stage, _facts_stage)
    ]


def _topics_stage(recipe: Recipe, name: str, plug: Plug) -> Stage:
    def topics(job: Job, split_rows: Version) -> Made:
        if before := job.same_section:
            return Made({"topics": before.table("topics")})
        work, memo = _signing(job, plug)
        rows = split_rows.table("rows", SEEN, where=needs_topic(job.recipe.task))
        wanted = max(1, round(rows.height / plug.make().rows_per_topic))
        some = rows.head(wanted * PER_TOPIC)  # ids are digests, so the first are a fair sample
        signed = map_some(job, split_rows, work, some, memo=memo, kind=name)
        return Made({"topics": fit_topics(signed["vector"], topics=wanted)}, memos=[memo])

    topics.__doc__ = f"The topics that `{name}` compares rows in, frozen till the next edition."
    section = [_section(recipe, plug), recipe.sections("reference")]
    code = (plug.module, *recipe.task_plug.modules)
    return Stage(f"topics/{name}", CURATE, topics, ("split_rows",), section, code, templates_of)


def _facts_stage(recipe: Recipe, name: str, plug: Plug) -> Stage:
    def facts(job: Job, split_rows: Version, topics: Version) -> Made:
        work, memo = _signing(job, plug)

        def sign(rows: pl.DataFrame) -> pl.DataFrame:
            return map_some(job, split_rows, work, rows.select(SEEN), memo=memo, kind=name)

        since = job.same_code
        if since and not (memo in since.manifest["memos"] and is_input_of(since, topics)):
            since = None
        ids = changed_ids(since, [(split_rows, "rows")]) if since else None
        rows = _place(job, split_rows, topics, ids, sign)
        if since and ids is not None:
            rows = _with_alike(since, rows, ids, sign)
        found = semantic_copies(rows, similarity=plug.make().similarity)
        measured = found.select("id", "value", status=pl.lit("ok"), kind=pl.lit("number"))
        tables: dict[str, Any] = {
            "facts": measured.select(FACT_SCHEMA.names()),
            "copies": found.filter(pl.col("into") != ""),
            "places": rows.drop("vector").sort("id"),
        }
        if since and ids is not None:
            compared = sorted({*ids, *found["id"]})
            tables = {key: replacing(compared, table) for key, table in tables.items()}
        facts = tables["facts"]
        values = describe_facts(facts, since, first_scores(facts, since))
        return Made(tables, values=values, memos=[memo], since=since)

    facts.__doc__ = (
        f"Score `{name}` ({plug.use}) of each row; a group in which no row changed is not compared."
    )
    section = [plug.section, recipe.task_plug.section]
    code = (plug.module, *recipe.task_plug.modules)
    inputs = ("split_rows", f"topics/{name}")
    return Stage(f"facts/{name}", CURATE, facts, inputs, section, code, templates_of)


def _section(recipe: Recipe, plug: Plug) -> Any:
    """What the recipe says that a vector, or a topic, can depend on."""
    said = {name: value for name, value in plug.options.items() if name not in JUDGES}
    return [plug.use, said, recipe.task_plug.section]


def _signing(job: Job, plug: Plug) -> tuple[Callable[[pl.DataFrame], pl.DataFrame], str]:
    """The work on each row alone, and the name that it is remembered under."""
    modules = (plug.module, *job.recipe.task_plug.modules)
    made_by = [_section(job.recipe, plug), code_version(plug.factory, modules), templates_of(job)]
    scorer = plug.make()
    given: dict[str, Any] = {"report": job.report, "cache": job.store.root}
    context = ScoreContext(job.recipe.task, pl.DataFrame(), templates=templates_of(job), **given)

    def work(rows: pl.DataFrame) -> pl.DataFrame:
        with naming(plug.key):
            return scorer.sign(rows, context)

    return work, f"vectors-{digest(made_by)}"


def _place(
    job: Job,
    split_rows: Version,
    topics: Version,
    ids: Sequence[str] | None,
    sign: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Rows, all or those of these ids, with all that they are compared by."""
    some = ids is not None
    rows = split_rows.lookup("rows", ids, PLACED) if some else split_rows.table("rows", PLACED)
    signed = rows.join(sign(rows), on="id", maintain_order="left")
    nearest = assign_topics(signed["vector"], topics.table("topics"))
    chosen = pl.when(needs_topic(job.recipe.task)).then(nearest).otherwise(0)
    return signed.with_columns(topic=chosen)


def _with_alike(
    since: Version,
    rows: pl.DataFrame,
    ids: Sequence[str],
    sign: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Rows that changed, and all that are or were to be compared with one of them."""
    before = since.table("places")
    changed = before.filter(pl.col("id").is_in(list(ids)))
    groups = pl.concat([part.select(GROUP).drop_nulls() for part in (changed, rows)]).unique()
    others = before.join(groups, on=GROUP, how="semi").join(changed, on="id", how="anti")
    beside = others.join(sign(others), on=["id", "says"], maintain_order="left")
    return pl.concat([rows, beside.select(rows.columns)])
