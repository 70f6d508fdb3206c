"""Several at one store, left-overs of the dead, wrong clocks and things delivered twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from curation.bad_cases import add_bad_cases, read_inbox
from curation.lineage import find_champion_at
from curation.seals import seal
from curation.store import Made
from curation.upkeep import collect_garbage
from tests.faults._graph import (
    SCENARIOS,
    build,
    cases,
    find_problems,
    observe,
    open_store,
    publish_model,
    write_sources,
)
from tests.faults._plan import try_race
from tests.faults._races import RACES
from tests.faults._shim import UnsyncedDisk
from tests.faults._sweep import ROOT, Sweeper

TIMES = {"three writers of one name": 10, "two rebuilds": 3, "two rebuilds with the lock": 3}
"""Where not twice. In the long form, `python -m tests.faults.storm`, it is 20 of each of them."""
YEAR_S = 365 * 86_400


@pytest.fixture(scope="module")
def sweeper(tmp_path_factory):
    sweeper = Sweeper(tmp_path_factory.mktemp("races"))
    yield sweeper
    sweeper.close()


@pytest.mark.parametrize("race", RACES)
def test_in_a_race_one_wins_and_nothing_is_lost(sweeper, race, capsys):
    problems, line = try_race(sweeper, race, TIMES.get(race, 2))
    with capsys.disabled():
        print("", line, sep="\n")
    assert not problems, "\n".join(problems)


KILLED = """
import os, signal, sys
import polars as pl
from curation.store import Made, Store
store = Store(sys.argv[1])
store.lock_writer()
made = Made(tables={"rows": pl.DataFrame({"id": ["a"]})})
store.write_version("dead/x", made, inputs={}, how={})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lock_and_lease_of_a_killed_build_hold_nobody_up(tmp_path):
    SCENARIOS["build"].prepare(tmp_path)
    where = [sys.executable, "-c", KILLED, str(tmp_path / "store")]
    died = subprocess.run(where, check=False, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "store/leases").iterdir())) == 1
    store = open_store(tmp_path, UnsyncedDisk())
    store.lock_writer()
    found = collect_garbage(store)
    store.unlock_writer()
    assert found.objects == 2  # its table and its manifest
    assert not list((tmp_path / "store/leases").iterdir()) and find_problems(tmp_path) == []


@pytest.mark.parametrize("shift", [YEAR_S, -YEAR_S])
def test_nothing_depends_on_the_clock(tmp_path, shift):
    """All files, then all refs, tell a time a year off; the same work comes to the same."""
    plain, skewed = tmp_path / "plain", tmp_path / "skewed"
    SCENARIOS["collect"].prepare(plain)
    shutil.copytree(plain, skewed)
    then = time.time() + shift
    for ref in [p for p in (skewed / "store/refs").rglob("*.json") if "00000002" in p.name]:
        set_time(skewed / "store", ref, then)
    for path in skewed.rglob("*"):
        os.utime(path, (then, then))
    for world in (plain, skewed):
        build(world, UnsyncedDisk())
        collect_garbage(open_store(world, UnsyncedDisk()), keep=2)
    assert observe(plain) == observe(skewed) and find_problems(skewed) == []
    kept = [len(list(open_store(w, UnsyncedDisk()).history("storm/kept"))) for w in (plain, skewed)]
    assert kept == [2, 2]
    times = [v.published_at for v in open_store(skewed, UnsyncedDisk()).history("storm/kept")]
    assert times[1] == then


@pytest.mark.parametrize("shift", [YEAR_S, -YEAR_S])
def test_a_build_whose_clock_is_wrong_counts_like_those_before_and_after_it(
    tmp_path, monkeypatch, shift
):
    """The last to publish is the head and the champion; a collector with that clock takes no more
    than another would."""
    plain, skewed = tmp_path / "plain", tmp_path / "skewed"
    right = time.time
    for world in (plain, skewed):
        SCENARIOS["grow"].prepare(world)
        publish_model(world, n=3)
        first = open_store(world, UnsyncedDisk()).head("w/model_version")
        assert first
        open_store(world, UnsyncedDisk()).pin("first", first)
        for number, off in ((2, shift), (3, 0)):
            with monkeypatch.context() as patch:
                if world is skewed:
                    patch.setattr(time, "time", lambda off=off: right() + off)
                write_sources(world, n=42 + number)
                build(world, UnsyncedDisk())
                publish_model(world, n=2 + number)
            said = find_champion_at(open_store(world, UnsyncedDisk()), "w", "now")
            assert (said["version"], said["until"]) == (f"v{number}", "")
    assert observe(plain) == observe(skewed)
    store = open_store(skewed, UnsyncedDisk())
    times = [v.published_at or 0.0 for v in store.history("w/model_version")]
    assert abs(times[1] - times[0] - shift) < 3600 and abs(times[2] - times[0]) < 3600
    half = Made(tables={"rows": pl.DataFrame({"id": ["half"]})})
    at_work = store.write_version("storm/half", half, inputs={}, how={})
    found = []
    for world, off in ((plain, 0), (skewed, shift)):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda off=off: right() + off)
            found.append(collect_garbage(open_store(world, UnsyncedDisk()), keep=1))
    assert found[0].refs == found[1].refs > 0 and observe(plain) == observe(skewed)
    store.publish(at_work)
    assert find_problems(skewed) == []


def set_time(root: Path, ref: Path, at: float) -> None:
    key = ref.relative_to(root).as_posix()
    said = {"manifest": json.loads(ref.read_text())["manifest"], "at": at}
    ref.write_bytes(seal(key, said))


def test_a_delivery_again_adds_nothing(tmp_path):
    store = open_store(tmp_path, UnsyncedDisk())
    first = add_bad_cases(store, cases(0, 4))
    again = add_bad_cases(store, [*cases(0, 4), *cases(3, 2)])
    assert (len(first.new), len(again.new), again.duplicate) == (4, 1, 5)
    assert [case["prompt"] for case in read_inbox(store)] == [f"打开{i}号灯" for i in range(5)]


def test_source_files_delivered_again_add_repeats_and_no_rows(tmp_path):
    SCENARIOS["grow"].prepare(tmp_path)
    build(tmp_path, UnsyncedDisk())
    head = open_store(tmp_path, UnsyncedDisk()).head("storm/kept")
    for name in ("seeds.jsonl", "more.jsonl"):
        path = tmp_path / name
        path.write_text(path.read_text() * 2)
    build(tmp_path, UnsyncedDisk())
    again = open_store(tmp_path, UnsyncedDisk()).head("storm/kept")
    assert head and again and head.data_version == again.data_version
    assert find_problems(tmp_path) == []
