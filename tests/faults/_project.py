"""A copy of the project in a short temporary folder, the real `dg dev` on it, its processes.

Everything it starts carries the folder's name in its environment, so each process of it can be
found whatever became of its parents, and all of them can be ended. A trainer takes a lock of the
kernel's when its interpreter starts and loses it when it is dead: `Journal` tells of any two that
ever lived together, however shortly.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
import yaml
from dagster import DagsterInstance, DagsterRun, RunsFilter

from assets.recipe import Recipe, load_recipe
from curation.store import Store
from pipelines.automation import ACTIVE

ROOT = Path(__file__).parents[2]
COPIED = ("assets", "curation", "evaluation", "pipelines", "training", "pyproject.toml")
MARK = "WINNOW_CHAOS"
LIMIT_S = 300.0  # for anything that an idle machine does within seconds
T = TypeVar("T")

# What the shipped definitions are, with a sensor that looks every other second.
DEFINITIONS = """
import dagster as dg
from assets.graph import build_stages
from assets.io import Runtime, build_assets
from assets.recipe import load_recipe
from pipelines.automation import bad_case_sensor, nightly_schedule, rebuild_job
from pipelines.paths import recipe_path, store_path

recipe = load_recipe(recipe_path())
runtime, job = Runtime(recipe, store_path().absolute()), rebuild_job(recipe)
defs = dg.Definitions(
    assets=build_assets(runtime, build_stages(recipe)),
    jobs=[job],
    sensors=[bad_case_sensor(runtime, job, every_s=2)],
    schedules=[nightly_schedule(recipe, job)],
    executor=dg.in_process_executor,
)
"""

# Python runs this when an interpreter starts that finds it on its path; only trainers do anything.
OBSERVER = """
import fcntl, json, os, sys, time
if "training.worker" in sys.orig_argv:
    lock = sys._trainer_lock = open(os.environ["WINNOW_CHAOS"] + "/journal.lock", "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    with open(os.environ["WINNOW_CHAOS"] + "/journal.jsonl", "a") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        line = {"pid": os.getpid(), "at": time.time(), "alone": alone, "of": sys.orig_argv[-2]}
        journal.write(json.dumps(line) + "\\n")
"""

# Waits for the end of its input, which comes when we are gone, and then ends what we started.
GUARD = """
import shutil, sys, psutil
sys.stdin.read()
mark, left = sys.argv[1], True
while left:
    left = False
    for process in psutil.process_iter():
        try:
            if process.environ().get("WINNOW_CHAOS") == mark and process.status() != "zombie":
                process.kill()
                left = True
        except (psutil.Error, OSError):
            pass
shutil.rmtree(mark, ignore_errors=True)
"""


@dataclass
class Site:
    """One project folder, what runs in it, and the ways to look at it."""

    folder: Path
    port: int = 0
    server: subprocess.Popen[bytes] | None = None
    started: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this site runs with; nothing of it lies outside the folder."""
        return os.environ | {
            MARK: str(self.folder),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "DAGSTER_HOME": str(self.folder),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(self.folder / "observer"), str(self.folder)]),
            "TMPDIR": str(self.folder / "t"),
            "WINNOW_RECIPE": str(self.folder / "recipe.yaml"),
            "WINNOW_STORE": str(self.folder / "store"),
        }

    @property
    def store(self) -> Store:
        """The store as a new process would see it, with nothing taken as verified."""
        return Store(self.folder / "store")

    @cached_property
    def recipe(self) -> Recipe:
        return load_recipe(self.folder / "recipe.yaml")

    @property
    def journal(self) -> list[dict[str, Any]]:
        """A line for each trainer that ever started: pid, at, alone, and the folder it is `of`."""
        path = self.folder / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def winnow(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line here to its end."""
        with self.start_winnow(*arguments, **environment) as process:
            out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_winnow(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_server(self) -> None:
        """`dg dev` on a free port, waited for until it has loaded the definitions."""
        self.port, self.started = _free_port(), self.started + 1
        program = [Path(sys.executable).parent / "dg", "dev", "--host", "127.0.0.1"]
        with open(self.folder / "dg.log", "ab") as log:
            self.server = subprocess.Popen(
                [*program, "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for("dg dev has loaded the definitions", self._has_loaded)

    def server_is_gone(self) -> bool:
        """Whether `dg dev` itself has ended."""
        return self.server is None or self.server.poll() is not None

    def switch_sensor_on(self) -> None:
        """Switch the bad-case sensor on as the UI does; Dagster keeps that over restarts."""
        selector = {
            "repositoryLocationName": "winnow",
            "repositoryName": "__repository__",
            "sensorName": "bad_case_sensor",
        }
        mutation = (
            "mutation On($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
        )
        said = self.ask(mutation, s=selector)
        assert said["data"]["startSensor"]["__typename"] == "Sensor", said

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What the webserver answers to a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    @contextmanager
    def history(self) -> Iterator[DagsterInstance]:
        """Dagster's own records."""
        with DagsterInstance.from_config(str(self.folder)) as instance:
            yield instance

    def active_runs(self) -> list[DagsterRun]:
        """Runs that are not at an end."""
        with self.history() as instance:
            return list(instance.get_runs(RunsFilter(statuses=ACTIVE)))

    def processes(self) -> list[psutil.Process]:
        """Every living process that this site started, directly or not."""
        return [p for p in psutil.process_iter() if _mark_of(p) == str(self.folder)]

    def find(self, kind: str) -> list[psutil.Process]:
        """The living processes of one kind of `kind_of`."""
        return [p for p in self.processes() if kind_of(p) == kind]

    def end(self) -> None:
        """Kill everything of this site; returns when nothing of it lives."""
        wait_for("every process is gone", self._kill_all)
        if self.server:
            self.server.wait()

    def _kill_all(self) -> bool:
        left = self.processes()
        for process in left:
            kill(process)
        return not left

    def _has_loaded(self) -> bool:
        if self.server_is_gone():
            raise RuntimeError(f"dg dev did not start:\n{self.log_tail()}")
        try:
            said = self.ask(
                "{ workspaceOrError { ... on Workspace { locationEntries "
                "{ locationOrLoadError { __typename } } } } }"
            )
        except OSError:
            return False
        entries = said["data"]["workspaceOrError"].get("locationEntries", [])
        kinds = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
        return kinds == ["RepositoryLocation"]

    def log_tail(self, lines: int = 40) -> str:
        """The end of what `dg dev` said."""
        text = (self.folder / "dg.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


@contextmanager
def make_site() -> Iterator[Site]:
    """A copy of the project with the tiny recipe made quick; gone at the end with all it started.

    The folder's name is short because sockets lie in it, whose paths have about a hundred letters.
    """
    with TemporaryDirectory(prefix="wc", ignore_cleanup_errors=True) as name:
        site = Site(Path(name))
        _copy_project(site.folder)
        with _guarded(name):
            try:
                yield site
            finally:
                site.end()


def wait_for(what: str, look: Callable[[], T], *, limit_s: float = LIMIT_S) -> T:
    """The first true thing `look` returns; `TimeoutError` says what never came."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.25)
    raise TimeoutError(f"not within {limit_s:.0f} s: {what}")


def kill(process: psutil.Process) -> bool:
    """SIGKILL; whether the process was still there to get it."""
    try:
        process.kill()
        return True
    except psutil.NoSuchProcess:
        return False


def kind_of(process: psutil.Process) -> str:
    """`server`, `daemon`, `worker` (of a run), `trainer`, `watcher` (of a trainer), or `other`."""
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "other"
    line = " ".join(words)
    known = {
        "watcher": "os.killpg(0, signal.SIGKILL)",
        "trainer": "-m training.worker",
        "worker": "multiprocessing.spawn import spawn_main",
        "daemon": "-m dagster._daemon",
        "server": f"{os.sep}dg dev",
    }
    return next((kind for kind, part in known.items() if part in line), "other")


@contextmanager
def _guarded(folder: str) -> Iterator[None]:
    """A process of its own session that cleans up if this one is killed."""
    command = [sys.executable, "-c", GUARD, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield


def _mark_of(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return process.environ().get(MARK, "")
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return ""


def _copy_project(folder: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skip)
        else:
            shutil.copy(source, folder)
    project = folder / "pyproject.toml"
    project.write_text(
        project.read_text().replace('"pipelines.definitions"', '"pipelines.hurried"')
    )
    (folder / "pipelines" / "hurried.py").write_text(DEFINITIONS)
    for name in ("observer", "t"):
        (folder / name).mkdir()
    (folder / "observer" / "sitecustomize.py").write_text(OBSERVER)
    (folder / "dagster.yaml").write_text(_hurried_instance(folder))
    (folder / "recipe.yaml").write_text(_hurried_recipe(), encoding="utf-8")


def _hurried_instance(folder: Path) -> str:
    """dagster.yaml with its history in this folder, and run monitoring each second."""
    said = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    for section in (said["storage"]["sqlite"], said["local_artifact_storage"]["config"]):
        section["base_dir"] = str(folder / ".dagster")
    said["compute_logs"]["config"]["base_dir"] = str(folder / ".dagster" / "logs")
    said["run_monitoring"]["poll_interval_seconds"] = 1
    return yaml.safe_dump(said)


def _hurried_recipe() -> str:
    """The tiny recipe where one bad case starts a rebuild and no rebuild finds bad cases itself.

    Without traffic the inbox grows by deliveries alone, so there is an end to come to.
    """
    tiny = ROOT / "tests" / "tiny"
    recipe = yaml.safe_load((tiny / "tiny.yaml").read_text(encoding="utf-8"))
    del recipe["sources"]["traffic"]
    recipe["sources"]["general"]["rows"] = 60
    for source in recipe["sources"].values():
        source["path"] = str((tiny / source["path"]).resolve())
    recipe["augment"]["per_case"] = 1
    recipe["mix"] = {"general": 1, "domain": 1, "min_share": 0.0}
    recipe["evaluate"]["max_new_tokens"] = 4
    recipe["automation"] = {"min_new": 1}
    return yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
