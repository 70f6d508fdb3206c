"""Stages: work is done once, again only when something it depends on changed, and guarded."""

from dataclasses import replace

import polars as pl
import pytest

from assets.recipe import load_recipe
from assets.stage import CheckFailed, Job, NotBuilt, Stage, run_stage
from curation.disk import Disk
from curation.seals import seal
from curation.store import Conflict, Made, Store
from tests.assets.test_recipe import TINY

calls: list[str] = []


def numbers(job):
    """Three numbers."""
    calls.append("numbers")
    return Made(tables={"rows": pl.DataFrame({"id": ["a", "b", "c"]})})


def count(job, numbers):
    calls.append("count")
    return Made(values={"n": numbers.table("rows").height, "option": job.options.get("x", 0)})


def refuse(job):
    return Made(checks={"conservation": (False, "3 in, 2 out")})


@pytest.fixture
def job(tmp_path):
    calls.clear()
    return Job(load_recipe(TINY), Store(tmp_path))


FIRST = Stage("numbers", "g", numbers)
SECOND = Stage("count", "g", count, ("numbers",))


def test_unchanged_input_is_recalled_and_not_computed(job):
    for _ in range(2):
        first, second = run_stage(job, FIRST), run_stage(job, SECOND)
    assert calls == ["numbers", "count"]
    assert first.recalled and second.recalled and second.version.values["n"] == 3


def test_another_section_option_or_outside_input_computes_again(job):
    run_stage(job, FIRST)
    run_stage(job, SECOND)
    run_stage(job, replace(SECOND, section={"threshold": 2}))
    run_stage(replace(job, options={"x": 1}), SECOND)
    run_stage(job, replace(SECOND, reads=lambda job: "a file's digest"))
    assert calls.count("count") == 4


def test_a_stage_that_comes_out_equal_does_not_rerun_what_follows(job):
    run_stage(job, FIRST)
    run_stage(job, SECOND)
    assert not run_stage(job, replace(FIRST, section="another way to the same rows")).recalled
    assert run_stage(job, SECOND).recalled


def collect(job, numbers):
    """The numbers of now, and those of the versions before."""
    before = [job.previous.table("seen")] if job.previous else []
    return Made(tables={"seen": pl.concat([*before, numbers.table("rows")]).unique().sort("id")})


def letters(*ids):
    def numbers(job):
        return Made(tables={"rows": pl.DataFrame({"id": ids})})

    return Stage("numbers", "g", numbers, section=ids)


def test_a_version_that_lacks_what_the_head_remembers_is_not_recalled(job):
    stage = Stage("collect", "g", collect, ("numbers",), remembers=("seen",))
    recalled = []
    for ids in ("ab", "ac", "ab", "ab", "ac"):
        run_stage(job, letters(*ids))
        outcome = run_stage(job, stage)
        recalled.append(outcome.recalled)
    assert recalled == [False, False, False, True, True]
    assert outcome.version.table("seen")["id"].to_list() == ["a", "b", "c"]


def test_a_missing_upstream_is_named(job):
    with pytest.raises(NotBuilt, match="'numbers' has not been built yet"):
        run_stage(job, SECOND)


def test_a_guard_that_says_no_publishes_nothing(job):
    with pytest.raises(CheckFailed, match="3 in, 2 out"):
        run_stage(job, Stage("refuse", "g", refuse))
    assert job.store.head("tiny/refuse") is None


def test_a_version_names_the_very_inputs_it_was_made_from(job):
    first, second = run_stage(job, FIRST), run_stage(job, SECOND)
    assert second.version.input("numbers").key == first.version.key


class RivalFirst(Disk):
    """Lets another writer publish a version in the moment before each of the first `times` refs."""

    def __init__(self, rival, times=1):
        super().__init__()
        self.rival, self.left = rival, times

    def link(self, path, to):
        if self.left and to.parent == self.rival.store.root / "refs" / self.rival.name:
            self.left -= 1
            ref = to.relative_to(self.rival.store.root).as_posix()
            to.write_bytes(seal(ref, {"manifest": self.rival.key}))
        super().link(path, to)


def rival_of(store, name="tiny/numbers"):
    """A version that another writer has made of the first stage, not yet published."""
    return store.write_version(name, Made(values={"by": "another"}), inputs={}, how={})


def test_after_a_conflict_the_next_run_recalls_what_was_worked_out(job):
    rival = rival_of(job.store)
    ours = replace(job, store=Store(job.store.root, disk=RivalFirst(rival)))
    with pytest.raises(Conflict, match="tiny/numbers got another version 1 meanwhile"):
        run_stage(ours, FIRST)
    head = job.store.head(rival.name)
    assert head and head.key == rival.key  # what the other published stays
    again = run_stage(ours, FIRST)
    assert again.recalled and calls == ["numbers"]
    assert [v.key for v in job.store.history(rival.name)] == [again.version.key, rival.key]


def test_what_another_published_during_the_work_is_not_followed_by_what_knew_nothing_of_it(job):
    rival, asked = rival_of(job.store), []

    def publish_late():
        asked.append("before the work" if not asked else "after it")
        if asked[-1] == "after it":
            job.store.publish(rival)
        return {}

    with pytest.raises(Conflict, match="tiny/numbers got another version 1 meanwhile"):
        run_stage(job, replace(FIRST, files=publish_late))
    head = job.store.head(rival.name)
    assert head and head.key == rival.key
    assert run_stage(job, FIRST).version.key != rival.key
