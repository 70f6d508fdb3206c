"""`winnow error-types`: what is listed, and what the next build makes of what people say."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.bad_cases import add_bad_cases
from curation.lineage import trace_case
from pipelines.cli import EXAMPLES, build_parser, main
from tests.assets._project import PLAIN, SEEDS, Project, command

NOT_JSON, MISSING = "not_json", "missing:actions"


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    project = Project(tmp_path, tiny_base, **PLAIN)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", [command("the heating")])
    wishes = (("能不能打开", "好的"), ("给我打开", "{}"))
    things = ("空调", "天窗", "车灯", "雨刮", "蓝牙", "氛围灯")
    said = [(wish + thing, thing, wrong) for wish, wrong in wishes for thing in things]
    cases = [
        {"prompt": prompt, "gold": command(thing)["answer"], "predicted": wrong}
        for prompt, thing, wrong in said
    ]
    add_bad_cases(project.store, [(str(i), case) for i, case in enumerate(cases)])
    project.build(last="augmented_rows")
    return project


def winnow(project: Project, *words: str) -> int:
    where = ["--recipe", str(project.recipe.path), "--store", str(project.store.root)]
    return main(["error-types", *words, *where])


def listed(project: Project, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert winnow(project, "list", "--json") == 0
    return {one["signature"]: one for one in json.loads(capsys.readouterr().out)}


def made_of(project: Project, signature: str) -> int:
    """Edges to the rows that stem from the cases of a signature."""
    cases = project.head("bad_cases").table("rows").filter(signature=signature, half="learn")
    edges = project.head("augmented_rows").table("edges")
    return edges.filter(pl.col("parent").is_in([*cases["id"], *cases["row_id"]])).height


def test_a_muted_type_makes_no_rows_until_it_is_heard_again(project, capsys):
    assert listed(project, capsys).keys() == {NOT_JSON, MISSING}
    before = made_of(project, NOT_JSON), made_of(project, MISSING)
    assert all(before)
    assert winnow(project, "mute", NOT_JSON, "--by", "甲") == 0
    project.build(last="augmented_rows")
    assert made_of(project, NOT_JSON) == 0 and made_of(project, MISSING)
    assert listed(project, capsys)[NOT_JSON]["stopped"] == "muted"
    assert winnow(project, "list") == 0
    assert capsys.readouterr().out.endswith("2 error types, 1 muted\n")
    assert winnow(project, "unmute", NOT_JSON) == 0
    project.build(last="augmented_rows")
    assert (made_of(project, NOT_JSON), made_of(project, MISSING)) == before


def test_a_name_and_a_merge_are_honoured_and_a_case_knows_its_type(project, capsys):
    assert winnow(project, "merge", NOT_JSON, MISSING) == 0
    assert winnow(project, "rename", MISSING, "没有听懂") == 0
    project.build(last="error_types")
    (only,) = listed(project, capsys).values()
    assert (only["name"], only["name_zh"]) == ("没有听懂", "没有听懂")
    cases = project.head("bad_cases").table("rows")
    assert only["n"] == cases.filter(half="learn").height
    case = trace_case(project.store, "delta", cases.filter(signature=NOT_JSON)["id"][0])
    assert case is not None and case["error_type"]["name"] == "没有听懂"
    assert winnow(project, "merge", NOT_JSON, NOT_JSON) == 0
    project.build(last="error_types")
    assert listed(project, capsys).keys() == {NOT_JSON, MISSING}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mute", "not_jsn"], "no error type is called 'not_jsn' (did you mean 'not_json'?)"),
        (["merge", NOT_JSON, "没有"], "no error type is called '没有'"),
        (["rename", NOT_JSON, "\u202e"], "text holds the unsafe character U+202E"),
    ],
)
def test_a_users_mistake_is_one_line_and_changes_nothing(project, capsys, words, said):
    before = listed(project, capsys)
    assert winnow(project, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"winnow: {said}")
    project.build(last="error_types")
    assert listed(project, capsys) == before


@pytest.mark.parametrize("name", ["list", "rename", "merge", "mute", "unmute"])
def test_every_help_shows_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["error-types", name, "--help"])
    assert f"example:\n  {EXAMPLES[f'error-types {name}']}" in capsys.readouterr().out
