"""Causes on a graph that was really built: what was changed is what the difference names."""

from importlib.metadata import version as installed
from pathlib import Path

import pytest

from assets import code
from curation.bad_cases import add_bad_cases
from curation.lineage import compare_models
from curation.lineage.model import summarise_model
from curation.scorers import repetition
from curation.store import Made
from tests.assets._project import LAST, RECIPE, SEEDS, Project, command, talk

GOLD = {"use": "jsonl", "path": "gold", "track": "domain", "revision": "a1"}
LONG = command("后排左边那个会自己升降的电动车窗和遮阳帘")
FRAMED = {**command("副驾座椅通风"), "prompt": "麻烦你现在打开一下副驾座椅通风"}
"""Another frame, so that the augmenter has something to make of each seed."""
SKYLIGHT = {**command("天窗"), "prompt": "请打开天窗！"}
"""A seed in other words, which are equal to those of the seed once marks are left out."""


def release(project: Project, number: int) -> None:
    """Register a model version on the present training set; its training is left out."""
    inputs = {name: project.head(name) for name in (LAST, "bad_cases", "base_model", "rows")}
    summary = summarise_model(inputs[LAST], inputs["bad_cases"], inputs["base_model"])
    values = {
        "number": number, "id": f"{number:032x}", "promoted": True, "lineage": summary,
        "verdict": {"rules": []}, "metrics": {"candidate": {}}, "failed_heldout": 0,
    }  # fmt: skip
    how = {"recipe": project.recipe.digest, "recipe_text": project.recipe.text}
    made = Made(values=values)
    version = project.store.write_version("delta/model_version", made, inputs=inputs, how=how)
    project.store.publish(version)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    """v1 of a project whose rows are so few that every kept one is trained on."""
    task = RECIPE["task"] | {"closed": {"do": ["打开"]}}
    sources = {"gold": GOLD, **RECIPE["sources"]}
    project = Project(tmp_path_factory.mktemp("causes"), tiny_base, sources=sources, task=task)
    project.write("gold/1.jsonl", [command("后视镜")])
    project.write("seeds/1.jsonl", [*SEEDS, LONG, FRAMED])
    project.write("general/1.jsonl", talk(5))
    project.build()
    release(project, 1)
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def compare(project):
    release(project, 2)
    return compare_models(project.store, "delta", "v1", "v2")


def cause(said, change, record):
    """The cause and its details for the one row that came or went."""
    rows = [r for r in said["rows"] if r["text"].startswith(f"{record['prompt']} ⏎")]
    assert [r["change"] for r in rows] == [change]
    return rows[0]["cause"], rows[0]["detail"]


def kinds(said):
    return {(c["kind"], c["detail"]) for c in said["changes"]}


def test_a_threshold_is_the_cause_of_the_rows_that_it_takes(project):
    project.change(keep=[rule.replace("100", "70") for rule in RECIPE["keep"]])
    project.build()
    said = compare(project)
    named = ("threshold", "keep: length <= 100 is now length <= 70")
    assert cause(said, "went", LONG) == named and kinds(said) == {named}
    assert set(said["went"]) == {"threshold"} and not said["came"]


def test_a_keeper_swap_is_the_cause_of_the_row_that_gave_its_place(project):
    project.write("gold/2.jsonl", [SKYLIGHT])
    project.build()
    said = compare(project)
    (new,) = [r["id"] for r in said["rows"] if r["change"] == "came" and r["source"] == "gold"]
    kind, detail = cause(said, "went", command("天窗"))
    assert kind == "keeper swap" and detail == f"a keeper came: {new[:12]}, similarity 1.00"
    delivered = ("source content", "the files of 'gold' changed")
    assert cause(said, "came", SKYLIGHT) == delivered and kinds(said) == {delivered}


def test_a_library_is_the_cause_of_what_its_upgrade_measures_otherwise(project, monkeypatch):
    """The steps that use it are done anew; back on the old version everything is remembered."""
    measure = repetition.measure_share
    upgraded = ("library", f"polars: {installed('polars')} is now 99.0")
    with monkeypatch.context() as patch:
        patch.setattr(
            code, "_installed", lambda name: "99.0" if name == "polars" else installed(name)
        )
        patch.setattr(
            repetition,
            "measure_share",
            lambda text, n: 1.0 if "雨刮" in text else measure(text, n),
        )
        project.change()
        built = project.build()
        assert built.counted["repetition"] == project.head("split_rows").tables["rows"]["rows"]
        assert not any(built.recalled.values())
    said = compare(project)
    kind, detail = cause(said, "went", command("雨刮"))
    assert (kind, detail) == ("library", f"breaks repetition < 0.9, measured 1 ({upgraded[1]})")
    assert kinds(said) == {upgraded} and set(said["went"]) == {"library"}
    project.change()
    assert all(project.build().recalled.values())


def test_a_new_bad_case_is_the_cause_of_its_rows_and_of_what_is_made_beside_them(project):
    """Which cases came is the cause, though a run option chose them."""
    wanted = [command(what) for what in ("后视镜加热", "阅读灯", "香氛", "顶灯")]
    wrong = [
        {"prompt": f"能不能{r['prompt']}", "gold": r["answer"], "predicted": "好"} for r in wanted
    ]
    add_bad_cases(project.store, [(str(n), case) for n, case in enumerate(wrong)], found_by="beta")
    project.build(found_by="beta")
    said = compare(project)
    cases = project.head("bad_cases").table("rows")
    learned = cases.filter(cases["half"] == "learn").to_dicts()
    for case in learned:
        assert cause(said, "came", case) == ("new bad case", f"made from {case['id'][:12]}")
    parents = {case[name] for case in learned for name in ("id", "row_id")}
    edges = project.head("augmented_rows").table("edges")
    trained = edges.join(project.head(LAST).table("rows", ["id"]), left_on="child", right_on="id")
    links = trained.select("child", "parent").iter_rows()
    made = {child: f"made from {parent[:12]}" for child, parent in links if parent in parents}
    assert {r["id"]: r["detail"] for r in said["rows"] if r["cause"] == "new bad case"} == made
    beside = [r for r in said["rows"] if r["id"] not in made]
    came = "4 came (2 to learn from)"
    assert {(r["change"], r["cause"], r["detail"]) for r in beside} == {
        ("came", "bad cases", f"made now, of the same parent: {came}")
    }
    assert kinds(said) == {("bad cases", came), ("run option", "found_by: (none) is now beta")}


def test_a_source_revision_is_the_cause_of_the_rows_that_it_holds_besides(project):
    project.write("gold/1.jsonl", [command("后视镜"), command("阅读灯")])
    gold = {"gold": {**GOLD, "revision": "b2"}}
    project.change(sources=gold | RECIPE["sources"])
    project.build()
    said = compare(project)
    named = ("source revision", "sources.gold.revision: a1 is now b2")
    assert cause(said, "came", command("阅读灯")) == named and kinds(said) == {named}
    assert said["came"] == {"source revision": 1} and not said["went"]


def test_a_recipe_key_is_the_cause_of_the_rows_that_are_made_by_it(project):
    project.change(augment={"use": "rules", "per_seed": 2})
    project.build()
    said = compare(project)
    named = ("recipe key", "augment.per_seed: 1 is now 2")
    (row,) = said["rows"]
    assert row["source"] == "rules" and row["change"] == "came" and row["cause"] == named[0]
    assert row["detail"] == f"made now, of the same parent ({named[1]})" and kinds(said) == {named}
