"""A tiny graph built once for all tests that only ask questions of it."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from curation.locks import unlock_writer
from pipelines.cli import main

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny" / "tiny.yaml"


@dataclass(frozen=True)
class Project:
    """A folder with its own store and Dagster history, and the command line to run in it."""

    folder: Path
    recipe: Path = TINY

    @property
    def store(self) -> Path:
        return self.folder / ".winnow"

    def ask(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `winnow` in this process, where nothing is loaded anew: for all but whole runs."""
        out, err = StringIO(), StringIO()
        if absl := sys.modules.get("absl.logging"):
            # It would close the stream of pytest that was stderr when rouge-score loaded it.
            absl.get_absl_handler().python_handler.stream = sys.__stderr__
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name, value in self.ours(**environment).items():
                patch.setenv(name, value)
            try:
                code = main(arguments)
            except SystemExit as stop:  # what argparse ends `--help` with
                code = int(stop.code or 0)
        unlock_writer(self.store)  # as the end of a process does
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def winnow(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `winnow` as a user would; the recipe is named by the environment."""
        return subprocess.run(self.command(*arguments), **self.process(**environment), timeout=300)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `winnow` in a process group of its own."""
        return subprocess.Popen(self.command(*arguments), **self.process(), start_new_session=True)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipelines.cli", *arguments]

    def ours(self, **environment: str) -> dict[str, str]:
        return {"WINNOW_RECIPE": str(self.recipe), "PYTHONPATH": str(ROOT), **environment}

    def process(self, **environment: str) -> dict:
        threads = {"POLARS_MAX_THREADS": str(os.cpu_count())}
        return {
            "cwd": self.folder,
            "env": {**os.environ, **threads, **self.ours(**environment)},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }


def make_project(folder: Path) -> Project:
    """An empty project that keeps its history beside its store."""
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return Project(folder)


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Project:
    """A project whose whole tiny graph was built twice: v1, and v2 after the bad cases of v1."""
    project = make_project(tmp_path_factory.mktemp("built"))
    for run in (project.winnow, project.ask):
        done = run("run")
        assert done.returncode == 0, done.stdout + done.stderr
    return project
