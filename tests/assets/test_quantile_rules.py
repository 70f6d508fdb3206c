"""Thresholds on quantiles: frozen with the reference, so new rows move no verdict on old ones."""

import random

import polars as pl
import pytest

from assets.recipe import RecipeError
from curation.preview import preview_rules
from curation.quantiles import MOST
from tests.assets._project import HAN, SEEDS, Project, talk

RULE = "perplexity_q < 0.9 or track = 'domain'"


@pytest.fixture
def project(tmp_path, tiny_base) -> Project:
    """A built project that drops the tenth of its general rows that is the most unusual."""
    project = Project(
        tmp_path, tiny_base, scorers={"perplexity": {}, "length": {}}, keep=[RULE, "length <= 100"]
    )
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(300))
    project.build(last="kept_rows")
    return project


def garbled(n: int) -> list[dict[str, str]]:
    draw = random.Random(7)
    texts = ["".join(chr(draw.randint(0x3400, 0x4DB5)) for _ in range(24)) for _ in range(n)]
    return [{"prompt": text, "answer": text[::-1] + HAN[:1]} for text in texts]


def verdicts(project: Project) -> dict[str, str]:
    return dict(project.head("kept_rows").table("fates", ["id", "fate"]).iter_rows())


def test_a_rule_on_a_quantile_drops_its_share_and_says_where_each_row_stood(project):
    fates = project.head("kept_rows").table("fates").filter(pl.col("source") == "general")
    dropped = fates.filter(pl.col("fate") == "dropped")
    assert 0.07 < dropped.height / fates.height < 0.13
    assert set(dropped["reason"]) == {RULE}
    scores = project.head("kept_rows").table("scores")
    assert {*scores.columns} == {"id", "perplexity", "length", "label_conflict", "perplexity_q"}
    assert scores["perplexity_q"].is_between(0, 1).all()
    asked = scores.sort("perplexity")["perplexity_q"]
    assert asked.is_sorted()
    frozen = project.head("facts/perplexity").table("quantiles")
    assert 300 <= frozen.height <= MOST
    assert "quantiles" not in project.head("facts/length").tables


def test_other_quantiles_are_previewed_from_what_is_stored(project):
    kept, rule = project.head("kept_rows"), "perplexity_q < 0.5 or track = 'domain'"
    told = preview_rules(kept, project.recipe.keep, [rule], guard={"max_share": 1.0})
    project.change(keep=[rule, "length <= 100"], guard={"max_share": 1.0})
    before = verdicts(project)
    project.build(last="kept_rows")
    after = verdicts(project)
    left = {i for i in before if before[i] == "kept" != after[i]}
    assert set(told.leave["id"]) == left and len(left) > 50
    assert told.enter.is_empty()


def test_a_bad_delivery_moves_no_verdict_but_shows_as_drift(project):
    before = verdicts(project)
    frozen = project.head("facts/perplexity").table("quantiles")
    assert project.head("facts/perplexity").checks["drift"][0]
    project.write("general/2.jsonl", garbled(300))
    project.change(guard={"max_share": 1.0})
    project.build(last="kept_rows")
    after = verdicts(project)
    assert {i: after[i] for i in before} == before
    new = set(after) - set(before)
    assert len(new) == 300 and {after[i] for i in new} == {"dropped"}
    facts = project.head("facts/perplexity")
    assert facts.table("quantiles").equals(frozen)
    passed, said = facts.checks["drift"]
    assert not passed and "another distribution" in said
    passed, said = project.head("kept_rows").checks["flips"]
    assert passed and "0 came in and 0 went out" in said


def test_another_edition_takes_the_quantiles_anew_and_says_who_changed_sides(project):
    project.write("general/2.jsonl", garbled(300))
    project.change(guard={"max_share": 1.0})
    project.build(last="kept_rows")
    before = verdicts(project)
    project.change(reference={"edition": 2})
    project.build(last="kept_rows")
    after = verdicts(project)
    into = sum(before[i] != "kept" == after[i] for i in before)
    out = sum(before[i] == "kept" != after[i] for i in before)
    passed, said = project.head("kept_rows").checks["flips"]
    assert not passed and f"{into:,} came in and {out:,} went out" in said and into > 100
    assert project.head("facts/perplexity").checks["drift"][0]


def test_other_quantiles_of_the_same_scores_judge_every_row_anew(tmp_path, tiny_base):
    rules = ["length_q < 0.9"]
    project = Project(
        tmp_path, tiny_base, scorers={"length": {}}, keep=rules, guard={"max_share": 1.0}
    )
    project.write("general/1.jsonl", talk(200))
    project.write("seeds/1.jsonl", SEEDS)
    project.build(last="kept_rows")
    before = verdicts(project)
    longer = [{"prompt": r["prompt"] * 3, "answer": r["answer"]} for r in talk(200, start=200)]
    project.write("general/2.jsonl", longer)
    project.build(last="kept_rows")
    assert sum(fate == "kept" for fate in verdicts(project).values()) < 210
    project.change(reference={"edition": 2})
    assert "length" not in project.build(last="kept_rows").counted
    after = verdicts(project)
    assert set(after.values()) == {"kept"} and {*before} < {*after}


def test_other_rules_may_change_verdicts(project):
    project.change(keep=["perplexity_q < 0.5 or track = 'domain'"])
    project.build(last="kept_rows")
    passed, said = project.head("kept_rows").checks["flips"]
    assert passed and "the rules are new" in said and " 0 went out" not in said


def test_a_quantile_is_asked_for_in_a_project_that_had_none(tmp_path, tiny_base):
    project = Project(tmp_path, tiny_base, scorers={"length": {}}, keep=["length <= 100"])
    project.write("general/1.jsonl", talk(200))
    project.write("seeds/1.jsonl", SEEDS)
    project.build(last="kept_rows")
    project.change(keep=["length_q < 0.9"], guard={"max_share": 1.0})
    assert "length" not in project.build(last="kept_rows").counted
    assert "dropped" in verdicts(project).values()
    project.change(keep=["length <= 100"])
    project.build(last="kept_rows")
    assert set(verdicts(project).values()) == {"kept"}


def test_a_quantile_of_yes_and_no_is_refused_with_the_rule_to_write(tmp_path, tiny_base):
    project = Project(
        tmp_path, tiny_base, scorers={"special_tokens": {}}, keep=["special_tokens_q < 0.5"]
    )
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(10))
    with pytest.raises(ValueError, match="special_tokens is true or false; write 'not special_t"):
        project.build(last="kept_rows")


def test_a_scorer_cannot_be_named_like_a_quantile(tmp_path, tiny_base):
    with pytest.raises(RecipeError, match="scorers.length_q: names that end in _q mean quantiles"):
        Project(tmp_path, tiny_base, scorers={"length_q": {"use": "length"}}, keep=[])
