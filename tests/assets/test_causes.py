"""Causes on a graph that was really built: what was changed is what the difference names."""

from importlib.metadata import version as installed
from pathlib import Path

import pytest

from assets import code
from curation.lineage import compare_models
from curation.lineage.model import summarise_model
from curation.scorers import repetition
from curation.store import Made
from tests.assets._project import LAST, RECIPE, SEEDS, Project, command, talk

LONG = command("后排左边那个会自己升降的电动车窗和遮阳帘")
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


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    """v1 of a project whose rows are so few that every kept one is trained on."""
    gold = {"use": "jsonl", "path": "gold", "track": "domain"}
    project = Project(tmp_path, tiny_base, sources={"gold": gold, **RECIPE["sources"]})
    project.write("gold/1.jsonl", [command("后视镜")])
    project.write("seeds/1.jsonl", [*SEEDS, LONG])
    project.write("general/1.jsonl", talk(5))
    project.build()
    release(project, 1)
    return project


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
    measure = repetition.measure_repetition
    upgraded = ("library", f"polars: {installed('polars')} is now 99.0")
    with monkeypatch.context() as patch:
        patch.setattr(
            code, "_installed", lambda name: "99.0" if name == "polars" else installed(name)
        )
        patch.setattr(
            repetition,
            "measure_repetition",
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
