"""Facts: every quality of a row measured once, and where its scores lie."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from assets.code import code_version
from assets.delta import SEEN, map_rows, map_some
from assets.recipe import Plug, Recipe, ranked_scorers
from assets.stage import Job, Stage, stage
from assets.unique import GROUP
from curation.engines._base import HERE
from curation.frames import Bare
from curation.llm import CallsStopped
from curation.progress import Report, silent
from curation.quantiles import (
    LEAST,
    MOST,
    MOVED,
    QUANTILE_SCHEMA,
    STABLE,
    SUFFIX,
    measure_drift,
)
from curation.rows import PLAIN, ROW_SCHEMA, digest
from curation.runs import SLICE
from curation.scorers._base import ScoreContext, Scorer
from curation.scoring import FACT_SCHEMA, score_rows, take_reference
from curation.store import Change, Made, Version
from curation.tasks._base import Task

PLACES = (0.01, 0.1, 0.5, 0.9, 0.99)
"""Quantiles of the scores that a version tells."""


@stage(GROUP, section=("reference",))
def reference(job: Job, rows: Version) -> Made:
    """Trusted rows that scorers take as the measure of good text, frozen till the next edition."""
    options = job.recipe.options["reference"]
    frozen = before.table("rows", PLAIN) if (before := job.same_section) else None
    taken = take_reference(rows.table("rows", PLAIN), frozen, **options)
    return Made(tables={"rows": Bare(taken, ROW_SCHEMA)})


@dataclass(frozen=True)
class Scoring:
    """The work of one scorer: rows to facts. What it reads is loaded once in each process.

    `learned` are the versions that its `uses` name. Sent to another process it reports there.
    """

    name: str
    plug: Plug
    task: Task
    learned: Mapping[str, Version]
    cache: Path
    report: Report = silent

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Facts; what the scorer raises on most rows is said in one line with its name."""
        scorer, context = self._scorer, self._context
        with naming(self.name):
            return score_rows(rows, scorer, context)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scoring, (self.name, self.plug, self.task, self.learned, self.cache, print)

    @cached_property
    def _scorer(self) -> Scorer:
        return self.plug.make()

    @cached_property
    def _context(self) -> ScoreContext:
        models = dict(self.learned)
        reference = models.pop("reference").table("rows") if "reference" in models else None
        given: dict[str, Any] = {use: Path(model_path(v)) for use, v in models.items()}
        revision = model_revision(models["base_model"]) if "base_model" in models else ""
        given |= {"report": self.report, "revision": revision, "cache": self.cache}
        return ScoreContext(self.task, pl.DataFrame() if reference is None else reference, **given)


def fact_stages(recipe: Recipe) -> list[Stage]:
    """One stage for each scorer of the recipe that measures rows one by one."""
    ranked = ranked_scorers(recipe)
    return [
        _fact_stage(recipe, name, plug, name in ranked)
        for name, plug in recipe.scorers.items()
        if not plug.compares
    ]


def _fact_stage(recipe: Recipe, name: str, plug: Plug, ranked: bool) -> Stage:
    needed = [use for use in plug.uses if use != "task"]
    needed += ["reference"] if ranked and "reference" not in needed else []
    section = [plug.section, recipe.task_plug.section if "task" in plug.uses else ""]
    code = (plug.module, *(recipe.task_plug.modules if "task" in plug.uses else ()))

    def facts(job: Job, split_rows: Version, *inputs: Version) -> Made:
        given = dict(zip(needed, inputs, strict=True))
        learned = {use: version for use, version in given.items() if use in plug.uses}
        models = {use: version.data_version for use, version in learned.items()}
        fingerprint = digest(
            [section, code_version(plug.factory, code), models, plug.files_digest()]
        )
        given_to = (job.recipe.task, learned, job.store.root, job.report)
        work, memo = Scoring(name, plug, *given_to), f"facts-{fingerprint}"
        engine = HERE if plug.takes_secret else job.recipe.engine
        scored, since = map_rows(job, split_rows, work, memo=memo, kind=name, engine=engine)
        before = _scores_before(job, fingerprint, scored)
        first = first_scores(scored, since, before)
        values = {"fingerprint": fingerprint, **describe_facts(scored, since, first)}
        tables: dict[str, Any] = {"facts": scored}
        if "reference" in given:
            labels = given["reference"].first("rows", MOST, [*SEEN, "lang"]).head(MOST)
            seen = labels.select(SEEN)
            frozen = map_some(job, given["reference"], work, seen, memo=memo, kind=name)
            frozen = frozen.join(labels.select("id", "lang"), on="id")
            then, of = _quantiles(name, frozen, asked=ranked), "the reference"
            tables["quantiles"] = then
        else:
            then, of = before.head(SLICE), "the version before"
            if then["value"].count() < LEAST:  # few differ by chance as much as others that moved
                then = then.clear()
        drift = _drift_check(measure_drift(first["value"], then), of)
        return Made(tables, values=values, since=since, memos=[memo], checks={"drift": drift})

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
        checks=("drift",),
    )


def _quantiles(name: str, scored: pl.DataFrame, *, asked: bool) -> pl.DataFrame:
    """The frozen scores of reference rows (facts with `lang`); none for a flag.

    Raises `ValueError` where a rule asked for quantiles of such a one.
    """
    if asked and "flag" in scored["kind"]:
        raise ValueError(
            f"a rule asks for {name}{SUFFIX}, and {name} is true or false; write 'not {name}'"
        )
    numbers = scored.filter(pl.col("kind") == "number")
    return numbers.select(QUANTILE_SCHEMA.names()).drop_nulls("value").sort("lang", "value")


def _scores_before(job: Job, fingerprint: str, scored: pl.DataFrame | Change) -> pl.DataFrame:
    """The first scores of the version before, and as many more as change; none of other scorers."""
    before = job.previous
    if before is None or before.values["fingerprint"] != fingerprint:
        return FACT_SCHEMA.to_frame().select("id", "value")
    more = len(_replaced(scored)) if isinstance(scored, Change) else 0
    return before.first("facts", SLICE + more, ["id", "value"])


def _drift_check(index: float | None, of: str) -> tuple[bool, str]:
    if index is None:
        return True, f"no scores to compare with those of {of}"
    said = "the same" if index < STABLE else "moved" if index < MOVED else "another distribution"
    return index < MOVED, f"scores against {of}: {said} (PSI {index:.3f})"


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors of a scorer said in one line with its name."""
    try:
        yield
    except (OSError, CallsStopped):  # what cannot be had says itself how to go on
        raise
    except Exception as error:
        said = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(f"the scorer {name!r} fails: {type(error).__name__}: {said}") from error


def first_scores(
    scored: pl.DataFrame | Change, since: Version | None, before: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Id and value of the rows whose ids come first, a slice of them.

    Ids are digests, so it is a fair sample, and the same one in whatever deliveries the rows came.
    """
    if not isinstance(scored, Change):
        return scored.select("id", "value").head(SLICE)
    assert since is not None, "a change is told from a version"
    replaced = _replaced(scored)
    if before is None:
        before = since.first("facts", SLICE + len(replaced), ["id", "value"])
    first = before.filter(~pl.col("id").is_in(replaced.implode()))
    return pl.concat([first, scored.upserts.select("id", "value")]).sort("id").head(SLICE)


def describe_facts(
    scored: pl.DataFrame | Change, since: Version | None, first: pl.DataFrame
) -> dict[str, Any]:
    """How many rows have a score, and where the first ones lie, to choose a threshold by."""
    if isinstance(scored, Change):
        assert since is not None, "a change is told from a version"
        counts = Counter(since.values["status"]) + _count_status(scored.upserts)
        counts -= _count_status(since.lookup("facts", _replaced(scored)))
    else:
        counts = _count_status(scored)
    values = first["value"].drop_nulls()
    places = {f"p{round(q * 100)}": values.quantile(q) for q in PLACES if len(values)}
    return {
        "status": dict(sorted(counts.items())),
        "quantiles": {name: round(float(value or 0.0), 4) for name, value in places.items()},
    }


def _replaced(change: Change) -> pl.Series:
    return pl.concat([change.gone["id"], change.upserts["id"]])


def _count_status(scored: pl.DataFrame) -> Counter[str]:
    return Counter(scored["status"].to_list())


def model_path(version: Version) -> str:
    """Where a model lies: our folder, or the hub id or path the recipe names."""
    return str(version.folder("model")) if version.manifest["folders"] else version.values["model"]


def model_revision(version: Version) -> str:
    """The pinned commit of a model that comes from a hub, "" for one of our own."""
    return version.values.get("revision", "")
