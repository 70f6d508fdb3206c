"""Trials by the hundred: a process that has everything imported and nothing used forks a child for
each fault and another that looks at what it left.

Polars must not have run before a fork, so the sweep is a process of its own: `Sweeper` talks to it
in lines of JSON.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet  # noqa: F401 (imported once, before the forks)

from curation.disk import Disk
from tests.faults import _graph, _races
from tests.faults._fork import ACKNOWLEDGED, BROKEN, fork, wait
from tests.faults._shim import Fault, FaultyDisk, UnsyncedDisk

ROOT = Path(__file__).parents[2]
REFUSED = 3
AT_ONCE = 2


class Sweeper:
    """The process that runs trials; `run` gives a line for each that left something wrong."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        threads = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults._sweep", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | threads,
        )

    def count(self, scenario: str) -> tuple[int, int]:
        """How many operations of a scenario change something, and how many read."""
        said = self._ask({"scenario": scenario, "faults": []})
        return said["changes"], said["reads"]

    def run(self, scenario: str, faults: Iterable[Fault]) -> tuple[list[str], int]:
        """Try each fault on a copy of what the scenario starts from; what went wrong.

        And how many of those killed at a time died in the middle of their work.
        """
        asked = {"scenario": scenario, "faults": [asdict(fault) for fault in faults]}
        assert asked["faults"], "nothing to try"
        said = self._ask(asked)
        return said["problems"], said["died"]

    def race(self, name: str, times: int) -> tuple[list[str], int]:
        """Run a race so many times; what went wrong, and in how many of them somebody lost."""
        said = self._ask({"race": name, "times": times})
        return said["problems"], said["lost"]

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the sweep died"
        return json.loads(answer)


def serve(folder: Path) -> None:
    """Answer questions until there are none."""
    _graph.cut_small()
    for stage in _graph.stages(_graph.load_recipe(_recipe(folder))):
        stage.code_version  # noqa: B018 (read once here and known to every child)
    for line in sys.stdin:
        asked = json.loads(line)
        if "race" in asked:
            problems, lost = _races.run(folder, **asked)
            print(json.dumps({"problems": problems, "lost": lost}), flush=True)
            continue
        bench = Bench(folder, asked["scenario"])
        problems, died = bench.run([Fault(**fault) for fault in asked["faults"]])
        counted = {"changes": bench.changes, "reads": bench.reads, "died": died}
        print(json.dumps({**counted, "problems": problems}), flush=True)


def _recipe(folder: Path) -> Path:
    _graph.write_sources(folder / "recipe", n=1)
    return folder / "recipe" / "storm.yaml"


class Bench:
    """One scenario: what it starts from and what it comes to, made once and copied for trials."""

    def __init__(self, folder: Path, name: str):
        self.scenario, self.name = _graph.SCENARIOS[name], name
        self.before, self.after = folder / f"{name}-before", folder / f"{name}-after"
        self.trials = folder / "trials"
        said, took = folder / f"{name}.json", folder / f"{name}-seconds.json"
        for path, ask in ((said, self._prepare), (took, self._time)):
            if not path.exists():
                code = wait(fork(lambda p=path, a=ask: p.write_text(json.dumps(a()))))
                assert code == ACKNOWLEDGED, f"{name} fails without any fault"
        self.changes, self.reads, self.old, self.new = json.loads(said.read_text())
        self.seconds = json.loads(took.read_text())

    def run(self, faults: list[Fault]) -> tuple[list[str], int]:
        """Problems of all trials, a few at once, and how many died in the middle at a time."""
        todo, problems, running, died = list(enumerate(faults)), [], {}, 0
        while todo or running:
            while todo and len(running) < AT_ONCE:
                number, fault = todo.pop(0)
                place = self.trials / f"{self.name}-{number}"
                shutil.rmtree(place, ignore_errors=True)  # of a trial that left something wrong
                running[fork(lambda p=place, f=fault: self._try(p, f))] = (place, fault)
            pid, status = os.wait()
            place, fault = running.pop(pid)
            said = place / "problems.json"
            found = json.loads(said.read_text()) if said.exists() else [f"no answer ({status})"]
            problems += [f"{self.name}, {_show(fault)}: {line}" for line in found]
            died += fault.kind == "time" and not (place / "acknowledged").exists()
            if not found:
                shutil.rmtree(place)
        return problems, died

    def _prepare(self) -> tuple[int, int, dict, dict]:
        self.scenario.prepare(self.before)
        shutil.copytree(self.before, self.after)
        disk = FaultyDisk(Fault(), self.after)
        self.scenario.act(self.after, disk)
        damaged = self.name == "repair"
        old = {} if damaged else _graph.observe(self.before)
        return disk.n, disk.reads, old, _graph.observe(self.after)

    def _time(self) -> float:
        """How many seconds the work takes a fresh process on a disk that really syncs."""
        place = self.trials / f"{self.name}-timed"
        shutil.copytree(self.before, place)
        start = time.monotonic()
        self.scenario.act(place, Disk())
        return time.monotonic() - start

    def _try(self, place: Path, fault: Fault) -> None:
        shutil.copytree(self.before, place)
        pid = fork(lambda: self._act(place, fault))
        if fault.kind == "time":
            while not (place / "begun").exists():
                time.sleep(0.001)
            time.sleep(self.seconds * fault.at / 1000)
            os.kill(pid, 9)
        code = wait(pid)
        report = place / "problems.json"
        checked = wait(fork(lambda: report.write_text(json.dumps(self._check(place, fault, code)))))
        if checked != ACKNOWLEDGED:
            report.write_text(json.dumps([f"the check failed ({checked}): {_read(place)}"]))

    def _act(self, place: Path, fault: Fault) -> None:
        """The work, in a child, until the fault ends it or it is done."""
        disk = Disk() if fault.kind == "time" else FaultyDisk(fault, place)
        (place / "begun").touch()
        if fault.kind == "files":
            pl.LazyFrame({"a": [1]}).collect()  # Polars starts its threads, which takes handles
            in_use = len(os.listdir("/proc/self/fd"))
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + fault.at, hard))
        try:
            self.scenario.act(place, disk)
        except OSError:
            if not fault.retry:
                os._exit(REFUSED)
            self.scenario.act(place, disk)
        if fault.kind == "files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        (place / "acknowledged").touch()
        if fault.retry:
            assert isinstance(disk, FaultyDisk)
            disk.cut_power()

    def _check(self, place: Path, fault: Fault, code: int) -> list[str]:
        """What is wrong after a fault, then after the same work without one."""
        if code == BROKEN:
            return [f"an error no user can read: {_read(place)}"]
        both, left = (self.old, self.new), int(fault.may_litter)
        problems = self._compare(place, "after the fault", allowed=both, left_over=left)
        if (place / "acknowledged").exists() and not problems:
            problems = self._compare(place, "what was acknowledged", allowed=(self.new,))
        if not problems:
            _graph.make_old(place)
            self.scenario.act(place, UnsyncedDisk())
            problems = self._compare(place, "after a re-run", allowed=(self.new,))
        if not problems:
            store = _graph.open_store(place, UnsyncedDisk())
            _graph.collect_garbage(store, keep=10)
            problems = _graph.find_problems(place)
            left = [*store.blobs.list("tmp"), *store.blobs.list("leases")]
            problems += [f"{key} is left over" for key in left if "model" not in key]
        return problems

    def _compare(
        self, place: Path, when: str, *, allowed: tuple[dict, ...], left_over: int = 0
    ) -> list[str]:
        """What is not as allowed; of files that an export left over, more than so many."""
        if self.name == "repair" and len(allowed) > 1:
            return []  # it starts from a damaged store
        found = [f"{when}: {line}" for line in _graph.find_problems(place)]
        if found:
            return found
        seen = _graph.observe(place)
        left = [key for key in seen if _graph.is_left_over(key)]
        found += [f"{when}: {key} is left over" for key in left[left_over:]]
        keys = {key for state in (seen, *allowed) for key in state if not key.startswith("data ")}
        keys -= set(left)
        for key in sorted(keys):
            if seen.get(key) not in [state.get(key) for state in allowed]:
                found.append(f"{when}: {key} is neither the old nor the new")
        data = {k: v for state in allowed for k, v in state.items() if k.startswith("data ")}
        return found + [
            f"{when}: {key} has other tables"
            for key in seen
            if key.startswith("data ") and seen[key] != data.get(key)
        ]


def _read(place: Path) -> str:
    return f"see {place}"


def _show(fault: Fault) -> str:
    plain = asdict(Fault())
    return " ".join(f"{k}={v}" for k, v in asdict(fault).items() if v != plain[k])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
