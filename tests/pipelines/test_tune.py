"""`winnow tune` on a training set in a store: what it prints, and what it keeps."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from assets.recipe import load_recipe
from assets.train import train_options, training_rows
from curation.store import Made, Store, Version
from pipelines.cli import main
from pipelines.cli_tune import say_search
from tests.conftest import copy_rows
from tests.pipelines.conftest import TINY
from training.sft import train_sft

HOW = {"code": "c", "section": None}


@pytest.fixture
def store(tiny_base: Path, tmp_path: Path) -> Store:
    """A store as a build leaves it before training."""
    found = Store(tmp_path / "store")

    def step(name: str, made: Made, **inputs):
        version = found.write_version(f"tiny/{name}", made, inputs=inputs, how=HOW)
        found.publish(version)
        return version

    rows = copy_rows(48, seed=1, track="domain").unique("id").sort("id")
    clusters = rows.select("id", cluster="id")
    split = step("split_rows", Made(tables={"clusters": clusters}))
    rows = rows.with_columns(repeats=pl.lit(1, pl.Int64))
    step("training_set", Made(tables={"rows": rows}), split_rows=split)
    step("base_model", Made(folders={"model": tiny_base}))
    return found


def test_tune_prints_the_line_for_the_recipe_and_keeps_the_search(store: Store, capsys):
    words = ["tune", "--trials", "1", "--sampler", "grid", "--param", "lr=0.0005", "--json"]
    assert main([*words, "--recipe", str(TINY), "--store", str(store.root)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [trial["params"]["lr"] for trial in found["trials"]] == [0.004, 0.0005]
    said = yaml.safe_load(TINY.read_text())["train"]
    assert found["train"] == said | found["params"] | {"validate": 0.25}
    lines = [*say_search(found)]
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "advised"], ["1", "done"]]
    line = next((one for one in lines if one.startswith("recipe")), "recipe {train: {}}")
    assert yaml.safe_load(line.removeprefix("recipe"))["train"] in ({}, found["train"])
    assert bool(found["best"]) == line.endswith(f"validate: {found['validate']}}}")
    kept = store.head("tiny/search")
    assert kept is not None
    assert kept.input("training_set").key == store.head("tiny/training_set").key  # type: ignore[union-attr]
    assert kept.table("trials")["loss"].to_list() == [trial["loss"] for trial in found["trials"]]
    assert kept.values["best"] == found["best"]
    trial = store.head("tiny/search/trial_1")
    assert trial is not None and kept.input("search/trial_1").key == trial.key
    assert trial.values["loss"] == found["trials"][1]["loss"]
    assert main(["store", "check", "--recipe", str(TINY), "--store", str(store.root)]) == 0


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        (["--param", "学习率=1,2"], "'学习率' cannot be searched"),
        (["--sampler", "grid"], "a grid needs to know of what"),
        (["--trials", "0"], "a search needs at least one trial, not 0"),
    ],
)
def test_a_mistake_is_one_line(store: Store, capsys, words: list[str], trouble: str):
    assert main(["tune", *words, "--recipe", str(TINY), "--store", str(store.root)]) == 2
    error = capsys.readouterr().err
    assert trouble in error and len(error.splitlines()) == 1
    assert not [*(store.root / "tmp").glob("tune-*")]


def test_the_adapter_to_start_from_is_that_of_a_version(store: Store, tmp_path: Path):
    base = store.head("tiny/base_model")
    other = store.write_version("tiny/base_model", Made(values={"model": "x"}), inputs={}, how=HOW)
    assert base is not None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    adapter = store.write_version(
        "tiny/adapter", Made(folders={"adapter": tmp_path / "a"}), inputs={}, how=HOW
    )
    values = {"number": 3, "id": "0" * 32, "adapter": adapter.key, "base_model": base.key}
    store.publish(
        store.write_version("tiny/model_version", Made(values=values), inputs={}, how=HOW)
    )
    recipe = load_recipe(TINY)

    def options(start: str, base_model: Version = base):
        train = {**recipe.options["train"], "start": start}
        said = replace(recipe, options={**recipe.options, "train": train})
        return train_options(said, store, base_model)

    found, started = options("v3")
    assert (Path(found["start"]) / "adapter_config.json").is_file()
    assert started == {"started_from": adapter.data_version}
    assert "start" not in train_options(recipe, store, base)[0]
    with pytest.raises(LookupError, match="there is no model version 'v9'"):
        options("v9")
    with pytest.raises(ValueError, match="'champion' is another after each build"):
        options("champion")
    with pytest.raises(ValueError, match="v3 was trained on another base model"):
        options("v3", other)


def test_advice_is_what_a_run_then_does(store: Store, tmp_path: Path, capsys):
    place = ["--recipe", str(TINY), "--store", str(store.root)]
    assert main(["advise", "--json", *place]) == 0
    advice = json.loads(capsys.readouterr().out)
    recipe, base = load_recipe(TINY), store.head("tiny/base_model")
    training_set = store.head("tiny/training_set")
    assert base and training_set
    train, _ = train_options(recipe, store, base)
    told = train_sft(
        training_rows(training_set), base_model=base.folder("model"), out=tmp_path / "run", **train
    )
    names = ("options", "reasons", "estimate", "n_rows")
    assert {name: advice[name] for name in names} == {name: told[name] for name in names}
    assert main(["advise", "--profile", "hopper", *place]) == 0
    printed = capsys.readouterr().out
    assert "NVIDIA's data sheet" in printed and "GB" in printed.splitlines()[-1]
