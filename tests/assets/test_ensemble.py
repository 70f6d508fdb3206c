"""The ensemble: human verdicts weigh the scores of a real project, delivery after delivery."""

import json
import random

import dagster as dg
import polars as pl
import pytest

from assets.io import describe
from assets.recipe import RecipeError
from assets.stage import Outcome
from curation.auroc import measure_auroc
from curation.ensemble import UNFITTED
from curation.lineage.changes import step_changes
from curation.preview import preview_rules
from curation.store import Store
from tests.assets._project import HAN, SEEDS, Project, require_same, talk

RULE = "ensemble >= 0.3"
SCORERS = {name: {} for name in ("length", "repetition", "special_tokens")}
LAST = "kept_rows"


def echoes(n: int, *, start: int = 0) -> list[dict[str, str]]:
    """General rows whose answers say the same again and again, more and more."""
    rows = []
    for i in range(start, start + n):
        draw = random.Random(1000 + i)
        asked, said = ("".join(draw.choices(HAN, k=12)) for _ in range(2))
        fresh = "".join(draw.choices(HAN, k=draw.randint(0, 24)))
        rows.append({"prompt": f"{asked}？", "answer": said * draw.randint(1, 3) + fresh})
    return rows


@pytest.fixture
def project(tmp_path, tiny_base) -> Project:
    """A project of 500 general rows and 7 of its own, scored but not judged by anybody."""
    project = Project(
        tmp_path, tiny_base, scorers=SCORERS, keep=["not special_tokens"], guard={"max_share": 1.0}
    )
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", [*talk(250), *echoes(250)])
    project.write("verdicts.jsonl", [])
    project.build(last=LAST)
    return project


def judge(project: Project, n: int, *, skip: int = 0) -> list[dict[str, str]]:
    """Verdicts of somebody who mostly rejects what repeats itself, on the rows first by id."""
    facts = project.head("facts/repetition").table("facts").slice(skip, n)
    noise = random.Random(3)
    return [
        {
            "id": row_id,
            "verdict": "reject" if value + noise.gauss(0, 0.05) > 0.25 else "accept",
            "reviewer": "甲",
        }
        for row_id, value in facts.select("id", "value").iter_rows()
    ]


def ensemble(project: Project) -> pl.DataFrame:
    return project.head("facts/ensemble").table("facts")


def test_240_verdicts_fit_it_and_a_rule_keeps_the_good_rows(project):
    project.write("verdicts.jsonl", judge(project, 240))
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    project.build(last=LAST)
    version = project.head("facts/ensemble")
    passed, said = version.checks["verdicts"]
    assert passed and said.startswith("240 of 200 verdicts")
    repetition = project.head("facts/repetition").table("facts", ["id", "value"])
    others = [line["id"] for line in judge(project, 1000, skip=240)]
    scores = repetition.filter(pl.col("id").is_in(others)).sort("value")
    fates = dict(project.head(LAST).table("fates", ["id", "fate"]).iter_rows())
    assert {fates[i] for i in scores["id"].head(100)} == {"kept"}
    assert {fates[i] for i in scores["id"].tail(30)} == {"dropped"}
    aurocs = {line["scorer"]: line for line in version.table("aurocs").iter_rows(named=True)}
    assert {*aurocs} == {*SCORERS, "ensemble"}
    assert aurocs["repetition"]["auroc"] < 0.1 and aurocs["ensemble"]["auroc"] > 0.9
    assert all(line["low"] < line["auroc"] < line["high"] for line in aurocs.values())
    assert {line["n"] for line in aurocs.values()} == {240}
    shown = describe(Outcome(version, False, 0.0))["table"]
    worth = aurocs["repetition"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert f"| repetition | {worth['auroc']:.3f} | {worth['low']:.3f} |" in shown.value
    accepted = pl.Series([line["verdict"] == "accept" for line in judge(project, 240)])
    learnt = measure_auroc(ensemble(project)["value"].head(240), accepted).auroc
    assert learnt is not None and aurocs["ensemble"]["auroc"] < learnt


def test_150_verdicts_fit_nothing_and_a_rule_breaks_as_on_any_missing_score(project):
    project.write("verdicts.jsonl", judge(project, 150))
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    project.build(last=LAST)
    version = project.head("facts/ensemble")
    passed, said = version.checks["verdicts"]
    assert not passed and said.startswith("150 of 200 verdicts")
    assert set(ensemble(project).select("value", "status").iter_rows()) == {(None, UNFITTED)}
    assert version.values["status"] == {UNFITTED: ensemble(project).height}
    assert version.table("aurocs").is_empty()
    assert set(project.head(LAST).table("fates")["reason"]) == {RULE}
    project.change(keep=[f"{RULE} or ensemble is null"])
    project.build(last=LAST)
    assert set(project.head(LAST).table("fates")["fate"]) == {"kept"}


def test_a_delivery_costs_its_new_rows_and_equals_a_fresh_store(project):
    project.write("verdicts.jsonl", judge(project, 240))
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    project.build(last=LAST)
    before, fitted = ensemble(project), project.head("facts/ensemble").values["fitted_on"]
    for number, rows in enumerate(
        [talk(1, start=250), [*talk(20, start=251), *echoes(9, start=250)]]
    ):
        project.write(f"general/{number + 2}.jsonl", rows)
        assert project.build().counted["ensemble"] == len(rows)
    after = ensemble(project)
    assert after.height == before.height + 30
    assert after.join(before, on="id", how="semi").equals(before)
    (project.folder / "general" / "2.jsonl").unlink()
    project.build()
    assert ensemble(project).height == before.height + 29
    assert project.head("facts/ensemble").values["fitted_on"] == fitted
    fresh = Store(project.folder / "fresh")
    project.build(store=fresh)
    require_same(project, fresh)
    ours, theirs = project.head("facts/ensemble"), project.head("facts/ensemble", store=fresh)
    assert all(ours.table(name).equals(theirs.table(name)) for name in theirs.tables)
    assert ours.data_version == theirs.data_version


def test_it_is_fitted_anew_only_when_verdicts_or_the_scores_of_judged_rows_are_others(project):
    lines = judge(project, 240)
    project.write("verdicts.jsonl", lines)
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    project.build(last=LAST)
    first = project.head("facts/ensemble")
    assert project.build(last=LAST).recalled["facts/ensemble"]
    project.write("verdicts.jsonl", [line | {"reason": "reads well"} for line in lines])
    again = project.build(last=LAST)
    assert not again.recalled["facts/ensemble"] and again.recalled[LAST]
    assert "ensemble" not in again.counted
    project.write("verdicts.jsonl", lines[:-1])
    project.build(last=LAST)
    other = project.head("facts/ensemble")
    assert other.values["fitted_on"] != first.values["fitted_on"]
    assert not other.table("weights").equals(first.table("weights"))
    assert other.table("facts")["id"].equals(first.table("facts")["id"])
    project.change(scorers=SCORERS | {"repetition": {"n": 3}})
    project.build(last=LAST)
    last = project.head("facts/ensemble")
    assert last.values["fitted_on"] != other.values["fitted_on"]
    fresh = Store(project.folder / "fresh")
    project.build(store=fresh, last=LAST)
    assert project.head("facts/ensemble", store=fresh).data_version == last.data_version


def test_what_is_no_verdict_is_named_and_costs_nothing_else(project):
    lines = judge(project, 240)
    wrong = ['{"id": "broken', {"id": lines[0]["id"], "verdict": "好"}, {"verdict": "accept"}]
    strange = [{"id": "f" * 32, "verdict": "accept"}]
    project.write("verdicts.jsonl", [*wrong, *strange, *lines])
    project.change(ensemble={"verdicts": "verdicts.jsonl"})
    project.build(last=LAST)
    version = project.head("facts/ensemble")
    passed, said = version.checks["verdicts"]
    assert passed and "240 of 200 verdicts" in said
    assert "broken 3, the first verdicts.jsonl:1: " in said
    assert "of ids that no row here has 1" in said
    counts = version.values["verdicts"]
    assert counts["broken"] == 3 and counts["unknown"] == 1
    assert counts["accepted"] + counts["rejected"] == 240
    kept = version.table("facts")
    project.write("verdicts.jsonl", lines)
    project.build(last=LAST)
    assert ensemble(project).equals(kept)


def test_a_verdict_counts_from_the_delivery_that_brings_its_row(project):
    new = talk(1, start=250)
    project.write("general/2.jsonl", new)
    project.build(last=LAST)
    lines = judge(project, 240)
    came = {*project.head("rows").table("rows", ["id"])["id"]}
    project.write("general/2.jsonl", [])
    project.build(last=LAST)
    (row_id,) = came - {*project.head("rows").table("rows", ["id"])["id"]}
    lines = [line for line in lines if line["id"] != row_id]
    project.write("verdicts.jsonl", [*lines, {"id": row_id, "verdict": "reject"}])
    project.change(ensemble={"verdicts": "verdicts.jsonl"})
    project.build(last=LAST)
    without = project.head("facts/ensemble")
    project.write("general/2.jsonl", new)
    project.build(last=LAST)
    within = project.head("facts/ensemble")
    assert without.values["verdicts"]["unknown"] == 1 and within.values["verdicts"]["unknown"] == 0
    assert without.values["fitted_on"] != within.values["fitted_on"]


def test_a_rule_on_it_is_previewed_from_what_is_stored(project):
    project.write("verdicts.jsonl", judge(project, 240))
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    project.build(last=LAST)
    told = preview_rules(
        project.head(LAST), project.recipe.keep, ["ensemble >= 0.9"], guard={"max_share": 1.0}
    )
    before = {*project.head(LAST).table("rows", ["id"])["id"]}
    project.change(keep=["ensemble >= 0.9"])
    project.build(last=LAST)
    after = {*project.head(LAST).table("rows", ["id"])["id"]}
    assert before - after == {*told.leave["id"]} and told.enter.is_empty() and before != after


def test_mistakes_of_the_section_are_said_when_the_recipe_is_read(tmp_path, tiny_base):
    with pytest.raises(RecipeError, match="unknown column 'ensemble'"):
        Project(tmp_path, tiny_base, keep=[RULE])
    (tmp_path / "v.jsonl").write_text(json.dumps({"id": "x", "verdict": "accept"}))
    own = {"ensemble": {"use": "length"}}
    for number, (said, scorers, mistake) in enumerate(
        [
            ({}, SCORERS, "'verdicts' is missing"),
            ({"verdicts": "none.jsonl"}, SCORERS, "'none.jsonl' does not exist"),
            ({"verdicts": "../v.jsonl"}, {}, "the recipe has none"),
            ({"verdicts": "../v.jsonl"}, own, "rename it"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(RecipeError, match=mistake):
            Project(folder, tiny_base, ensemble=said, scorers=scorers, keep=[])


def test_other_verdicts_are_named_as_the_cause_of_what_changed(project):
    project.change(ensemble={"verdicts": "verdicts.jsonl"}, keep=[RULE])
    lines = judge(project, 240)
    versions = []
    for said in (lines, lines[:220]):
        project.write("verdicts.jsonl", said)
        project.build(last=LAST)
        versions.append(project.head("facts/ensemble"))
    (kind, told), *_ = step_changes(*versions)
    counts = [version.values["verdicts"] for version in versions]
    before, now = (f"{c['accepted']:,} accepted and {c['rejected']:,} rejected" for c in counts)
    assert (kind, told) == ("verdicts", f"{before} are now {now}") and before != now
