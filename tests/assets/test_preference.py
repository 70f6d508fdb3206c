"""The preference stages: which pairs there are, and a version that was made with them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.graph import describe_steps
from assets.preference import taught_rows
from assets.recipe import RecipeError
from assets.stage import Job
from curation.bad_cases import add_bad_cases
from curation.lineage import check_reproduction, find_users, trace_case, training_pairs
from curation.registry import registered, version_id
from curation.release import require_loadable
from curation.reviews import add_verdicts
from curation.rows import digest
from curation.split import half_of
from curation.text import text_key
from tests.assets._project import HAN, SEEDS, SOURCES, Project, case_of, command, deliver, talk

THINGS = [HAN[i : i + 2] for i in range(0, 40, 2)] + ["the left window", "the rear light"]
CASES = [case_of(command(what)) for what in THINGS]
PREFERENCE: dict[str, Any] = {"min_pairs": 4, "skip_known": False, "epochs": 1}
TRAIN = {"method": "lora", "rank": 4, "epochs": 1}
EVALUATE = {"metrics": ["exact_match"], "few_shot": 0, "max_new_tokens": 8}


def project(folder: Path, base: Path, **sections: Any) -> Project:
    """Seeds, an exam of one row, talk, and bad cases of which one is in the exam, too."""
    said = {"preference": PREFERENCE, "evaluate": EVALUATE, "gate": ["leaks = 0"]}
    sources = {name: SOURCES[name] for name in ("seeds", "general", "exam")}
    train = {"base_model": str(base), **TRAIN}
    made = Project(folder, base, sources=sources, train=train, **said | sections)
    deliver(made, "append", "seeds/a.jsonl", SEEDS)
    deliver(made, "append", "general/a.jsonl", talk(40))
    deliver(made, "append", "exam/a.jsonl", [command("后备箱"), *talk(2, start=90)])
    records = [(str(n), case) for n, case in enumerate(CASES)]
    add_bad_cases(made.store, records, found_by="v0")
    return made


@pytest.fixture(scope="module")
def built(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = project(tmp_path_factory.mktemp("preferred"), tiny_base)
    made.build(last="model_version")
    return made


def test_without_the_section_the_graph_is_as_it_was(tiny_base: Path, tmp_path: Path):
    made = project(tmp_path, tiny_base)
    names = [stage.name for stage in made.stages]
    assert [names.count(name) for name in ("preference_pairs", "sft_adapter", "adapter")] == [1] * 3
    del made.said["preference"]
    made.change()
    plain = [stage.name for stage in made.stages]
    assert plain == [n for n in names if n not in ("preference_pairs", "sft_adapter")]


def test_a_method_that_pairs_cannot_teach_is_refused_before_any_work(
    tiny_base: Path, tmp_path: Path
):
    with pytest.raises(RecipeError, match="preference: prefix cannot be trained on by pairs"):
        project(tmp_path, tiny_base).change(train={"base_model": "demo", "method": "prefix"})
    (tmp_path / "other").mkdir()
    with pytest.raises(RecipeError, match="preference.epochs: -1.* is not above 0"):
        project(tmp_path / "other", tiny_base, preference={"epochs": -1})


def test_what_is_held_in_the_exam_or_rejected_is_no_pair(tiny_base: Path, tmp_path: Path):
    made = project(tmp_path, tiny_base)
    made.build(last="preference_pairs")
    before = made.head("preference_pairs")
    cases = made.head("bad_cases").table("rows")
    halves = dict(cases.select("id", "half").iter_rows())
    assert {halves[i] for i in before.table("rows")["of"]} == {"learn"}
    first, second, *_ = before.table("rows")["row_id"]
    add_verdicts(made.store, [("1", {"id": first, "verdict": "reject", "by": "one"})])
    prompt = before.table("rows").row(1, named=True)["prompt"]
    deliver(made, "append", "exam/b.jsonl", [command(prompt.removeprefix("请打开"))])
    made.build(last="preference_pairs")
    after = made.head("preference_pairs")
    left = {*after.table("left")["reason"]}
    assert left == {"rejected", "leak_exact"} and not {first, second} & {
        *after.table("rows")["row_id"]
    }
    assert after.values["fates"]["bad_case"] == before.values["fates"]["bad_case"] - 2
    assert after.checks["conservation"][0]


def test_the_tasks_own_mistakes_are_pairs_where_the_recipe_says_so(tiny_base: Path, tmp_path: Path):
    made = project(tmp_path, tiny_base, preference={"corrupt": True})
    made.build(last="preference_pairs")
    pairs = made.head("preference_pairs").table("rows")
    corrupted = pairs.filter(pl.col("kind") == "corrupted")
    rows = made.head("training_set").table("rows")
    seeds = rows.filter((pl.col("origin") == "import") & (pl.col("track") == "domain"))
    assert corrupted.height >= seeds.height == len(SEEDS)
    assert {*corrupted["of"]} == {*seeds["id"]}


def test_the_version_is_of_the_preferred_adapter_and_knows_its_pairs(built: Project):
    adapter, sft = built.head("adapter"), built.head("sft_adapter")
    assert adapter.values["trained"] and adapter.data_version != sft.data_version
    (version,) = registered(built.store, "delta")
    assert version.values["adapter"] == adapter.key and version.values["id"] == version_id(adapter)
    assert built.head("predictions").input("adapter").key == adapter.key
    pairs = training_pairs(built.store, "delta", "v1")
    assert pairs.height == adapter.values["n_pairs"] == version.values["lineage"]["pairs"] > 4
    assert f"preferred on {pairs.height} pairs" in version.values["card"]
    examined = taught_rows(adapter, task=built.recipe.task)
    assert {*examined["id"]} == {*pairs["row_id"]} and version.values["verdict"]["rules"][0][1]
    assert (version.folder("version") / "pairs.parquet").is_file()
    require_loadable(version)


def test_lineage_finds_a_case_by_its_pair(built: Project):
    case = training_pairs(built.store, "delta", "v1").row(0, named=True)
    said: Any = trace_case(built.store, "delta", case["of"])
    assert said["versions"][0]["pairs"] == 1 and said["state"].endswith("in v1")
    (used,) = find_users(built.store, "delta", case["prompt"])["versions"]
    assert used["pairs"] == 1
    steps = describe_steps(Job(built.recipe, built.store))
    told = check_reproduction(built.store, "delta", "v1", present=steps)
    assert told["ok"] and {"sft_adapter", "preference_pairs"} <= steps.keys()


def test_cases_that_are_no_pairs_train_nothing(built: Project):
    asked = [case_of(one) for one in talk(9, start=500)]
    held = [case for case in asked if half_of(digest(text_key(case["prompt"]))) == "hold"]
    add_bad_cases(built.store, [(str(n), case) for n, case in enumerate(held)], found_by="v1")
    recalled = built.build(last="adapter").recalled
    assert held and not recalled["preference_pairs"] and recalled["adapter"]
