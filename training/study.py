"""The optuna side of a search: a study in one SQLite file, what it proposes, what it is told.

A sampler is made anew for each trial and seeded by how many there were, so a search that was killed
proposes what the undisturbed one would have. Optuna's own grid wants to end the loop itself, so the
points of a grid are queued here, one by one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from training.ranges import grid_points

Sampler = Literal["tpe", "random", "grid", "evolution"]
FIRST = 5
"""Trials that TPE draws at random, and parents of a generation of the evolution (NSGA-II)."""
EARLIEST, MEDIAN_OF = 3, 3
"""The first look that may end a trial, as warm-up still decides those before it, and how many
trials must be there to be held against."""


@contextmanager
def open_study(file: Path) -> Iterator[Any]:
    """The study of a file, made where there is none; trials that a kill cut off are queued again.

    A trial is ended early when its loss at a look lies above the median of the others there.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    try:
        study = optuna.create_study(
            storage=storage,
            pruner=optuna.pruners.MedianPruner(MEDIAN_OF, EARLIEST),
            study_name="train",
            load_if_exists=True,
        )
        for trial in _in_state(study, "RUNNING"):
            _put_back(study, trial)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def ask_trial(study: Any, space: Mapping[str, Any], sampler: Sampler, *, seed: int) -> Any:
    """The next trial, its values drawn from the distributions of `space`."""
    told = len(read_records(study))
    if sampler == "grid" and not _in_state(study, "WAITING"):
        study.enqueue_trial(grid_points(space, seed=seed)[told])
    study.sampler = _make_sampler(sampler, seed + told)
    return study.ask(fixed_distributions=dict(space))


def tell_trial(study: Any, trial: Any, record: Mapping[str, Any]) -> None:
    """Keep what a trial came to; one without a loss teaches the sampler nothing."""
    from optuna.trial import TrialState

    trial.set_user_attr("record", dict(record))
    states = {"done": TrialState.COMPLETE, "ended": TrialState.PRUNED}
    loss = record["loss"] if record["state"] == "done" else None
    study.tell(trial, loss, state=states.get(record["state"], TrialState.FAIL))


def read_records(study: Any) -> list[dict[str, Any]]:
    """What every trial came to that reached its end, in order."""
    every = study.get_trials(deepcopy=False)
    return [trial.user_attrs["record"] for trial in every if "record" in trial.user_attrs]


def teach_advised(study: Any, space: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Let sampler and pruner know the advised run, if its options lie within the ranges."""
    from optuna.trial import create_trial

    if record["loss"] is None:
        return
    with suppress(ValueError):  # outside of a range, which is said by nothing else
        study.add_trial(
            create_trial(
                value=record["loss"],
                params=dict(record["params"]),
                distributions=dict(space),
                intermediate_values={int(look): loss for look, loss in record["looks"].items()},
            )
        )


def _put_back(study: Any, trial: Any) -> None:
    """Queue a trial that was cut off, as what it was to its sampler."""
    from optuna.trial import TrialState, create_trial

    same = {"params": trial.params, "distributions": trial.distributions}
    waiting = create_trial(state=TrialState.WAITING, system_attrs=trial.system_attrs, **same)
    study.add_trial(waiting)
    study.tell(trial.number, state=TrialState.FAIL)


def _in_state(study: Any, name: str) -> list[Any]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == name]


def _make_sampler(name: Sampler, seed: int) -> Any:
    from optuna import samplers

    match name:
        case "tpe":
            return samplers.TPESampler(n_startup_trials=FIRST, seed=seed)
        case "evolution":
            return samplers.NSGAIISampler(population_size=FIRST, seed=seed)
        case "random" | "grid":  # a grid's points are queued, and nothing is drawn
            return samplers.RandomSampler(seed=seed)
