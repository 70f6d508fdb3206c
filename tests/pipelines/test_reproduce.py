"""What `winnow lineage reproduce` writes and says to type really makes the version again."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from assets.graph import build_stages
from assets.recipe import load_recipe
from assets.stage import Job, run_stage
from curation.bad_cases import add_bad_cases
from curation.once import REASON
from curation.registry import find_version
from curation.reviews import add_verdicts
from curation.store import Store
from tests.pipelines.conftest import ROOT, TINY, Project, make_project

CASES = [
    {"prompt": "把后排空调关了", "gold": '{"actions":[["关闭","后排空调"]]}', "predicted": "好的"},
    {"prompt": "导航去机场", "gold": '{"actions":[["导航","机场"]]}', "predicted": "{}"},
]
MORE = [
    {"prompt": f"请打开{what}", "answer": f'{{"actions":[{{"do":"打开","what":"{what}"}}]}}'}
    for what in ("香氛", "除雾", "the fan")
]

ASKED = {"use": "jsonl", "path": "asked.jsonl", "track": "domain", "split": "test"}


@pytest.fixture
def learned(tmp_path_factory) -> Project:
    """v1, and v2 after bad cases, whose judges were frozen when v1 was made.

    A row was in the exam of v1 alone, and is delivered for training afterwards.
    """
    folder = tmp_path_factory.mktemp("learned")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(judged(), allow_unicode=True))
    for path in (ROOT / "pipelines" / "recipes" / "in_car", TINY.parent):
        for file in [*path.glob("*.jsonl"), *path.glob("*.yaml")]:
            shutil.copy(file, folder)
    project = Project(make_project(folder).folder, folder / "recipe.yaml")
    store = Store(project.store)
    for cases, asked in (([], MORE), (CASES, MORE[1:])):
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in asked]
        (folder / "asked.jsonl").write_text("".join(lines), encoding="utf-8")
        recipe = load_recipe(project.recipe)
        with (folder / "seeds.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(more, ensure_ascii=False) + "\n" for more in cases and MORE)
        add_bad_cases(store, [(str(i), case) for i, case in enumerate(cases)])
        if head := store.head("tiny/unique_rows"):
            seed = head.table("rows").filter(source="seeds")["id"][0]
            add_verdicts(store, [("1", {"id": seed, "verdict": "reject", "by": "审阅乙"})])
        for stage in build_stages(recipe):
            run_stage(Job(recipe, store), stage)
    return project


def judged() -> dict:
    """The tiny recipe with scorers that learn from the first run's rows."""
    said = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    for source in said["sources"].values():
        if source["use"] == "grammar":
            source["path"] = Path(source["path"]).name
    said["sources"] = {"asked": ASKED, **said["sources"]}
    said["scorers"] |= {"perplexity": {}, "reward": {}}
    said["keep"] += ["perplexity < 300 or track = 'domain'"]
    return said | {"reward_model": {"epochs": 1}}


def test_the_commands_make_the_same_version_again(learned, tmp_path):
    done = learned.ask("lineage", "reproduce", "v2", "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for file in [*learned.folder.glob("*.jsonl"), *learned.folder.glob("*.yaml")]:
        if file.name != "recipe.yaml":
            shutil.copy(file, tmp_path)
    make_project(tmp_path)
    plan = json.loads((tmp_path / "reproduce.json").read_text(encoding="utf-8"))
    for line in plan["commands"]:
        done = Project(tmp_path).winnow(*shlex.split(line)[1:])
        assert done.returncode == 0, line + done.stdout + done.stderr
    assert "made again" in done.stdout
    again = Store(tmp_path / "again").head("tiny/duplicates")
    assert again and again.values["fates"]["dropped: rejected"] == 1
    # v1 was made of other rows, so its judges could not be made of these.
    first, second = (find_version(Store(learned.store), "tiny", v).upstream() for v in ("v1", "v2"))
    assert second["rows"].data_version != first["rows"].data_version
    gone = second["split_rows"].table("fates").filter(reason=REASON)
    assert {*gone["source"]} == {"seeds", "rules"}  # the row, and what was made from it
    for name in ("reference", "reward_model", "base_model"):
        assert second[name].data_version == first[name].data_version
    again, was = Store(tmp_path / "again"), Store(learned.store)
    version, like = find_version(again, "tiny", "v1"), find_version(was, "tiny", "v2")
    assert version.input("adapter").data_version == like.input("adapter").data_version
    metrics = [v.input("evaluation").values["metrics"]["candidate"] for v in (version, like)]
    assert metrics[0] == metrics[1]
