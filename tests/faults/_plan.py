"""Which faults are tried: all of them in the long form, always the same sample in the short one."""

import errno
import random
from collections.abc import Callable, Iterator

from tests.faults._graph import SCENARIOS
from tests.faults._races import RACES
from tests.faults._shim import LOSSES, Fault
from tests.faults._sweep import Sweeper

Faults = Callable[[int], Iterator[Fault]]
"""How many operations of its sort a scenario has, to the faults that can hit it."""

READ_ONLY = ("store/objects", "store/refs", "store/tmp", "store/leases", "out")


def killed(n: int) -> Iterator[Fault]:
    return (Fault("kill", at) for at in range(1, n + 1))


def killed_any_time(n: int, times: int = 60) -> Iterator[Fault]:
    """At random times, in thousandths of how long it takes undisturbed."""
    rng = random.Random(n)
    return (Fault("time", rng.randrange(1100)) for _ in range(times))


def power_cut(n: int) -> Iterator[Fault]:
    return (Fault("power", at, loses=loses) for at in range(1, n + 2) for loses in LOSSES)


def power_cut_after_a_retry(n: int) -> Iterator[Fault]:
    """What the first try left unsynced is found by the second, which must not trust it."""
    return (
        Fault("error", at, retry=True, loses=loses)
        for at in range(1, n + 1)
        for loses in ("all", "objects")
    )


def failed_once(n: int) -> Iterator[Fault]:
    return (Fault("error", at) for at in range(1, n + 1))


def failed_for_ever(n: int) -> Iterator[Fault]:
    return (Fault("error", at, ever=True) for at in range(1, n + 1))


def read_failed_once(reads: int) -> Iterator[Fault]:
    return (Fault("read", at) for at in range(1, reads + 1))


def read_failed_for_ever(reads: int) -> Iterator[Fault]:
    return (Fault("read", at, ever=True) for at in range(1, reads + 1))


def disk_full(n: int) -> Iterator[Fault]:
    return (Fault("full", at, ever=True, code=errno.ENOSPC) for at in range(1, n + 1))


def read_only(n: int) -> Iterator[Fault]:
    return (
        Fault("error", where=where, code=code)
        for where in READ_ONLY
        for code in (errno.EROFS, errno.EACCES)
    )


def too_many_files(n: int) -> Iterator[Fault]:
    return (Fault("files", at) for at in range(10))


KINDS: dict[str, Faults] = {
    "killed": killed,
    "killed at a random time": killed_any_time,
    "power cut": power_cut,
    "power cut after a retry": power_cut_after_a_retry,
    "failed once": failed_once,
    "failed for ever": failed_for_ever,
    "read failed once": read_failed_once,
    "read failed for ever": read_failed_for_ever,
    "disk full": disk_full,
    "read-only": read_only,
    "too many files": too_many_files,
}


def try_all(
    sweeper: Sweeper, scenario: str, *kinds: str, most: int | None = None
) -> tuple[list[str], list[str]]:
    """Problems found, and for each kind a line: how many faults were tried and how many left out.

    A few faults are tried at once, so that many kinds together take less time than one by one.
    """
    assert scenario in SCENARIOS
    faults, lines = [], []
    for kind in kinds:
        changes, reads = sweeper.count(scenario)
        every = list(KINDS[kind](reads if kind.startswith("read failed") else changes))
        chosen = take(every, most, seed=f"{scenario}, {kind}") if most else every
        left = f", {len(every) - len(chosen):,} left out" if len(chosen) < len(every) else ""
        lines.append(f"{scenario}, {kind}: {len(chosen):,} faults tried{left}")
        faults += chosen
    problems, died = sweeper.run(scenario, faults)
    if (timed := "killed at a random time") in kinds:
        n = sum(fault.kind == "time" for fault in faults)
        lines[kinds.index(timed)] += f", {died} of {n} died in the middle"
        if most is None and died < n / 3:
            problems.append(f"{scenario}: only {died} of {n} died in the middle")
    return problems, lines


def try_race(
    sweeper: Sweeper, race: str, times: int, *, enough: bool = False
) -> tuple[list[str], str]:
    """Problems of so many runs of a race, and a line with how many of them were lost by somebody.

    `enough` races are so many that one is sure to be lost where that can happen.
    """
    problems, lost = sweeper.race(race, times)
    line = f"{race}: {times} races"
    if RACES[race].lost:
        line += f", in {lost} of them somebody came second"
        if enough and not lost:
            problems.append(f"{race}: nobody ever came second, so it proves nothing")
    return problems, line


def take(every: list[Fault], most: int, *, seed: str) -> list[Fault]:
    """At most `most` of them, evenly apart, always the same ones of a seed.

    Where they start is another place for each seed, so that few of many lists are of all sorts.
    """
    step = max(1.0, len(every) / most)
    start = random.Random(seed).random() * step
    return [every[int(start + i * step)] for i in range(min(most, len(every)))]
