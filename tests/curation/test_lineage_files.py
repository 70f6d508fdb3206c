"""What leaves the store: the plan of a version, its champion, and folders for other tools."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import yaml

from curation.lineage import (
    check_reproduction,
    find_champion_at,
    plan_reproduction,
    training_rows,
    write_hf_dataset,
    write_llama_factory,
    write_openlineage,
    write_reproduction,
)
from curation.rows import dialogue, row_id
from curation.seals import seal, unseal
from curation.store import Store
from tests.curation.lineage_world import Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
LEARN = case("请把雨刮关了", answer("关闭", "雨刮"))


def plan(seeds=SEEDS, **said):
    return Plan(**{"sources": {"seeds": seeds}, "recipe": {"mix": {"general": 1}}, **said})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    publish(store, plan(cases=[LEARN], labels={"seeds": {"license": "mit"}}))
    return store


def at_present(store):
    """What the steps would say now if nothing had changed."""
    steps = plan_reproduction(store, "w", "v1")["steps"]
    return {n: store.version(s["manifest"]).manifest["how"] for n, s in steps.items()}


def test_the_plan_names_recipe_versions_packages_and_seeds(store):
    said = plan_reproduction(store, "w", "v1")
    assert yaml.safe_load(said["recipe"])["keep"] == ["n_chars <= 400", "not label_conflict"]
    assert {"rows", "adapter", "model_version", "sources/seeds"} <= said["steps"].keys()
    assert said["packages"] == {"polars": "2.1"} and said["seeds"] == {"adapter.seed": 0}
    assert said["commands"][0].startswith("winnow bad-cases add")
    head = store.head("w/training_set")
    assert said["expected"]["training_set"] == head.data_version


def test_what_is_written_can_be_delivered_again(store, tmp_path):
    names = write_reproduction(store, "w", "v1", tmp_path / "out")
    assert names == ["recipe.yaml", "bad_cases.jsonl", "reproduce.json", "again"]
    frozen = ["w/augmented_rows", "w/base_model", "w/reference", "w/topics/near"]
    again = Store(tmp_path / "out" / "again")
    assert again.names() == sorted([*frozen, "w/split_rows"])
    handed, was = (one.head("w/split_rows") for one in (again, store))
    assert handed and [*handed.tables] == ["once"]  # of what was in the exam no text
    assert was and handed.table("once").equals(was.table("once"))
    (line,) = (tmp_path / "out" / "bad_cases.jsonl").read_text().splitlines()
    assert json.loads(line)["prompt"] == LEARN["prompt"]
    assert json.loads((tmp_path / "out" / "reproduce.json").read_text())["version"] == "v1"


def test_a_whole_version_can_be_reproduced(store):
    said = check_reproduction(store, "w", "v1", present=at_present(store))
    assert said["ok"] and said["damaged"] == [] and said["differ"] == {}


def test_a_damaged_and_a_missing_object_are_named(store):
    rows = store.head("w/rows").tables["rows"]["parts"][0][0][0][0]
    gone = store.head("w/training_set").tables["fates"]["parts"][0][0][0][0]
    path = store.root / "objects" / rows
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (store.root / "objects" / gone).unlink()
    said = check_reproduction(Store(store.root), "w", "v1", present=at_present(store))
    assert not said["ok"]
    named = "\n".join(said["damaged"])
    assert "w/rows, table rows" in named and "w/training_set, table fates" in named


def test_other_code_packages_and_files_are_named_by_step(store):
    now = at_present(store)
    now["rows"] = now["rows"] | {"code": "other", "modules": {"curation.ingest": "f"}}
    now["duplicates"] = now["duplicates"] | {"code": "other", "packages": {"polars": "2.2"}}
    now["sources/seeds"] = now["sources/seeds"] | {"reads": "other"}
    del now["adapter"]
    said = check_reproduction(store, "w", "v1", present=now)["differ"]
    assert said == {
        "rows": "modules: curation.ingest",
        "duplicates": "packages: polars 2.1 is now 2.2",
        "sources/seeds": "the files it reads",
        "adapter": "the recipe at hand has no such step",
    }


def backdate(store, hours):
    """Give each ref of the model version the age in hours that stands at its place."""
    refs = sorted((store.root / "refs" / "w" / "model_version").glob("*.json"))
    for ref, age in zip(refs, hours, strict=True):
        key = ref.relative_to(store.root).as_posix()
        said = unseal(key, ref.read_bytes())
        ref.write_bytes(seal(key, {**said, "at": NOW - age * 3600}))


NOW = 1_800_000_000.0


def champion(store, when):
    return find_champion_at(store, "w", when, now=NOW)["version"]


def test_the_champion_of_a_time_is_the_last_promoted_by_then(tmp_path):
    store = Store(tmp_path)
    publish(store, plan())
    publish(store, plan(SEEDS[1:]))
    publish(store, plan(SEEDS[2:], promoted=False))
    backdate(store, [72, 48, 24])
    assert [champion(store, w) for w in ("100h", "60h", "3d", "36h", "1h", "now")] == [
        "", "v1", "v1", "v2", "v2", "v2",
    ]  # fmt: skip
    iso = datetime.fromtimestamp(NOW - 60 * 3600, UTC).isoformat()
    said = find_champion_at(store, "w", iso)
    assert said["version"] == "v1" and said["since"] and said["until"] > said["since"]
    with pytest.raises(ValueError, match="'soon' is no time"):
        champion(store, "soon")


def test_a_rollback_makes_the_older_version_champion_again(tmp_path):
    store = Store(tmp_path)
    first = publish(store, plan())
    publish(store, plan(SEEDS[1:]))
    store.publish(first)
    backdate(store, [72, 48, 24])
    assert [champion(store, w) for w in ("60h", "36h", "1h")] == ["v1", "v2", "v1"]


def test_without_a_version_there_is_no_champion(tmp_path):
    said = find_champion_at(Store(tmp_path), "w", "now")
    assert said["version"] == "" and said["known"] == []


def test_openlineage_describes_every_step_once_and_upstream_first(store, tmp_path):
    n = write_openlineage(store, "w", "v1", tmp_path / "events.ndjson")
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert len(events) == n and n % 2 == 0
    produced: set[str] = set()
    for start, complete in zip(events[::2], events[1::2], strict=True):
        assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
        assert start["run"] == complete["run"] and UUID(start["run"]["runId"])
        assert {d["name"] for d in complete["inputs"]} <= produced
        produced |= {d["name"] for d in complete["outputs"]}
    assert {"sources/seeds", "rows", "training_set", "model_version"} <= produced


def test_openlineage_events_have_what_the_standard_requires(store, tmp_path):
    write_openlineage(store, "w", "v1", tmp_path / "events.ndjson")
    for line in (tmp_path / "events.ndjson").read_text().splitlines():
        event = json.loads(line)
        assert event.keys() >= {"eventTime", "producer", "schemaURL", "run", "job"}
        assert datetime.fromisoformat(event["eventTime"]).tzinfo
        assert event["job"].keys() >= {"namespace", "name"}
        for dataset in (*event["inputs"], *event["outputs"]):
            assert dataset.keys() >= {"namespace", "name", "facets"}
            assert {"schema", "dataSource", "version"} <= dataset["facets"].keys()
            parts = [
                dataset["facets"],
                dataset.get("inputFacets", {}),
                dataset.get("outputFacets", {}),
            ]
            for facet in (f for part in parts for f in part.values()):
                assert facet["_producer"].startswith("https://")
                assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")


def test_exporting_twice_describes_the_same_runs(store, tmp_path):
    for name in ("a", "b"):
        write_openlineage(store, "w", "v1", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_dataset_folder_is_read_by_datasets_as_it_is(store, tmp_path):
    import datasets

    said = write_hf_dataset(store, "w", "v1", tmp_path / "hf")
    found = datasets.load_dataset(
        str(tmp_path / "hf"), cache_dir=str(tmp_path / "cache"), keep_in_memory=True
    )["train"]
    assert found.num_rows == said["rows"] == 8
    assert {f.dtype for n, f in found.features.items() if n == "id"} == {"string"}
    rows: list[Any] = list(found)
    (row,) = [r for r in rows if r["id"] == row_id(dialogue(*SEEDS[0]))]
    assert [m["content"] for m in row["messages"]] == list(SEEDS[0])
    _, header, text = (tmp_path / "hf" / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(header)
    assert card["language"] == ["zh"] and card["size_categories"] == ["n<1K"]
    assert card["license"] == "other" and "`general`: licence not stated" in text


def test_one_stated_licence_is_the_licence_of_the_folder(store, tmp_path):
    labels = {"seeds": {"license": "MIT"}}
    publish(store, plan(recipe={"mix": {"general": 0}}, labels=labels))
    write_hf_dataset(store, "w", "v2", tmp_path / "hf")
    header = (tmp_path / "hf" / "README.md").read_text().split("---\n", 2)[1]
    assert yaml.safe_load(header)["license"] == "mit"


def test_a_llama_factory_folder_names_its_file_and_repeats_rows(store, tmp_path):
    said = write_llama_factory(store, "w", "v1", tmp_path / "lf")
    (info,) = json.loads((tmp_path / "lf" / "dataset_info.json").read_text()).values()
    records = json.loads((tmp_path / "lf" / info["file_name"]).read_text())
    trained = training_rows(store, "w", "v1")
    assert len(records) == said["rows"] == int(trained["repeats"].sum())
    for record in records:
        assert record.keys() == {"conversations", "system", "tools"}
        assert [t["from"] for t in record["conversations"]] == ["human", "gpt"]
        assert all(isinstance(t["value"], str) for t in record["conversations"])
    assert info["columns"]["messages"] == "conversations" and info["formatting"] == "sharegpt"


def test_a_condition_limits_what_is_exported(store, tmp_path):
    assert write_hf_dataset(store, "w", "v1", tmp_path / "a", where="track = 'domain'")["rows"] == 4
    with pytest.raises(ValueError, match="nothing was written"):
        write_llama_factory(store, "w", "v1", tmp_path / "b", where="id = ''")
    assert not (tmp_path / "b").exists()
