"""Several processes at one store at once, each doing real work; who loses is told, nothing else."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.stage import ChangedMeanwhile
from curation.accounts import prove_chain
from curation.bad_cases import add_bad_cases, read_inbox
from curation.sources._base import SourceChanged
from curation.store import Conflict, Made, Store
from curation.upkeep import collect_garbage
from tests.faults import _graph
from tests.faults._fork import ACKNOWLEDGED, fork, wait
from tests.faults._shim import UnsyncedDisk

Worker = Callable[[Path], object]


@dataclass(frozen=True)
class Race:
    """What is there before, who runs, and what must hold afterwards (lines for what does not).

    The check sees what the workers returned, in their order. `lost` tells from it whether somebody
    came second, in a race in which that can happen.
    """

    prepare: Callable[[Path], None]
    workers: tuple[Worker, ...]
    check: Callable[[Path, list], list[str]]
    lost: Callable[[list], bool] | None = None


TIMES = {"rebuilds beside a collector": 5, "deliveries beside a rebuild and a collector": 5}
"""How often a race is run in the long form, where not twenty times."""


def run(folder: Path, race: str, times: int) -> tuple[list[str], int]:
    """Problems of so many runs of a race, and in how many somebody lost."""
    base = folder / f"race-{race.replace(' ', '-')}"
    chosen, problems, losses = RACES[race], [], 0
    assert wait(fork(lambda: chosen.prepare(base))) == ACKNOWLEDGED
    for number in range(times):
        place = folder / "races" / f"{base.name}-{number}"
        shutil.copytree(base, place)
        found, lost = _run_once(chosen, place)
        problems += [f"{race} {number}: {line}" for line in found]
        losses += lost
    return problems, losses


def _run_once(race: Race, place: Path) -> tuple[list[str], bool]:
    gate, start = os.pipe()
    pids = [
        fork(lambda w=worker, i=i: _work(w, place, i, gate, start))
        for i, worker in enumerate(race.workers)
    ]
    os.close(start)  # all wait for the end of this pipe, and so start together
    codes = [wait(pid) for pid in pids]
    os.close(gate)
    if any(codes):
        return [f"workers ended with {codes}, see above and {place}"], False
    said = [json.loads((place / f"worker-{i}").read_text()) for i in range(len(pids))]
    report = place / "problems.json"
    code = wait(fork(lambda: report.write_text(json.dumps(_check(race, place, said)))))
    found = json.loads(report.read_text()) if code == ACKNOWLEDGED else ["the check failed"]
    if not found:
        shutil.rmtree(place)
    return found, bool(race.lost and race.lost(said))


def _work(worker: Worker, place: Path, number: int, gate: int, start: int) -> None:
    os.close(start)
    os.read(gate, 1)
    try:
        (place / f"worker-{number}").write_text(json.dumps(worker(place)))
    finally:
        (place / "done").touch()


def _check(race: Race, place: Path, said: list) -> list[str]:
    return _graph.find_problems(place) + race.check(place, said)


# who runs -----------------------------------------------------------------------------------------


class SlowCommits(UnsyncedDisk):
    """A disk that takes its time for a ref, as one far away does: two writers meet there."""

    def link(self, path: Path, to: Path) -> None:
        if "refs" in to.parts:
            time.sleep(0.02)
        super().link(path, to)


def rebuild(place: Path) -> int:
    """Build until no other writer was first; how often one was."""
    for lost in range(20):
        try:
            _graph.build(place, SlowCommits())
        except Conflict:
            continue
        return lost
    raise AssertionError("twenty conflicts one after the other")


def rebuild_all_the_time(place: Path) -> list[int]:
    """Build until another is done; how often, and how often a file or a head changed meanwhile."""
    done, again = 0, 0
    while not (done and (place / "done").exists()):
        try:
            _graph.build(place, UnsyncedDisk())
            done += 1
        except (ChangedMeanwhile, SourceChanged, Conflict):
            again += 1
    return [done, again]


def change_and_ingest(place: Path) -> int:
    """Sources replaced or added to, and each time read in; how often another was first."""
    lost = 0
    for n in (42, 43, 44, 45):
        _graph.add_records(place, n=n) if n % 2 else _graph.replace_sources(place, n=n)
        while True:
            try:
                _graph.build(place, UnsyncedDisk(), steps=3)
                break
            except Conflict:
                lost += 1
    return lost


def rebuild_alone(place: Path) -> str:
    """Build under the writer lock; what was said to the one who came second."""
    store, said = _graph.open_store(place, UnsyncedDisk()), ""
    while True:
        try:
            store.lock_writer()
        except BlockingIOError as error:
            said = str(error)
            time.sleep(0.01)
            continue
        _graph.build(place, UnsyncedDisk())
        store.unlock_writer()
        return said


def publish_one(place: Path) -> bool:
    """Publish a version of one's own; False when another was first."""
    store = _graph.open_store(place, UnsyncedDisk())
    frame = pl.DataFrame({"id": ["a"], "writer": [os.getpid()]})
    version = store.write_version("race/x", Made(tables={"rows": frame}), inputs={}, how={})
    try:
        store.publish(version)
    except Conflict:
        return False
    return True


def grow_and_build(place: Path) -> int:
    for n in (42, 43, 44, 45):
        _graph.write_sources(place, n=n)
        _graph.build(place, UnsyncedDisk())
    return 4


def collect_all_the_time(place: Path) -> int:
    """Collect until another is done; how often."""
    times = 0
    while not (place / "done").exists():
        collect_garbage(_graph.open_store(place, UnsyncedDisk()), keep=1)
        times += 1
        time.sleep(0.01)
    return times


def deliver_twice(place: Path) -> int:
    """The same cases one by one, as other deliverers bring them too; how many were new."""
    store, new = _graph.open_store(place, UnsyncedDisk()), 0
    for case in _graph.cases(10, 12):
        new += len(add_bad_cases(store, [case]).new)
    return new


# what must hold -----------------------------------------------------------------------------------


def _all_built_once(place: Path, said: list) -> list[str]:
    """Every step got exactly one new version, the one an undisturbed run comes to."""
    store = _graph.open_store(place, UnsyncedDisk())
    twice = [n for n in store.names() if len({v.key for v in store.history(n)}) != 2]
    problems = [f"{name} has not exactly one new version" for name in twice]
    problems += [f"{n} has a version twice" for n in store.names() if len(store.refs(n)) != 2]
    return problems + _as_undisturbed(place)


def _as_undisturbed(place: Path) -> list[str]:
    """The same sources built in a store of its own come to the same heads."""
    other = place / "undisturbed"
    other.mkdir()
    for path in place.glob("s*.*"):
        shutil.copy(path, other)
    shutil.copy(place / "more.jsonl", other)
    _graph.build(other, UnsyncedDisk())
    seen, wanted = _graph.observe(place), _graph.observe(other)
    heads = [key for key in wanted if key.startswith(("head", "data"))]
    return [f"{key} is not as undisturbed" for key in heads if seen.get(key) != wanted[key]]


def _one_was_told(place: Path, said: list) -> list[str]:
    told = [line for line in said if line]
    wrong = [line for line in told if "another rebuild is running" not in line]
    return wrong + ([] if told else ["nobody had to wait"]) + _all_built_once(place, said)


def _places_won_once(place: Path, said: list) -> list[str]:
    store = Store(place / "store")
    keys = [version.key for version in store.history("race/x")]
    right = len(keys) == len(set(keys)) == sum(said)
    return [] if right else [f"{sum(said)} won, {len(keys)} versions"]


def _each_case_once(place: Path, said: list) -> list[str]:
    ids = [case["id"] for case in read_inbox(_graph.open_store(place, UnsyncedDisk()))]
    wanted = 3 + 12
    right = len(ids) == len(set(ids)) == wanted
    return [] if right else [f"{len(ids)} bad cases instead of {wanted}"]


def _collected_and_built(place: Path, said: list) -> list[str]:
    return _as_undisturbed(place) + ([] if said[-1] else ["the collector never ran"])


def _as_fresh(place: Path, said: list) -> list[str]:
    """All that was published adds up, and one more build comes to what a fresh one does."""
    store = _graph.open_store(place, UnsyncedDisk())
    versions = [version for name in store.names() for version in store.history(name)]
    links = [link for version in versions for link in prove_chain(version)]
    wrong = [f"{link.step}: {link.line}" for link in links if not link.holds]
    _graph.build(place, UnsyncedDisk())
    return wrong + _as_undisturbed(place) + _graph.find_problems(place)


RACES = {
    "two rebuilds": Race(
        _graph.SCENARIOS["grow"].prepare, (rebuild,) * 2, _all_built_once, lost=any
    ),
    "two rebuilds with the lock": Race(
        _graph.SCENARIOS["grow"].prepare, (rebuild_alone,) * 2, _one_was_told, lost=any
    ),
    "a rebuild beside ingest": Race(
        _graph.SCENARIOS["grow"].prepare,
        (rebuild_all_the_time, change_and_ingest),
        _as_fresh,
        lost=lambda said: bool(said[0][1] or said[1]),
    ),
    "three writers of one name": Race(
        lambda place: _graph.write_sources(place, n=3),
        (publish_one,) * 3,
        _places_won_once,
        lost=lambda said: not all(said),
    ),
    "rebuilds beside a collector": Race(
        _graph.SCENARIOS["grow"].prepare,
        (grow_and_build, collect_all_the_time),
        _collected_and_built,
    ),
    "deliveries beside a rebuild and a collector": Race(
        _graph.SCENARIOS["grow"].prepare,
        (deliver_twice, deliver_twice, rebuild, collect_all_the_time),
        lambda place, said: _each_case_once(place, said) + _as_undisturbed(place),
    ),
}
