"""A search for better training options: optuna proposes, `train_sft` trains, held rows judge.

All runs look at the same rows, which none trains on, so that their losses can be held against one
another. The trial in which a search was killed goes on from its checkpoint.
"""

import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.progress import Report, silent
from curation.rows import digest
from training.advice import VALIDATE
from training.ranges import grid_points, read_ranges, usual_ranges
from training.sft import train_sft
from training.study import (
    Sampler,
    ask_trial,
    open_study,
    read_records,
    teach_advised,
    tell_trial,
)

HELD_ROWS, MOST_HELD = 100, 0.25
"""Domain rows that judge a trial, if a quarter of them is so many: fewer tell less of a loss."""
SHOWN = ("state", "params", "loss", "general_loss", "step", "seconds")
Look = Callable[[int, float], None]


def search_options(
    rows: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    trials: int = 10,
    sampler: Sampler = "tpe",
    ranges: Sequence[str] = (),
    train: Mapping[str, Any] | None = None,
    seed: int = 0,
    report: Report = silent,
) -> dict[str, Any]:
    """Train with the options of `train` as advised, then `trials` times with others in their place.

    `ranges` are read by `read_ranges`; without any they are the `usual_ranges`. `out` keeps the
    study: the same search with more trials goes on. A grid ends with its last point.

    Returns trials (number, 0 as advised, state `done`, `ended` (early), `diverged` or `no memory`,
    params, loss and general_loss in nats per token of the rows that were looked at, step of the
    lowest loss, seconds), best (a number), params (what to set, empty where 0 is the best), gain
    (nats by which the best loss lies below that of 0, null where 0 has none), n_held and validate.
    Raises `ValueError` for options that cannot be searched, and too few rows to judge by.
    """
    options = dict(train or {})
    named, trials = check_search(options, trials=trials, sampler=sampler, ranges=ranges, seed=seed)
    bench = Bench(rows, base_model, options | {"validate": share_held(rows, options)}, out, report)
    out.mkdir(parents=True, exist_ok=True)
    with open_study(out / "study.sqlite") as study:
        advised = study.user_attrs.get("advised") or bench.train_advised(named)
        if "advised" not in study.user_attrs:
            teach_advised(study, named or usual_ranges(advised["options"]), advised)
            study.set_user_attr("advised", advised)
        space = named or usual_ranges(advised["options"])
        while len(read_records(study)) < trials:
            bench.try_next(study, ask_trial(study, space, sampler, seed=seed))
        told = [advised, *read_records(study)[:trials]]
    return _sum_up(told) | {"n_held": advised["n_held"], "validate": bench.options["validate"]}


def check_search(
    train: Mapping[str, Any], *, trials: int, sampler: Sampler, ranges: Sequence[str], seed: int
) -> tuple[dict[str, Any], int]:
    """The ranges and the number of trials, which a grid bounds; `ValueError` for what cannot be."""
    named = read_ranges(ranges)
    if train.get("processes", 1) > 1:
        raise ValueError("a search trains in one process: leave `processes` out of train")
    if trials < 1:
        raise ValueError(f"a search needs at least one trial, not {trials}")
    if sampler == "grid":
        trials = min(trials, len(grid_points(named, seed=seed)))
    return named, trials


def share_held(rows: pl.DataFrame, train: Mapping[str, Any]) -> float:
    """The share of rows to judge by: what `train` says, else enough for about `HELD_ROWS`."""
    n_domain = rows.filter(pl.col("track") == "domain")["id"].n_unique()
    enough = min(MOST_HELD, max(VALIDATE, HELD_ROWS / max(n_domain, 1)))
    return train.get("validate") or round(enough, 3)


def say_params(params: Mapping[str, Any]) -> str:
    """`lr 0.0004, rank 16`."""
    return ", ".join(f"{name} {value}" for name, value in params.items())


@dataclass(frozen=True)
class Bench:
    """Where trials are run: each in a folder that goes when it ends."""

    rows: pl.DataFrame
    base_model: Path | str
    options: Mapping[str, Any]
    out: Path
    report: Report

    def train_advised(self, ranges: Mapping[str, Any]) -> dict[str, Any]:
        """The record of the run without a change; its params are the values it came to."""
        record = self._train({}, lambda look, loss: None, "trial 0, as advised")
        if not record["looks"]:
            raise ValueError(
                f"of {self.rows.height:,} rows too few are of the domain to judge trials by: a "
                "search needs more of them, or a larger `validate` under train"
            )
        searched = ranges or usual_ranges(record["options"])
        return record | {"params": {name: record["options"][name] for name in searched}}

    def try_next(self, study: Any, trial: Any) -> None:
        """Run a trial and tell the study; the same options again are not trained again."""
        from optuna import TrialPruned
        from torch import OutOfMemoryError

        params = {name: _short(value) for name, value in trial.params.items()}
        told = read_records(study)
        record = next((known for known in told if known["params"] == params), None)
        nothing = dict.fromkeys(("loss", "general_loss", "step", "seconds"))
        looks: dict[str, float] = {}

        def look(number: int, loss: float) -> None:
            looks[str(number)] = loss
            trial.report(loss, number)
            if trial.should_prune():
                raise TrialPruned

        try:
            record = record or self._train(params, look, f"trial {len(told) + 1}")
        except TrialPruned:
            record = nothing | {"state": "ended", "params": params, "looks": looks}
        except OutOfMemoryError:
            record = nothing | {"state": "no memory", "params": params, "looks": looks}
        shutil.rmtree(self._folder(params), ignore_errors=True)
        tell_trial(study, trial, record)
        self.report(f"trial {len(told) + 1}: {record['state']}, domain loss {record['loss']}")

    def _train(self, params: Mapping[str, Any], look: Look, name: str) -> dict[str, Any]:
        """The record of a run; what `look` raises ends it."""
        import torch

        gc.collect()  # the model of the run before, which the trainer holds in a cycle
        torch.cuda.empty_cache()
        self.report(f"{name}: {say_params(params) or 'the options of the recipe'}")
        folder, started = self._folder(params), time.monotonic()
        said = train_sft(
            self.rows,
            base_model=self.base_model,
            out=folder,
            on_look=look,
            report=lambda line: self.report(f"{name}: {line}"),
            **{**self.options, **params},
        )
        shutil.rmtree(folder)
        best = said["best"] or {}
        looks = [step["eval_domain_loss"] for step in said["history"] if "eval_domain_loss" in step]
        return {
            "state": "done" if best else "diverged",
            "params": dict(params),
            "loss": best.get("eval_domain_loss"),
            "general_loss": best.get("eval_general_loss"),
            "step": best.get("step"),
            "seconds": round(time.monotonic() - started, 1),
            "looks": {str(number): loss for number, loss in enumerate(looks, 1)},
            "options": said["options"],
            "n_held": said["n_held"],
        }

    def _folder(self, params: Mapping[str, Any]) -> Path:
        return self.out / f"run-{digest(dict(params))[:16]}"


def _sum_up(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The records as they are shown, and which of them is the best."""
    reached = [n for n, record in enumerate(told) if record["loss"] is not None]
    best = min(reached, key=lambda n: told[n]["loss"], default=0)
    advised = told[0]["loss"]
    return {
        "trials": [{"number": n, **{k: r[k] for k in SHOWN}} for n, r in enumerate(told)],
        "best": best,
        "params": told[best]["params"] if best else {},
        "gain": None if advised is None else advised - told[best]["loss"],
    }


def _short(value: Any) -> Any:
    """Four digits of a number: what the recipe will say is then what was trained."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
