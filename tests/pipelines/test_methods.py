"""`winnow methods` on a built store: each method trained once, judged on the whole exam."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.methods import methods_table
from curation.store import Store
from pipelines.cli import main
from pipelines.cli_methods import say_methods
from tests.pipelines.conftest import TINY, Project


@pytest.fixture(scope="module")
def store(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built store, for what is trained here is no part of the graph."""
    return shutil.copytree(built.store, tmp_path_factory.mktemp("methods") / "store")


def run(store: Path, *words: str, recipe: Path = TINY) -> int:
    return main(["methods", *words, "--recipe", str(recipe), "--store", str(store)])


def test_each_method_is_trained_once_and_held_against_the_first(store: Path, capsys):
    assert run(store, "lora", "prompt", "--json") == 0
    found, said = json.loads((first := capsys.readouterr()).out), first.err
    assert "estimated memory" in said and found["against"] == "lora"
    lora, prompt = found["arms"]["lora"], found["arms"]["prompt"]
    assert lora["n_trained"] > prompt["n_trained"] == 20 * 32
    assert lora["lr"] != prompt["lr"] and lora["epochs"] == prompt["epochs"] == 1
    assert lora["seconds"] > 0 and lora["peak_mb"] > 100
    n_held = Store(store).head("tiny/bad_cases").table("rows")["half"].to_list().count("hold")  # type: ignore[union-attr]
    assert lora["held"]["n"] == prompt["held"]["n"] == n_held > 0
    assert found["arms"]["base"]["metrics"].keys() == lora["metrics"].keys()
    assert lora["metrics"]["general_bpb"] != found["arms"]["base"]["metrics"]["general_bpb"]
    assert "verdict" not in lora and prompt["verdict"] == "unclear"
    text, table = "\n".join(say_methods(found)), methods_table(found)
    assert (
        "against lora, by exact_match" in text and f"| prompt | {prompt['n_trained']:,} |" in table
    )
    assert run(store, "lora", "prompt", "--json") == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == found and "estimated memory" not in again.err
    trained = Store(store).head("tiny/methods/prompt")
    assert trained is not None and set(trained.manifest["inputs"]) == {"training_set", "base_model"}
    assert main(["store", "check", "--recipe", str(TINY), "--store", str(store)]) == 0


def test_a_method_that_cannot_run_says_why_and_an_unknown_one_is_refused(
    store: Path, tmp_path: Path, capsys
):
    said = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    said["train"]["max_tokens"] = 4
    for name in ("seeds", "dirt"):
        said["sources"][name]["path"] = str(TINY.parent / f"{name}.jsonl")
    for name in ("traffic", "test", "general", "general_test"):
        said["sources"][name]["path"] = str(TINY.parent / said["sources"][name]["path"])
    (recipe := tmp_path / "short.yaml").write_text(yaml.safe_dump(said, allow_unicode=True))
    assert run(store, "lora", recipe=recipe) == 0
    assert "cannot run here:\n  lora  no row" in capsys.readouterr().out
    assert run(store, "lroa") == 2
    assert "no method 'lroa' (did you mean 'lora'?)" in capsys.readouterr().err
