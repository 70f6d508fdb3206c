"""The whole graph: it runs, it recalls, it closes the loop, and it survives being killed."""

import json
import os
import signal

import polars as pl

from curation.promotions import read_promotions
from curation.registry import champion_now
from curation.release import require_loadable
from curation.store import Store
from tests.pipelines.conftest import make_project

STEPS = ("duplicates", "split_rows", "kept_rows", "training_set")


def test_the_second_version_learned_from_the_bad_cases_of_the_first(built):
    model = Store(built.store).head("tiny/model_version")
    assert model is not None and model.values["number"] == 2
    assert model.values["lineage"]["bad_cases_learned"] > 0
    assert model.values["lineage"]["rows_by_origin"]["badcase"] > 0


def test_a_held_bad_case_is_in_no_training_set(built):
    store = Store(built.store)
    cases = store.head("tiny/bad_cases").table("rows")  # type: ignore[union-attr]
    trained = store.head("tiny/training_set").table("rows")  # type: ignore[union-attr]
    held = cases.filter(pl.col("half") == "hold")
    assert held.height and not set(held["row_id"]) & set(trained["id"])


def test_every_step_accounts_for_every_row(built):
    store = Store(built.store)
    for step in STEPS:
        version = store.head(f"tiny/{step}")
        assert version is not None and version.checks["conservation"][0], step


def test_each_planted_defect_has_its_fate(built):
    store = Store(built.store)
    dirt = store.head("tiny/sources/dirt")
    assert dirt is not None
    refused = dirt.table("occurrences").filter(pl.col("outcome") == "quarantined")
    assert refused["position"].to_list() == ["dirt.jsonl:4"]
    reasons = set()
    for step in STEPS:
        fates = store.head(f"tiny/{step}").table("fates")  # type: ignore[union-attr]
        reasons |= set(fates.filter(pl.col("source") == "dirt")["reason"])
    assert {"exact", "not special_tokens", "task_valid"} <= reasons


def test_a_run_without_a_change_computes_nothing(built):
    # The bad cases of v2 are new, so a third version is due; after it, nothing is.
    outcomes = []
    for _ in range(4):
        done = built.ask("run")
        outcomes.append(done.stdout.splitlines()[-2])
        if outcomes[-1].startswith("0 computed"):
            break
    assert outcomes[-1].startswith("0 computed"), outcomes


def test_killed_at_any_stage_a_later_run_ends_in_the_same_state(built, tmp_path):
    project = make_project(tmp_path)
    # The second is the last word before the first step of training.
    for reached in ("base_model …", "estimated memory", "predictions …"):
        with project.start("run") as process:
            assert process.stdout and any(reached in line for line in process.stdout)
            os.killpg(process.pid, signal.SIGKILL)
    done = project.winnow("run")
    assert done.returncode == 0, done.stdout + done.stderr
    undisturbed = list(Store(built.store).history("tiny/training_set"))[-1]
    resumed = list(Store(project.store).history("tiny/training_set"))[-1]
    assert resumed.data_version == undisturbed.data_version
    first, again = (list(Store(p.store).history("tiny/adapter"))[-1] for p in (built, project))
    assert again.data_version == first.data_version


def test_a_failed_check_publishes_nothing_and_exits_with_one(built, tmp_path):
    recipe = tmp_path / "strict.yaml"
    text = built.recipe.read_text().replace("length <= 400", "length <= 20")
    recipe.write_text(text.replace("path: ", f"path: {built.recipe.parent}/"))
    done = built.ask("run", "--select", "kept_rows", WINNOW_RECIPE=str(recipe))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "length <= 20" in line and "at most 30%" in line


def test_one_asset_alone_says_what_it_needs(project):
    done = project.ask("run", "--select", "kept_rows")
    assert done.returncode == 2
    assert "has not been built yet" in done.stderr and "Traceback" not in done.stderr


def test_the_history_is_dagsters_own(built):
    runs = built.folder / ".dagster"
    assert runs.is_dir() and any(runs.rglob("*.db"))


def test_the_version_folder_holds_what_its_checksums_say(built):
    model = Store(built.store).head("tiny/model_version")
    assert model is not None
    folder = model.folder("version")
    names = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert {
        "MODEL_CARD.md",
        "report.html",
        "version.json",
        "rows.parquet",
        "cases.parquet",
    } <= names
    assert any(name.endswith(".safetensors") for name in names)
    assert json.loads((folder / "version.json").read_text())["id"] == model.values["id"]
    require_loadable(model)


def test_what_the_gate_promoted_is_in_use(built):
    store = Store(built.store)
    log = read_promotions(store, "tiny")
    assert [(entry.number, entry.by) for entry in log[:2]] == [(1, "gate"), (2, "gate")]
    used = champion_now(store, "tiny")
    assert used is not None and used.values["id"] == log[-1].id
