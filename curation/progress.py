"""Progress of long work: done, total, rate and time left, said by time and never by row."""

import time
from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one line for people: a logger's `info`, a console's `print`."""


def silent(_line: str) -> None:
    """A report that nobody reads."""


class Progress:
    """Counts work and reports a line such as `model_perplexity 120/400 · 38/s · 7 s left`.

    Lines come at most every `every_s` seconds, and once at the end of work that took longer.
    """

    def __init__(self, total: int, what: str, report: Report = silent, *, every_s: float = 2.0):
        self.total, self.what, self.report, self.every_s = total, what, report, every_s
        self.done, self.start = 0, time.monotonic()
        self._said = self.start

    def step(self, count: int = 1, note: str = "") -> None:
        """Record `count` more done; `note` is appended to the line when one is due."""
        self.done += count
        now = time.monotonic()
        last = self.done >= self.total and now - self.start > self.every_s
        if now - self._said >= self.every_s or last:
            self._said = now
            self.report(self.line(note))

    def line(self, note: str = "") -> str:
        """The present state as text."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else 0.0
        parts = [
            f"{self.what} {self.done:,}/{self.total:,}",
            f"{rate:,.3g}/s",
            f"{left:,.0f} s left",
            note,
        ]
        return " · ".join(p for p in parts if p)
