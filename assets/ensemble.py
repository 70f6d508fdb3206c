"""Ensemble: one more score of each row, in which human verdicts weigh those of the scorers.

It is fitted anew only when the verdicts, or the scores of rows that have one, are others; while it
stays the same a delivery costs its new rows.
"""

from collections.abc import Mapping

import polars as pl

from assets.accounting import replacing
from assets.delta import changed_ids
from assets.facts import describe_facts, first_scores
from assets.plug import Plug
from assets.recipe import Recipe
from assets.stage import Job, Stage
from assets.unique import GROUP
from curation.ensemble import ENSEMBLE, Ensemble, enough_verdicts, fit_ensemble, score_ensemble
from curation.frames import frame_digest
from curation.markdown import plain, table
from curation.rows import digest
from curation.scoring import join_facts
from curation.store import Change, Made, Version
from curation.verdicts import Verdicts, count_verdicts, describe_verdicts, read_verdicts

TABLES = ("weights", "ranks", "aurocs")
SHOWN = 10
"""So many broken lines are named in the log."""


def ensemble_stages(recipe: Recipe) -> list[Stage]:
    """The stage of the ensemble, if the recipe has one."""
    if not recipe.options[ENSEMBLE]:
        return []
    plug = Plug(ENSEMBLE, ENSEMBLE, read_verdicts, recipe.options[ENSEMBLE])
    scorers = [*recipe.scorers]

    def ensemble(job: Job, *facts: Version) -> Made:
        """How likely people would accept each row: its scores, weighed by their verdicts."""
        scored = dict(zip(scorers, facts, strict=True))
        return _make(job, scored, plug.make())

    return [
        Stage(
            f"facts/{ENSEMBLE}",
            GROUP,
            ensemble,
            tuple(f"facts/{name}" for name in scorers),
            [plug.section, {"scorers": scorers}],
            (plug.module,),
            reads=lambda job: plug.files_digest(),
            files=plug.files_state,
            checks=("verdicts",),
        )
    ]


def _make(job: Job, scored: Mapping[str, Version], verdicts: Verdicts) -> Made:
    judged = _scores(scored, verdicts.rows["id"].to_list())
    known = verdicts.rows.join(judged, on="id", how="semi")
    fitted_on = ""
    if enough_verdicts(known["accept"], verdicts.needed):
        fitted_on = digest([frame_digest(judged), frame_digest(known)])
    since = job.same_code
    if since and since.values["fitted_on"] == fitted_on:
        fitted = Ensemble(*(since.table(name) for name in TABLES))
        ids = changed_ids(since, [(version, "facts") for version in scored.values()])
        facts = replacing(ids, score_ensemble(_scores(scored, ids), fitted))
    else:
        since, fitted = None, fit_ensemble(judged, known, min_verdicts=verdicts.needed)
        facts = score_ensemble(_scores(scored), fitted)
    todo = (facts.upserts if isinstance(facts, Change) else facts).height
    before = since.tables["facts"]["rows"] if since else 0
    job.report(f"{ENSEMBLE}: {todo:,} rows to do, {before:,} were done before")
    said = describe_verdicts(verdicts, known)
    for line in (said, *verdicts.broken[:SHOWN]):
        job.report(line)
    values = {
        "verdicts": count_verdicts(verdicts, known),
        "fitted_on": fitted_on,
        "table": aurocs_table(fitted.aurocs),
        **describe_facts(facts, since, first_scores(facts, since)),
    }
    tables: dict[str, pl.DataFrame | Change] = {n: getattr(fitted, n) for n in TABLES}
    checks = {"verdicts": (fitted.fitted, said)}
    return Made({"facts": facts, **tables}, values=values, checks=checks, since=since)


def _scores(scored: Mapping[str, Version], ids: list[str] | None = None) -> pl.DataFrame:
    """Id and every score, of all rows or of those with these ids."""
    facts = {
        name: version.table("facts") if ids is None else version.lookup("facts", ids)
        for name, version in scored.items()
    }
    return join_facts(next(iter(facts.values())).select("id"), facts)


def aurocs_table(aurocs: pl.DataFrame) -> str:
    """Each scorer's AUROC with its interval as a Markdown table."""
    lines = [
        [plain(name), *("–" if v is None else f"{v:.3f}" for v in values), f"{n:,}"]
        for name, *values, n in aurocs.iter_rows()
    ]
    return table(["scorer", "AUROC", "from", "to", "rows"], lines, numbers=4) + "\n"
