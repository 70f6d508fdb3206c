"""A search is the same whether it was killed or not, and its best is what the held rows say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import copy_rows
from training.ranges import grid_points, read_ranges
from training.sft import train_sft
from training.study import Sampler, ask_trial, open_study, read_records, teach_advised, tell_trial
from training.tune import search_options, share_held

ROWS = copy_rows(48, seed=1, track="domain").unique("id", keep="first", maintain_order=True)
TRAIN: dict[str, Any] = {"method": "lora", "epochs": 1, "batch_rows": 4, "max_tokens": 128}
SPACE = ["lr=1e-4:1e-1:log", "rank=2,4,8"]


class Killed(BaseException):
    """What ends a process ends it anywhere."""


def kill_at(start: str, said: list[str]):
    def report(line: str) -> None:
        said.append(line)
        if start and line.startswith(start):
            raise Killed

    return report


def test_a_killed_search_goes_on_as_the_undisturbed_one(tiny_base: Path, tmp_path: Path):
    def search(out: str, start: str = "") -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        found = search_options(
            ROWS, base_model=tiny_base, out=tmp_path / out, trials=2, sampler="random",
            ranges=["lr=1e-4:2e-3:log"], train=TRAIN, report=kill_at(start, said),
        )  # fmt: skip
        return found, said

    whole, _ = search("whole")
    with pytest.raises(Killed):
        search("cut", "trial 2: lr")
    found, said = search("cut")
    assert not [line for line in said if line.startswith(("trial 0", "trial 1"))]
    for trial in (*whole["trials"], *found["trials"]):
        del trial["seconds"]
    assert found == whole and len(whole["trials"]) == 3
    losses = [trial["loss"] for trial in whole["trials"]]
    assert losses[whole["best"]] == min(losses) and len({*losses}) == 3
    assert whole["gain"] == losses[0] - min(losses)
    assert not [*(tmp_path / "cut").glob("run-*")]


def test_a_run_that_goes_on_tells_the_looks_before_it_again(tiny_base: Path, tmp_path: Path):
    first: list[tuple[int, float]] = []
    second: list[tuple[int, float]] = []

    def die(number: int, loss: float) -> None:
        first.append((number, loss))
        if number == 3:
            raise Killed

    options = {**TRAIN, "validate": 0.25}
    with pytest.raises(Killed):
        train_sft(ROWS, base_model=tiny_base, out=tmp_path, on_look=die, **options)
    told = train_sft(
        ROWS, base_model=tiny_base, out=tmp_path,
        on_look=lambda number, loss: second.append((number, loss)), **options,
    )  # fmt: skip
    assert told["resumed_at"] > 0 and second[:3] == first
    assert [number for number, _ in second] == [*range(1, len(second) + 1)]


def test_too_few_rows_to_judge_by_are_said(tiny_base: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="too few are of the domain"):
        search_options(copy_rows(20), base_model=tiny_base, out=tmp_path, train=TRAIN)


def run_study(file: Path, sampler: Sampler, n: int, *, kill: int = -1) -> list[dict[str, Any]]:
    """`n` trials of a loss that is known, of which the process may die in one."""
    space = read_ranges(
        ["rank=2,4,8", "order=shuffled,short_first"] if sampler == "grid" else SPACE
    )
    with open_study(file) as study:
        while (done := len(read_records(study))) < n:
            trial = ask_trial(study, space, sampler, seed=3)
            if done == kill:
                return []
            tell_trial(study, trial, record_of(trial.params))
        return [record["params"] for record in read_records(study)]


def record_of(params: Mapping[str, Any]) -> dict[str, Any]:
    loss = abs(params.get("lr", 0.01) - 0.01) + params["rank"] / 100
    return {"state": "done", "params": dict(params), "loss": loss}


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "evolution"])
def test_every_sampler_proposes_the_same_after_a_kill(sampler: Sampler, tmp_path: Path):
    n = 6 if sampler == "grid" else 9
    whole = run_study(tmp_path / "whole", sampler, n)
    assert run_study(tmp_path / "cut", sampler, n, kill=4) == []
    assert run_study(tmp_path / "cut", sampler, n) == whole
    assert len({str(params) for params in whole}) == n or sampler != "grid"


def test_a_poor_trial_ends_early_and_not_at_its_first_looks(tmp_path: Path):
    space = read_ranges(SPACE)
    advised = {**record_of({"lr": 0.01, "rank": 4}), "looks": {"1": 1.0, "2": 0.8, "3": 0.6}}
    with open_study(tmp_path / "study") as study:
        teach_advised(study, space, advised)
        for _ in range(2):
            trial = ask_trial(study, space, "random", seed=0)
            for look, loss in ((1, 1.0), (2, 0.9), (3, 0.7)):
                trial.report(loss, look)
            tell_trial(study, trial, record_of(trial.params))
        poor = ask_trial(study, space, "random", seed=0)
        fates = []
        for look in (1, 2, 3):
            poor.report(2.0, look)
            fates.append(poor.should_prune())
    assert fates == [False, False, True]


def test_advice_outside_of_the_ranges_is_no_mistake(tmp_path: Path):
    outside = {**record_of({"lr": 0.9, "rank": 64}), "looks": {}}
    with open_study(tmp_path / "study") as study:
        teach_advised(study, read_ranges(SPACE), outside)
        assert not study.trials


def test_about_a_hundred_domain_rows_judge_and_at_most_a_quarter():
    many = pl.concat([copy_rows(4000, seed=s, track="domain") for s in range(2)]).unique("id")
    assert share_held(ROWS, {}) == 0.25
    assert 90 < share_held(many.head(1000), {}) * 1000 < 110
    assert share_held(many, {}) == 0.05 and share_held(ROWS, {"validate": 0.1}) == 0.1


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (["validate=0.1,0.2"], "'validate' cannot be searched"),
        (["学习率=1,2"], "'学习率' cannot be searched"),
        (["lr"], "'lr' has no values"),
        (["lr=1e-4,1e-3", "lr=1e-2,1e-1"], "'lr' stands twice"),
        (["lr=1e-3:1e-4:log"], "1e-3 is not below 1e-4"),
        (["lr=1e-4:1e-3:linear"], "is not LOW:HIGH"),
        (["rank=8,十六"], "rank must be a whole number above zero, not '十六'"),
        (["lr=0:1"], "lr must be a number above zero, not '0'"),
        (["method=lora,adalora"], "method cannot be 'adalora'"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(said: list[str], trouble: str):
    with pytest.raises(ValueError, match=trouble):
        read_ranges(said)


def test_a_grid_is_of_listed_values():
    with pytest.raises(ValueError, match="a grid needs listed values: lr=A,B,C"):
        grid_points(read_ranges(SPACE), seed=0)
    with pytest.raises(ValueError, match="name options"):
        grid_points({}, seed=0)
