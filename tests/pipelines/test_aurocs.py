"""`winnow aurocs` shows what each scorer is worth by the verdicts of a real project."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from curation.store import Store
from tests.pipelines.conftest import TINY, Project


@pytest.fixture
def project(built, tmp_path: Path) -> Project:
    """The built project with verdicts, which reject what is long."""
    project = Project(tmp_path, recipe=tmp_path / "judged.yaml")
    shutil.copytree(built.store, project.store)
    shutil.copytree(TINY.parent, tmp_path, dirs_exist_ok=True)
    text = TINY.read_text(encoding="utf-8").replace("../..", str(TINY.parents[2]))
    recipe = yaml.safe_load(text) | {
        "ensemble": {"verdicts": "verdicts.jsonl", "min_verdicts": 100},
        "keep": ["ensemble >= 0.2"],
        "guard": {"max_share": 1.0},
    }
    project.recipe.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    return project


def judge(project: Project, n: int) -> None:
    head = Store(project.store).head("tiny/facts/length")
    assert head
    facts = head.table("facts").head(n)
    median = facts["value"].median()
    lines = [
        {"id": row_id, "verdict": "reject" if value > median else "accept"}
        for row_id, value in facts.select("id", "value").iter_rows()
    ]
    said = "".join(json.dumps(line) + "\n" for line in lines)
    (project.recipe.parent / "verdicts.jsonl").write_text(said, encoding="utf-8")


def test_each_scorer_has_a_line_and_programs_get_the_numbers(project):
    judge(project, 120)
    nothing = project.ask("aurocs")
    assert nothing.returncode == 1 and "nothing is fitted yet" in nothing.stderr
    done = project.ask("run", "--select", "facts/ensemble", "kept_rows")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = project.ask("aurocs").stdout
    assert "120 of 100 verdicts" in shown
    for name in ("length", "repetition", "special_tokens", "task_valid", "ensemble"):
        assert f"\n  {name} " in shown
    said = json.loads(project.ask("aurocs", "--json").stdout)
    aurocs = {line["scorer"]: line for line in said["aurocs"]}
    assert aurocs["length"]["auroc"] == 0 and aurocs["ensemble"]["auroc"] > 0.95
    assert 0 == aurocs["length"]["low"] < aurocs["length"]["high"] < 0.1
    assert said["verdicts"]["accepted"] + said["verdicts"]["rejected"] == 120
    preview = project.ask("preview", "ensemble >= 0.9", "--json")
    assert json.loads(preview.stdout)["leave"] > 0


def test_too_few_verdicts_are_counted(project):
    judge(project, 60)
    with (project.recipe.parent / "verdicts.jsonl").open("a") as file:
        file.write("{\n")
    assert project.ask("run", "--select", "facts/ensemble").returncode == 0
    shown = project.ask("aurocs").stdout
    assert "60 of 100 verdicts" in shown and "nothing is fitted" in shown
    assert "broken 1, the first verdicts.jsonl:61: " in shown


def test_a_recipe_without_an_ensemble_is_told_how_to_have_one(built):
    done = built.ask("aurocs")
    assert done.returncode == 2 and "add `ensemble: {verdicts: FILE}`" in done.stderr
