"""What judges rows stays as it was, and so does a base model made here: new rows alone cost."""

from pathlib import Path

import pytest

from tests.assets._project import LAST, SEEDS, Project, command, talk

FROZEN = ("base_model", "reference", "reward_model")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A built project whose base model, reward model and reference are all made in it."""
    folder = tmp_path_factory.mktemp("frozen")
    project = Project(
        folder,
        folder,
        train={"base_model": "demo"},
        demo_model={"steps": 2, "hidden": 16, "layers": 1, "vocab_size": 300},
        reward_model={"epochs": 1},
        scorers={"model_perplexity": {}, "reward": {}, "perplexity": {}},
        keep=[],
    )
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def made_of(project: Project) -> dict[str, str]:
    """What each frozen step gives to those after it."""
    return {name: project.head(name).data_version for name in FROZEN}


def test_new_rows_of_every_kind_cost_each_judge_exactly_as_many(project):
    before = made_of(project)
    known = set(project.head("split_rows").table("rows", ["id"])["id"])
    project.write("general/2.jsonl", talk(6, start=40))
    project.write("seeds/2.jsonl", [command("除雾"), command("香氛")])
    counted = project.build().counted
    new = set(project.head("split_rows").table("rows", ["id"])["id"]) - known
    assert len(new) >= 8 and made_of(project) == before
    steps = ("model_perplexity", "reward", "perplexity")
    assert {counted[step] for step in steps} == {len(new)}


def test_the_base_model_knows_what_it_learned_from_although_it_is_gone(project):
    before = set(project.head("sources/general").table("rows", ["id"])["id"])
    project.write("general/1.jsonl", talk(39, start=1))
    project.build()
    (gone,) = before - set(project.head("sources/general").table("rows", ["id"])["id"])
    assert gone in project.head("base_model").table("rows")["id"]


def test_another_edition_makes_them_anew_and_measures_every_row(project):
    before = made_of(project)
    project.write("general/2.jsonl", talk(6, start=40))
    project.write("seeds/2.jsonl", [command("除雾"), command("香氛")])
    project.change(reference={"edition": 2})
    counted = project.build().counted
    rows = project.head("split_rows").table("rows", ["id"]).height
    assert all(made_of(project)[name] != before[name] for name in FROZEN)
    assert counted["model_perplexity"] == counted["reward"] == counted["perplexity"] == rows
    assert project.head(LAST).table("rows").height


def test_other_options_of_a_model_make_that_model_anew(project):
    before = made_of(project)
    project.change(reward_model={"epochs": 2})
    assert project.build().counted.keys() == {"reward"}
    changed = {name for name in FROZEN if made_of(project)[name] != before[name]}
    assert changed == {"reward_model"}
