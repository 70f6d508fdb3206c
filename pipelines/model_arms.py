"""Which server answers a request: arms that follow the name of a version, and the draw among them.

An arm called `champion` serves what is in use. One thread looks at the registry; when another
version is, its server is started beside the old one and asked stored answers before it gets any
request. What the old one has in hand ends there, then it is stopped. Where the new one does not
come up, or answers otherwise, the old one goes on, and one line says so.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from curation.progress import Report
from curation.store import Version
from pipelines.model_server import ModelServer

RETRY_S = 60.0
"""Wait so long before a version is tried again that could not be served."""
Start = Callable[[str, Version], ModelServer]
"""Starts the server of an arm's version and returns once it answers as the version does."""


@dataclass
class Serving:
    """A version that answers, and how many requests it has in hand."""

    version: Version
    server: ModelServer
    in_hand: int = 0

    @property
    def number(self) -> int:
        return self.version.values["number"]

    @property
    def label(self) -> str:
        """The version as people call it: `v7`."""
        return f"v{self.number}"


@dataclass
class Arm:
    """A part of the requests, answered by the version that `name` means at the time."""

    label: str
    name: str
    serving: Serving
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def taking(self) -> Iterator[Serving]:
        """The version that answers one request; it is not stopped before that is done."""
        with self._lock:
            taken = self.serving
            taken.in_hand += 1
        try:
            yield taken
        finally:
            with self._lock:
                taken.in_hand -= 1

    def switch(self, to: Serving) -> Serving:
        """Have requests answered by another version from now on; the one before."""
        with self._lock:
            old, self.serving = self.serving, to
        return old


def draw_arm(arms: Sequence[Arm], unit: str, *, split: float) -> Arm:
    """The arm of a unit, always the same one: the last of two gets the share `split` of all units.

    `unit` is a digest of who asks, or of what.
    """
    place = int.from_bytes(sha256(unit.encode()).digest()[:8], "big") / 2**64
    return arms[-1] if place < split else arms[0]


class Follower:
    """Keeps arms at the versions that their names mean, in a thread, until it is closed."""

    def __init__(
        self,
        arms: Sequence[Arm],
        find: Callable[[str], Version],
        start: Start,
        *,
        report: Report,
        every_s: float,
        retry_s: float = RETRY_S,
    ):
        self._arms, self._find, self._start, self._report = arms, find, start, report
        self._every_s, self._retry_s = every_s, retry_s
        self._failed: dict[str, tuple[str, float]] = {}
        self._old: list[Serving] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to look at the registry."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and stop every server."""
        self._closing.set()
        for serving in [*(arm.serving for arm in self._arms), *self._old]:
            serving.server.stop()

    def _work(self) -> None:
        while not self._closing.wait(self._every_s):
            for arm in self._arms:
                self._follow(arm)
            self._retire()

    def _follow(self, arm: Arm) -> None:
        """Bring an arm to the version that its name means now, or to life again."""
        now = arm.serving
        try:
            wanted = self._find(arm.name)
        except Exception as error:  # a store out of reach for a while: what is served goes on
            self._say_once(arm, "", f"{arm.name} cannot be looked up, {now.label} goes on: {error}")
            return
        id, ended = wanted.values["id"], now.server.problem()
        if id == now.version.values["id"] and not ended:
            self._failed.pop(arm.label, None)
            return
        if self._is_waiting(arm, id):
            return
        try:
            new = Serving(wanted, self._start(arm.label, wanted))
        except Exception as error:  # of a program that is not ours; it is said and tried again
            if not self._closing.is_set():
                rest = f"no server answers: {ended}" if ended else f"{now.label} goes on"
                line = f"v{wanted.values['number']} cannot be served, {rest}: {error}"
                self._say_once(arm, id, line)
            return
        if self._closing.is_set():
            new.server.stop()
            return
        self._old.append(arm.switch(new))
        self._failed.pop(arm.label, None)
        again = "again" if new.label == now.label else f"in place of {now.label}"
        self._report(f"{new.label} answers {again}")

    def _is_waiting(self, arm: Arm, id: str) -> bool:
        failed, at = self._failed.get(arm.label, ("", 0.0))
        return failed == id and time.monotonic() - at < self._retry_s

    def _say_once(self, arm: Arm, id: str, line: str) -> None:
        if self._failed.get(arm.label, ("-", 0.0))[0] != id:
            self._report(line)
        self._failed[arm.label] = (id, time.monotonic())

    def _retire(self) -> None:
        """Stop those that have nothing in hand any more."""
        for serving in [old for old in self._old if not old.in_hand]:
            self._old.remove(serving)
            serving.server.stop()
