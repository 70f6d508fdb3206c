"""A stage: one step of the graph, run when its inputs, options or code changed and else recalled.

Dagster is not needed here; `assets/io.py` shows stages to it. A stage's function takes the job and
the versions of its upstream stages, named by its parameters, and returns what it `Made`.
"""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from assets.code import code_version, describe_code
from assets.recipe import Recipe
from curation.progress import Report, silent
from curation.rows import digest
from curation.store import Corrupt, Made, Store, Version


class CheckFailed(RuntimeError):
    """A check that guards the data said no; nothing was published."""


class ChangedMeanwhile(OSError):
    """A file changed while it was read, so it is not known what was read; nothing was published."""


class NotBuilt(LookupError):
    """An upstream stage has never been built."""


@dataclass(frozen=True)
class Job:
    """What a stage may use besides its inputs.

    `previous` is the stage's present head, for stages that build on what they said before; `code`
    and `section` are what a head must have been made with to be built on.
    """

    recipe: Recipe
    store: Store
    report: Report = silent
    options: Mapping[str, Any] = field(default_factory=dict)
    previous: Version | None = None
    code: str = ""
    section: Any = None

    @property
    def same_code(self) -> Version | None:
        """`previous` where the present code made it, so that a change of it is as good as new."""
        return self._like("code", self.code)

    @property
    def same_section(self) -> Version | None:
        """`previous` where it follows the same part of the recipe, whatever code made it."""
        return self._like("section", self.section)

    def _like(self, part: str, now: Any) -> Version | None:
        before = self.previous
        return before if before is not None and before.manifest["how"][part] == now else None


@dataclass(frozen=True)
class Stage:
    """One step of the graph.

    `inputs` are the names of upstream stages, in the order of the function's parameters; `section`
    is the part of the recipe it follows; `reads` says what it reads outside the graph (files, the
    inbox) and `files` gives the state of such files, which must not change while they are read;
    `code` names plug-in modules; `options` are run-time options with their defaults; a
    check listed in `guards` stops the run when it says no; `remembers` are tables that each version
    takes over from the one before, so one that holds less than the head is not recalled.
    """

    name: str
    group: str
    work: Callable[..., Made]
    inputs: tuple[str, ...] = ()
    section: Any = None
    code: tuple[str, ...] = ()
    reads: Callable[[Job], Any] | None = None
    files: Callable[[], Mapping[str, Any]] = dict
    options: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    guards: tuple[str, ...] = ("conservation",)
    remembers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return inspect.getdoc(self.work) or ""

    @cached_property
    def code_version(self) -> str:
        """Follows the code that does the work and the recipe section it follows."""
        return digest([code_version(inspect.unwrap(self.work), self.code), self.section])


@dataclass(frozen=True)
class Outcome:
    """What running a stage came to."""

    version: Version
    recalled: bool
    seconds: float


def stage(group: str, **options: Any) -> Callable[[Callable[..., Made]], Callable[[Recipe], Stage]]:
    """Turn a function into a maker of its stage; `section` may name a recipe attribute.

    The stage is called as the function, and its inputs are the function's parameters after the job.
    """

    def wrap(work: Callable[..., Made]) -> Callable[[Recipe], Stage]:
        def make(recipe: Recipe) -> Stage:
            names = tuple(inspect.signature(work).parameters)[1:]
            section = recipe.sections(options.get("section", ()))
            rest = {k: v for k, v in options.items() if k != "section"}
            return Stage(work.__name__, group, work, names, section, **rest)

        return make

    return wrap


def run_stage(job: Job, stage: Stage) -> Outcome:
    """Build a stage, or recall it when nothing it depends on changed, and publish the result.

    Raises `NotBuilt` when an upstream stage has no version, `CheckFailed` when a guard says no,
    `ChangedMeanwhile` when a file it reads was written to, replaced or moved during the work, and
    `Conflict` when another machine published the stage meanwhile.
    """
    start = time.monotonic()
    inputs = {name: require_built(job, name) for name in stage.inputs}
    files = stage.files()
    reads = stage.reads(job) if stage.reads else ""
    key = digest(
        [
            stage.name,
            stage.code_version,
            {name: version.data_version for name, version in inputs.items()},
            reads,
            dict(job.options),
        ]
    )
    remembered = job.store.recall(key) or {}
    known = job.store.find_version(remembered["manifest"]) if remembered else None
    known = None if known and _forgets(job, stage, known) else known
    if remembered and known is None:  # a run that dies while it makes the rest again is no memory
        job.store.forget(key)
    over = None if known else job.store.newest(f"{job.recipe.name}/{stage.name}")[1]
    version = known or _build(job, stage, inputs, files, reads)
    if known is None:
        job.store.remember(key, {"manifest": version.key, "seconds": time.monotonic() - start})
    job.store.publish(version, over=over)
    return Outcome(version, known is not None, time.monotonic() - start)


def _forgets(job: Job, stage: Stage, known: Version) -> bool:
    """Whether a version lacks something that the head remembers, as one from before it may."""
    if not stage.remembers:
        return False
    try:
        head = job.store.head(known.name)
        if head is None or head.key == known.key:
            return False
        tables = [name for name in stage.remembers if name in head.tables]
        sides = [(head.table(name), known.table(name)) for name in tables]
    except Corrupt:  # a damaged head is no memory, here as when it is built on
        return False
    return any(ours.join(theirs, on=ours.columns, how="anti").height for ours, theirs in sides)


def _build(
    job: Job,
    stage: Stage,
    inputs: Mapping[str, Version],
    files: Mapping[str, Any],
    reads: Any,
) -> Version:
    name = f"{job.recipe.name}/{stage.name}"
    job = replace(job, section=stage.section, code=stage.code_version)
    previous = job.store.base(name)
    try:
        made = stage.work(replace(job, previous=previous), *inputs.values())
    except Corrupt:  # what it would build on is damaged, unless an input is: all is worked out anew
        if previous is None:
            raise
        made = stage.work(job, *inputs.values())
    _require_same(stage, files)
    failed = [
        f"{name}: {made.checks[name][1]}"
        for name in stage.guards
        if not made.checks.get(name, (True,))[0]
    ]
    if failed:
        raise CheckFailed(f"{stage.name}: " + "; ".join(failed))
    how = {
        "code": stage.code_version,
        "section": stage.section,
        "recipe": job.recipe.digest,
        "recipe_text": job.recipe.text,
        "reads": digest(reads),
        "options": dict(job.options),
        **describe_code(inspect.unwrap(stage.work), stage.code),
    }
    return job.store.write_version(name, made, inputs=inputs, how=how)


def _require_same(stage: Stage, before: Mapping[str, Any]) -> None:
    now = stage.files()
    changed = [file for file in before.keys() | now.keys() if before.get(file) != now.get(file)]
    if changed:
        raise ChangedMeanwhile(
            f"{stage.name}: {min(changed)!r} changed while it was read; run again"
        )


def require_built(job: Job, name: str) -> Version:
    """The newest version of a stage; raises `NotBuilt` where there is none."""
    version = job.store.head(f"{job.recipe.name}/{name}")
    if version is None:
        raise NotBuilt(f"{name!r} has not been built yet: build it first, or run the whole graph")
    return version
