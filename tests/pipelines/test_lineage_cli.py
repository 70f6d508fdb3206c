"""Every question of `winnow lineage` on a graph that was really built, by hand and by program."""

import json

import pytest
import yaml

from curation.lineage import find_users
from curation.registry import find_version
from curation.store import Store
from pipelines.cli_lineage import LINEAGE_EXAMPLES
from pipelines.cli_text import aligned, shown_width
from tests.pipelines.conftest import TINY, make_project


@pytest.fixture(scope="module")
def learned(built):
    """A bad case that v2 learned from."""
    rows = find_version(Store(built.store), "tiny", "v2").input("bad_cases").table("rows")
    return rows.filter(rows["half"] == "learn").row(0, named=True)


def ask(project, *words, code=0):
    done = project.ask("lineage", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    "words",
    [
        ["model", "v2"],
        ["why", "打开空调"],
        ["diff", "v1", "v2"],
        ["who-used", "seeds"],
        ["who-used", "打开空调"],
        ["leak", "v2"],
        ["reproduce", "v2"],
        ["reproduce", "v2", "--check"],
        ["at", "now"],
        ["card", "v2"],
    ],
    ids=" ".join,
)
def test_an_answer_is_json_for_programs_and_lines_for_people(built, words):
    assert json.loads(ask(built, *words, "--json").stdout)
    text = ask(built, *words).stdout
    assert text.strip() and "{'" not in text and "None" not in text


def test_a_bad_case_leads_to_the_model_that_learned_from_it(built, learned):
    said = json.loads(ask(built, "trace", learned["id"], "--json").stdout)
    assert said["state"].startswith(("trained on in v", "fixed in v"))
    assert said["found_by"] == "v1"
    assert [v["in_snapshot"] for v in said["versions"][:2]] == [False, True]
    assert any(r["verdict"] == "trained on" for r in said["versions"][1]["rows"])


def test_the_row_to_blame_knows_where_it_came_from(built, learned):
    said = json.loads(ask(built, "blame", learned["prompt"], "--version", "v2", "--json").stdout)
    nearest = said["neighbours"][0]
    assert nearest["similarity"] == 1.0 and nearest["made_from"][0]["kind"] == "fix"
    assert "repetition" in nearest["scores"]


def test_a_built_version_has_no_leak_and_can_be_reproduced(built):
    assert json.loads(ask(built, "leak", "v2", "--json").stdout)["leaks"] == []
    assert json.loads(ask(built, "reproduce", "v2", "--check", "--json").stdout)["ok"]


def test_a_general_row_is_inside_the_base_model_that_was_made_of_it(built):
    store = Store(built.store)
    read = find_version(store, "tiny", "v2").input("base_model").table("rows", ["id"])
    said = json.loads(ask(built, "who-used", read["id"][0], "--json").stdout)
    assert [v["pretrained"] for v in said["versions"]] == [True] * said["asked"] and said["asked"]
    seeds = find_users(store, "tiny", "打开空调")["versions"]
    assert seeds and not any(v["pretrained"] for v in seeds)


def test_the_recipe_that_is_written_out_says_the_same(built, tmp_path):
    ask(built, "reproduce", "v2", "--to", str(tmp_path))
    written = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    assert written == yaml.safe_load(TINY.read_text(encoding="utf-8"))


def test_another_version_is_told_from_the_one_that_was_written(built, tmp_path):
    written = ask(built, "reproduce", "v2", "--to", str(tmp_path), "--json").stdout
    assert {*json.loads(written)["files"]} <= {path.name for path in tmp_path.iterdir()}
    plan = str(tmp_path / "reproduce.json")
    assert "made again" in ask(built, "reproduce", "v2", "--same-as", plan).stdout
    assert "another one" in ask(built, "reproduce", "v1", "--same-as", plan, code=1).stdout
    for odd in (str(TINY), str(tmp_path / "bad_cases.jsonl"), str(tmp_path / "none")):
        said = ask(built, "reproduce", "v2", "--same-as", odd, code=2).stderr
        assert len(said.strip().splitlines()) == 1 and "Traceback" not in said


def test_the_rows_of_a_version_are_one_json_object_a_line(built):
    printed = ask(built, "rows", "v2", "--where", "track = 'domain'", "--json").stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    trained = find_version(Store(built.store), "tiny", "v2").input("training_set").table("rows")
    domain = trained.filter(trained["track"] == "domain")
    assert [row["id"] for row in rows] == sorted(domain["id"])
    assert all(row["messages"] and "repetition" in row for row in rows)


@pytest.mark.parametrize("form", ["--openlineage", "--hf", "--llama-factory"])
def test_what_was_written_is_said_in_json(built, tmp_path, form):
    to = tmp_path / "out"
    said = json.loads(ask(built, "export", "v2", form, str(to), "--json").stdout)
    assert said.pop("to") == str(to) and to.exists()
    trained = find_version(Store(built.store), "tiny", "v2").input("training_set")
    if form == "--openlineage":
        assert said == {"events": len(to.read_text(encoding="utf-8").splitlines())}
    else:
        assert said["rows"] + said.get("left_out", 0) >= trained.tables["rows"]["rows"]


def test_a_card_that_was_written_is_said_in_json(built, tmp_path):
    to = tmp_path / "CARD.md"
    printed = ask(built, "card", "v2", "--to", str(to), "--json").stdout
    assert json.loads(printed) == {"version": "v2", "to": str(to)}
    card = json.loads(ask(built, "card", "v2", "--json").stdout)["card"]
    assert to.read_text(encoding="utf-8") == card


def test_the_summary_in_the_manifest_links_to_the_runs_of_the_version(built):
    model = Store(built.store).head("tiny/model_version")
    assert model is not None
    number = model.values["number"]
    assert model.values["links"]["runs"].endswith(f"tag%3Awinnow%2Fmodel_version%3Dv{number}")
    assert model.values["lineage"]["sources"]["general"]["pretrained"]


def test_a_manifest_names_code_packages_and_recipe_and_no_folder(built):
    model = Store(built.store).head("tiny/duplicates")
    assert model is not None
    how = model.manifest["how"]
    assert "curation.dedup" in how["modules"] and "polars" in how["packages"]
    assert "keep:" in how["recipe_text"] and str(built.folder) not in json.dumps(model.manifest)


@pytest.mark.parametrize(
    "words",
    [
        ["model", "v99"],
        ["diff", "v1", "v99"],
        ["trace", "打开"],
        ["at", "some day"],
        ["export", "v2", "--openlineage", "x", "--where", "id = ''"],
        ["export", "v2", "--hf", "x", "--where", "no such"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_two(built, words):
    done = ask(built, *words, code=2)
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [["why", "没有这句话"], ["trace", "没有这句话"], ["who-used", "没有"], ["blame", "没有这句话"]],
    ids=" ".join,
)
def test_nothing_found_is_one_line_and_exit_code_one(built, words):
    done = ask(built, *words, code=1)
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout


def test_before_the_first_model_rows_are_explained_and_models_are_missed(project):
    sources = [f"sources/{name}" for name in yaml.safe_load(TINY.read_text())["sources"]]
    done = project.ask("run", "--select", *sources, "rows")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "duplicates has not been built yet" in ask(project, "why", "打开空调").stdout
    assert "quarantined at dirt.jsonl:4" in ask(project, "why", "关闭天窗").stdout
    for words in (["model"], ["diff", "v1", "v2"], ["card"], ["leak"]):
        assert "has no model version yet" in ask(project, *words, code=2).stderr
    assert "there is no model version yet" in ask(project, "who-used", "seeds", code=1).stdout
    assert "none exists" in ask(project, "at", "now", code=1).stdout


def test_a_missing_store_is_said_and_not_made(tmp_path):
    project = make_project(tmp_path)
    assert "there is no store at" in ask(project, "model", code=2).stderr
    assert not project.store.exists()


def test_every_question_has_an_example_in_its_help(built):
    for name, example in LINEAGE_EXAMPLES.items():
        assert example in ask(built, name.split()[-1], "--help").stdout


def test_columns_line_up_where_han_takes_two_cells():
    lines = list(aligned([["打开空调", "1"], ["open", "22"]], right=(1,)))
    assert len({shown_width(line) for line in lines}) == 1
