"""Kills at random times: the run worker, the daemon, all of `dg dev`, the trainer, its watcher.

What is killed, when in the run, and what was going on then follow from a seed as far as a real
machine allows. Whatever nothing starts again is started again here, as a person would.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dagster as dg
import psutil

from pipelines.automation import decide_rebuild
from tests.faults._deliveries import Deliveries
from tests.faults._project import Site, kill, kind_of, wait_for

KINDS = ("worker", "trainer", "daemon", "tree", "watcher", "watcher+worker", "trainer+daemon")
BY_KERNEL = "watcher+worker"  # with its watcher gone, only Linux ends a trainer with its parent
ORPHAN_S = 10.0  # within which a trainer must be gone after its parent
SIGNED_S = 30.0  # within which a trainer must stand in the journal
SETTLE_S = 400.0
NO_RUN = "no started run"
NUDGES = 4
Say = Callable[[str], None]


@dataclass
class Blow:
    """One kill: seconds after the start, what, which processes, during what, and what came then."""

    at_s: float
    kind: str
    pids: tuple[int, ...]
    during: str
    then: str = ""

    def line(self) -> str:
        pids = " ".join(str(pid) for pid in self.pids)
        return f"{self.at_s:6.1f} s  {self.kind:<14}  {pids:<24}  {self.during:<28}  {self.then}"


@dataclass
class Chaos:
    """The blows dealt so far, and the means to deal the next one."""

    site: Site
    seed: int
    say: Say = print
    blows: list[Blow] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"kills {self.seed}")

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    def strike(self, kind: str, *, spread_s: float = 8.0, restart: bool = True) -> None:
        """Kill what `kind` names at a random moment of its life, and put the place in order.

        The moment lies within `spread_s` after all of it was first seen. With `restart` a `dg dev`
        that ended is started again, which waits until it is up.

        Raises `TimeoutError` when there is nothing to kill for long, which means that the project
        stands still, when a trainer that is to die never signed the journal, or when one outlives
        its parent.
        """
        wait_for(f"something to kill: {kind}", lambda: self._victims(kind))
        time.sleep(self.rng.uniform(0, spread_s))
        if "trainer" in kind:
            wait_for("each trainer signed the journal", self._all_signed, limit_s=SIGNED_S)
        victims = wait_for(f"something to kill: {kind}", lambda: self._victims(kind))
        during = self._doing()
        hit = [process.pid for process in victims if kill(process)]
        blow = Blow(self.now_s, kind, tuple(hit[:4]), during)
        self.blows.append(blow)
        blow.then = self._recover(kind, restart=restart)
        self.say(blow.line())

    def _victims(self, kind: str) -> list[psutil.Process]:
        """The processes to kill, none when a kind is missing; `tree` waits for a started run."""
        living = {process: kind_of(process) for process in self.site.processes()}
        parts = kind.split("+")
        if "tree" in parts and self._doing() == NO_RUN:
            return []
        named = [[p for p, k in living.items() if k in _members(part)] for part in parts]
        return [p for part in named for p in part if not _is_command(p)] if all(named) else []

    def _all_signed(self) -> bool:
        """Every trainer that lives stands in the journal; else whoever died there is unknown."""
        signed = {line["pid"] for line in self.site.journal}
        return all(process.pid in signed for process in self.site.find("trainer"))

    def _doing(self) -> str:
        """The step that the active run is in."""
        with self.site.history() as instance:
            runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            if not runs:
                return NO_RUN
            log = instance.all_logs(runs[0].run_id, of_type=dg.DagsterEventType.STEP_START)
        step = (log[-1].step_key or "").partition("__")[2] if log else "starting"
        return f"run {runs[0].run_id[:8]} {step}"

    def _recover(self, kind: str, *, restart: bool) -> str:
        begun = time.monotonic()
        said = []
        if "worker" in kind or "tree" in kind:
            wait_for(
                "the trainer died with its parent", self._no_trainer_of_the_dead, limit_s=ORPHAN_S
            )
            said.append(f"no trainer left after {time.monotonic() - begun:.1f} s")
        if "daemon" in kind or "tree" in kind:  # dg dev ends without its daemon
            wait_for("dg dev has ended", self.site.server_is_gone)
            said.append(f"dg dev ended after {time.monotonic() - begun:.1f} s")
        if restart and self.site.server_is_gone():
            self.site.start_server()
            said.append(f"up again after {time.monotonic() - begun:.1f} s")
        return ", ".join(said)

    def _no_trainer_of_the_dead(self) -> bool:
        """No trainer is left whose run worker is gone."""
        living = self.site.processes()
        workers = {p.pid for p in living if kind_of(p) == "worker"}
        return all(_parent(p) in workers for p in living if kind_of(p) == "trainer")

    def settle(self, deliveries: Deliveries) -> str:
        """Wait until nothing runs and nothing is due; returns what the sensor says then.

        After a failure the same bad cases wait minutes for the next try, as they should; a new case
        makes another set of them, so one more is delivered instead of waiting.
        """
        nudges = 0
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            reason = self._sensor_says()
            if "no new bad cases" in reason:
                return reason
            if "next try" in reason and nudges < NUDGES:
                nudges += 1
                self.say(f"{self.now_s:6.1f} s  one more bad case: {reason}")
                deliveries.deliver()
            if self.site.server_is_gone():
                raise RuntimeError(f"dg dev ended by itself:\n{self.site.log_tail()}")
            time.sleep(1)
        raise TimeoutError(f"not settled within {SETTLE_S:.0f} s: {reason}\n{self.site.log_tail()}")

    def _sensor_says(self) -> str:
        with self.site.history() as instance:
            said = decide_rebuild(self.site.store, self.site.recipe, instance)
        return (said.skip_message or "") if isinstance(said, dg.SkipReason) else "a rebuild is due"


def plan_kinds(rng: random.Random) -> Sequence[str]:
    """Every kind once, in random order."""
    kinds = [kind for kind in KINDS if kind != BY_KERNEL or sys.platform == "linux"]
    return rng.sample(kinds, len(kinds))


def _members(part: str) -> tuple[str, ...]:
    """Kinds of process that a part of a blow hits; trainers outlive the tree, to die alone."""
    return ("server", "daemon", "worker", "other") if part == "tree" else (part,)


def _is_command(process: psutil.Process) -> bool:
    """A delivery: it is no part of the server."""
    try:
        return "pipelines.cli" in process.cmdline()
    except psutil.NoSuchProcess:
        return True


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0
