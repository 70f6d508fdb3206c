"""Runs from the command line: assets and history of the UI, with progress as plain lines."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import dagster as dg

from assets.graph import build_stages
from assets.io import Runtime, asset_key, build_assets, stage_config, summary
from assets.recipe import Recipe
from assets.stage import Outcome, Stage
from curation.plugins import nearest


class RunFailed(RuntimeError):
    """A stage said no or broke; `cause` is what it raised when the data or the user can mend it."""

    def __init__(self, line: str, cause: BaseException | None = None):
        super().__init__(line)
        self.cause = cause


@dataclass
class Console:
    """Prints what is running and keeps what came out."""

    total: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    title: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    error: BaseException | None = None
    started: float = field(default_factory=time.monotonic)

    def __call__(self, event: str, stage: Stage, said: Any) -> None:
        if event == "start":
            self._say(f"[{len(self.outcomes) + 1:>2}/{self.total}] {stage.name} …")
        elif event == "line":
            self._say(f"        {said}")
        elif event == "end":
            self.outcomes[stage.name] = said
            self._say(f"        {summary(stage, said)}")
        else:
            self.error = said

    def _say(self, line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        print(f"{minutes:d}:{seconds:02d} {self.title}{line}", file=self.stream, flush=True)


def run_graph(
    recipe: Recipe,
    *,
    store: Path | str,
    console: Console,
    select: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Outcome]:
    """Materialise assets (all when none is named) in this process; returns their outcomes.

    `options` gives stages their run-time options. Raises `ValueError` for an unknown asset and
    `RunFailed` when a stage fails.
    """
    stages = build_stages(recipe)
    chosen = _choose(stages, select)
    console.total = len(chosen)
    runtime = Runtime(recipe, store, console)
    run_config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    for name, given in (options or {}).items():
        run_config |= stage_config(recipe, name, given)
    with open_instance() as instance:
        result = dg.materialize(
            build_assets(runtime, stages),
            instance=instance,
            run_config=run_config,
            selection=dg.AssetSelection.assets(*(asset_key(recipe, name) for name in chosen)),
            raise_on_error=False,
            tags={"winnow/recipe": recipe.name},
        )
    if not result.success:
        raise RunFailed(*_failure(result, console))
    return console.outcomes


def open_instance() -> dg.DagsterInstance:
    """The Dagster history: DAGSTER_HOME, else the dagster.yaml here, else a passing one."""
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    if Path("dagster.yaml").is_file():
        return dg.DagsterInstance.from_config(str(Path.cwd()))
    return dg.DagsterInstance.ephemeral()


def _choose(stages: Sequence[Stage], select: Sequence[str]) -> list[str]:
    names = [stage.name for stage in stages]
    for name in select:
        if name not in names:
            raise ValueError(f"no asset is called {name!r}{nearest(name, names)}")
    return [name for name in names if not select or name in select]


def _failure(result: Any, console: Console) -> tuple[str, BaseException | None]:
    """The first failure as a line; a fault of ours keeps its traceback."""
    if console.error is not None:
        return str(console.error), console.error
    events = [e for e in result.all_events if e.is_step_failure or e.is_run_failure]
    data = events[0].event_specific_data if events else None
    error = getattr(data, "error", None)
    return (error.to_string() if error else "the run failed; see its log in the UI"), None
