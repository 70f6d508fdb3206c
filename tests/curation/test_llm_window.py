"""How near to its limit an endpoint is kept busy, in a time that passes only while all wait.

The endpoint is a bucket of permits as real ones are: so many a second, a reserve that fills up, a
refusal that asks for whole seconds or says nothing. A minute of calls takes a blink here.
"""

import asyncio
import math
import random
import selectors
from dataclasses import dataclass, field

import pytest

from curation.llm_pace import Pace


class _Leap(selectors.SelectSelector):
    """Waits for nothing: the clock leaps to where somebody has something to do."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.leap = _Leap()
        super().__init__(self.leap)

    def time(self):
        return self.leap.now


@dataclass
class Endpoint:
    """Admits `per_s` calls a second and `reserve` at once; answers after `latency_s`."""

    per_s: float
    reserve: float
    latency_s: float = 0.2
    told: bool = True
    refused: int = 0
    waits: random.Random = field(default_factory=lambda: random.Random(0))
    left: float = field(init=False)
    at: float = 0.0

    def __post_init__(self):
        self.left = self.reserve

    async def call(self, now):
        """None for an answer, else the seconds to wait before the next try."""
        self.left = min(self.reserve, self.left + (now() - self.at) * self.per_s)
        self.at = now()
        if self.left >= 1:
            self.left -= 1
            return await asyncio.sleep(self.latency_s)
        self.refused += 1
        told = math.ceil((1 - self.left) / self.per_s)
        return told if self.told else self.waits.uniform(0, 0.5)


def ask_all(endpoint, rows, most=64):
    """The seconds that it takes to have an answer to every row."""
    loop = _Loop()

    async def answer(pace):
        while True:
            turn = await pace.enter(0, lambda: False)
            pause_s = await endpoint.call(loop.time)
            if pause_s is None:
                return pace.answered(turn, 0)
            pace.limited(turn, pause_s)

    async def work(pace, left):
        while left:
            left.pop()
            await answer(pace)

    async def run():
        pace, left = Pace(most, clock=loop.time), [*range(rows)]
        await asyncio.gather(*(work(pace, left) for _ in range(most)))
        return loop.time()

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize("told", [True, False], ids=["Retry-After", "without a word"])
@pytest.mark.parametrize(
    ("per_s", "reserve", "latency_s", "rows", "least"),
    [
        (100, 100, 0.2, 1500, 0.9),
        (100, 10, 0.2, 1500, 0.75),  # of whole seconds to wait a small reserve loses most
        (20, 20, 1.0, 600, 0.9),
        (5, 5, 3.0, 300, 0.8),
    ],
)
def test_the_limit_is_used_and_hardly_passed(told, per_s, reserve, latency_s, rows, least):
    endpoint = Endpoint(per_s, reserve, latency_s, told)
    seconds = ask_all(endpoint, rows)
    share = rows / (reserve + per_s * (seconds - latency_s))
    assert share >= least, f"{share:.0%} of the limit"
    assert endpoint.refused <= 0.05 * (rows + endpoint.refused), endpoint.refused
