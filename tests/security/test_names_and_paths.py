"""No name leads out: not one in a recipe, on the command line, or in a file of the store."""

from pathlib import Path

import pytest
import yaml

from assets.recipe import RecipeError, load_recipe
from curation.export import export_rows
from curation.plugins import check_options
from curation.rows import dialogue, make_row, rows_frame
from curation.sources.jsonl import jsonl
from curation.store import Made, Store
from pipelines.cli import main
from tests.curation.lineage_world import Plan, publish

CLIMBING = ["../../up", "a/../../up", "/etc/up", "..", ".", "a\0b", "a/b", "", "上/级"]
ROWS = rows_frame([make_row(dialogue("打开空调", "好"))])


def load(folder: Path, **parts):
    (folder / "rows.jsonl").write_text('{"prompt": "开灯", "answer": "好"}\n', encoding="utf-8")
    said = {
        "name": "r",
        "sources": {"s": {"use": "jsonl", "path": "rows.jsonl"}},
        "train": {"base_model": "demo"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(said | parts, allow_unicode=True), encoding="utf-8")
    return load_recipe(path, environment={})


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("section", ["sources", "scorers"])
def test_a_name_that_is_a_path_is_a_mistake_of_the_recipe(tmp_path, section, name):
    plug = {"use": "jsonl", "path": "rows.jsonl"} if section == "sources" else {"use": "length"}
    with pytest.raises(RecipeError) as stop:
        load(tmp_path, **{section: {name: plug}})
    assert any("letters, digits" in line for line in stop.value.lines)
    assert "\0" not in str(stop.value)


@pytest.mark.parametrize("name", ["../r", "/r", "a/b", "a\0", ".."])
def test_a_recipe_is_not_named_by_a_path(tmp_path, name):
    with pytest.raises(RecipeError, match="name: expected a word"):
        load(tmp_path, name=name)


def test_a_plain_name_is_no_mistake(tmp_path):
    plug = {"use": "jsonl", "path": "rows.jsonl"}
    assert list(load(tmp_path, sources={"my-rows_2": plug}).sources) == ["my-rows_2"]


def test_the_path_of_a_recipe_may_lie_anywhere_but_holds_no_nul(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    load(tmp_path)
    for path in ("../rows.jsonl", str(tmp_path / "rows.jsonl")):
        given, errors = check_options(jsonl, {"path": path}, where="s", base=elsewhere)
        assert not errors and given["path"].is_file()
    errors = check_options(jsonl, {"path": "rows\0.jsonl"}, where="s", base=tmp_path)[1]
    assert errors == [r"s.path: 'rows\x00.jsonl' holds a NUL character"]


@pytest.fixture
def winnow(tmp_path):
    """`winnow` on a recipe with one built asset, beside a store whose rows are none of its own."""
    load(tmp_path)
    for root, name in ((tmp_path / "s", "r/rows"), (tmp_path / "other", "secret/rows")):
        store = Store(root)
        store.publish(store.write_version(name, Made({"rows": ROWS}), inputs={}, how={}))
    common = ["--recipe", str(tmp_path / "recipe.yaml"), "--store", str(tmp_path / "s")]
    return lambda *arguments: main([*arguments, *common])


OUTSIDE = ["../../../other/refs/secret/rows", "../secret/rows", "rows/", "./rows", "rows/../rows"]


@pytest.mark.parametrize("asset", OUTSIDE)
def test_export_knows_assets_and_no_paths(winnow, tmp_path, capsys, asset):
    assert winnow("export", asset, "--to", str(tmp_path / "out.jsonl")) == 2
    error = capsys.readouterr().err
    assert "no asset is called" in error and error.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("asset", [*OUTSIDE, "/etc/passwd", "*"])
def test_select_knows_assets_and_no_paths(winnow, capsys, asset):
    assert winnow("run", "--select", asset) == 2
    assert "no asset is called" in capsys.readouterr().err


def test_an_export_never_lands_in_the_store(winnow, tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "s" / "refs")
    before = sorted((tmp_path / "s").rglob("*"))
    for to in ("s/refs/r/rows/00000099.json", "s/../s/format.json", "link/r/rows/00000099.json"):
        assert winnow("export", "rows", "--to", str(tmp_path / to)) == 2
        assert "lies in the store" in capsys.readouterr().err
    assert sorted((tmp_path / "s").rglob("*")) == before
    assert winnow("export", "rows", "--to", str(tmp_path / "out.jsonl")) == 0


ANSWERS = ["card --to", "reproduce --to", *(f"export --{f}" for f in ("openlineage", "hf"))]


@pytest.mark.parametrize("words", [*ANSWERS, "export --llama-factory"])
def test_no_answer_about_lineage_lands_in_the_store(tmp_path, capsys, words):
    load(tmp_path, name="w")
    publish(Store(tmp_path / "s"), Plan(sources={"seeds": [("打开空调", "好")]}))
    (tmp_path / "link").symlink_to(tmp_path / "s" / "refs")
    common = ["--recipe", str(tmp_path / "recipe.yaml"), "--store", str(tmp_path / "s")]
    question, option = words.split()
    before = contents(tmp_path / "s")
    for to in ("s", "s/format.json", "s/../s/refs/w/rows/00000001.json", "link/w/rows"):
        assert main(["lineage", question, "v1", option, str(tmp_path / to), *common]) == 2
        error = capsys.readouterr().err
        assert "lies in the store" in error and error.count("\n") == 1
    assert contents(tmp_path / "s") == before
    assert main(["lineage", question, "v1", option, str(tmp_path / "out"), *common]) == 0
    assert (tmp_path / "out").exists()


def test_what_a_bucket_keeps_on_this_machine_is_not_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    to = [".winnow/calls.sqlite", "--store", "s3://bucket/prefix"]
    assert main(["lineage", "card", "--to", *to]) == 2
    assert "lies in the store" in capsys.readouterr().err and not (tmp_path / ".winnow").exists()


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_export_replaces_a_link_and_not_what_it_points_at(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("kept")
    (tmp_path / "out.jsonl").symlink_to(secret)
    export_rows(ROWS, tmp_path / "out.jsonl", form="messages")
    assert secret.read_text() == "kept" and not (tmp_path / "out.jsonl").is_symlink()
