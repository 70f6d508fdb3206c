"""A bad case that is delivered leads to a new model version, with the sensor on and no hand.

What runs is what `make ui` runs but for the web page: Dagster's daemon, our sensor, our launcher.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from assets.recipe import load_recipe
from curation.rows import canonical_json
from curation.store import Store, Version
from pipelines.automation import find_waiting
from tests.pipelines._serving import serving
from tests.pipelines.conftest import TINY, Project

SENSOR = "bad_case_sensor"
CODE = ("-m", "pipelines.definitions")
WAIT_S = 420


def case(prompt: str, do: str, what: str) -> dict[str, str]:
    gold = canonical_json({"actions": [{"do": do, "what": what}]})
    return {"prompt": prompt, "gold": gold, "predicted": "{}"}


LEARNED = case("turn the ambient light off now", "关闭", "ambient light")
REFUSED = case("把副驾那边的阅读灯关了", "关闭", "副驾阅读灯")  # a gold that the prompt has not
HELD = case("麻烦把后排香氛关一下", "关闭", "后排香氛")


def deliver(project: Project, cases: list[dict[str, str]]) -> None:
    """As a product delivers what its users complain about: over HTTP."""
    with serving(project.store, "--found-by", "beta") as server:
        status, said = server.post(cases)
    assert status == 200 and said["new"] == len(cases), said


@pytest.fixture
def project(built, tmp_path) -> Project:
    """A copy of what was built, whose sensor wants two bad cases."""
    folder = tmp_path / "project"
    shutil.copytree(built.folder, folder)
    text = TINY.read_text(encoding="utf-8").replace("path: ", f"path: {TINY.parent}/")
    recipe = folder / "tiny.yaml"
    recipe.write_text(text + "\nautomation: {min_new: 2}\n", encoding="utf-8")
    return Project(folder, recipe)


def test_a_delivered_bad_case_leads_to_a_version_that_says_what_became_of_it(project, monkeypatch):
    before = newest(project).values["number"]
    assert start(project, "dagster", "sensor", "start", SENSOR).wait(120) == 0
    deliver(project, [LEARNED, REFUSED, HELD])  # else the sensor's next look is a minute later
    with daemon(project):
        monkeypatch.chdir(project.folder)
        run = wait_for_run(project)
    assert run.status is dg.DagsterRunStatus.SUCCESS, said_by_dagster(project)
    assert run.tags["winnow/reason"].endswith("bad cases wait, and a rebuild starts at 2")
    version = f"v{before + 1}"
    assert newest(project).values["number"] == before + 1
    learned, refused, held = (trace(project, c["prompt"]) for c in (LEARNED, REFUSED, HELD))

    made, own = (learned["versions"][-1][name] for name in ("rows", "answer"))
    assert [row["verdict"] for row in made] == ["trained on"]
    assert own and own["split"] == "badcase" and learned["versions"][-1]["version"] == version
    state, why = ("fixed in", "right") if own["exact"] else ("trained on in", "wrong")
    assert learned["state"] == f"{state} {version}" and f"answers it {why}" in learned["why"]
    assert refused["state"] == "open" and "its correction was refused: ungrounded" in refused["why"]
    assert held["half"] == "hold" and "nothing is learned from this half" in held["why"]
    assert all(said["versions"][-1]["answer"] for said in (refused, held))

    counted = newest(project).input("evaluation").values["bad_cases"]["halves"]
    assert all(half["asked"] == half["n"] > 0 for half in counted.values())
    waiting = find_waiting(Store(project.store), load_recipe(project.recipe))
    assert not {one.id for one in waiting} & {said["id"] for said in (learned, refused, held)}


def wait_for_run(project: Project) -> dg.DagsterRun:
    """The run that the sensor asked for, once it has ended."""
    wanted = dg.RunsFilter(tags={"dagster/sensor_name": SENSOR})
    end = time.monotonic() + WAIT_S
    with dg.DagsterInstance.from_config(str(project.folder)) as history:
        while time.monotonic() < end:
            if (runs := history.get_runs(wanted)) and runs[0].is_finished:
                return runs[0]
            time.sleep(1)
    raise AssertionError(said_by_dagster(project))


def said_by_dagster(project: Project) -> str:
    return (project.folder / "dagster.log").read_text(encoding="utf-8")


def newest(project: Project) -> Version:
    model = Store(project.store).head("tiny/model_version")
    assert model is not None
    return model


def trace(project: Project, prompt: str) -> dict[str, Any]:
    done = project.ask("lineage", "trace", prompt, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start(project: Project, command: str, *words: str) -> subprocess.Popen[str]:
    """A command of Dagster in the project, in a process group of its own, its output in a file."""
    program = str(Path(sys.executable).parent / command)
    options = project.process(DAGSTER_HOME=str(project.folder), DAGSTER_DISABLE_TELEMETRY="yes")
    with open(project.folder / "dagster.log", "ab") as log:
        options |= {"stdout": log, "stderr": subprocess.STDOUT}
        return subprocess.Popen([program, *words, *CODE], **options, start_new_session=True)


@contextmanager
def daemon(project: Project) -> Iterator[None]:
    """Dagster's daemon; the processes that it started end with it."""
    process = start(project, "dagster-daemon", "run")
    try:
        yield
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
