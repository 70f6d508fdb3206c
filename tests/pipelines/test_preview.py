"""A preview says of every row what a build by those rules would have said."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from curation.preview import put_rules
from curation.store import Store
from tests.pipelines.conftest import TINY, Project

SCHEMA = pl.Schema({"a": pl.Float64, "b": pl.Float64, "c": pl.Boolean})


@pytest.mark.parametrize(
    ("keep", "rules", "put"),
    [
        (["a < 1", "b < 2"], ["a < 3"], ["a < 3", "b < 2"]),
        (["a < 1", "b < 2", "a > 0"], ["a < 3"], ["a < 3", "b < 2"]),
        (["a < 1"], ["not c"], ["a < 1", "not c"]),
        (["b < 2", "a < 1"], ["a < 3", "a > 0"], ["b < 2", "a < 3", "a > 0"]),
        (["a < b"], ["a < 3"], ["a < b", "a < 3"]),
        ([], ["a < 3"], ["a < 3"]),
    ],
)
def test_a_rule_takes_the_place_of_those_that_read_the_same(keep, rules, put):
    assert put_rules(keep, rules, SCHEMA) == put


def kept(project: Project) -> set[str]:
    head = Store(project.store).head("tiny/kept_rows")
    assert head
    return {*head.table("rows", ["id"])["id"]}


def test_a_build_by_the_rules_keeps_what_the_preview_said(built, tmp_path: Path):
    project = Project(tmp_path, recipe=tmp_path / "other.yaml")
    shutil.copytree(built.store, project.store)
    text = TINY.read_text(encoding="utf-8").replace("../..", str(TINY.parents[2]))
    before, recipe = kept(built), yaml.safe_load(text)
    loose = ["length <= 400", "length >= 12"]
    said = json.loads(built.ask("preview", *loose, "--json", "--limit", "1000").stdout)
    assert said["enter"] + said["leave"] == len(said["enter_rows"]) + len(said["leave_rows"]) > 0
    shutil.copytree(TINY.parent, tmp_path, dirs_exist_ok=True)
    recipe |= {"keep": said["rules"], "guard": {"max_share": 1.0}}
    project.recipe.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    assert project.ask("run", "--select", "kept_rows").returncode == 0
    enter, leave = ({row["id"] for row in said[f"{side}_rows"]} for side in ("enter", "leave"))
    assert kept(project) == (before | enter) - leave


def test_what_is_no_rule_is_one_line_and_no_change_is_said(built):
    wrong = built.ask("preview", "perplexety < 1")
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1
    same = built.ask("preview", "length <= 100000")
    assert same.returncode == 0 and "would enter or leave" in same.stdout


def test_the_guard_is_asked_too(built):
    said = built.ask("preview", "length > 100000")
    assert "guard" in said.stdout and "would stop the build" in said.stdout
