"""How fast an endpoint is asked: a window of calls, a pause for all, and a rate.

Few endpoints say what they bear. So the window of calls under way grows by one for each answer
until something is refused, from then on by one for each window of answers, and shrinks to 0.7 of
itself when the endpoint is overrun, once for all the calls that found out together.

A refusal also tells the rate: an endpoint that refuses has no room left, so what it admitted since
an earlier refusal is what it admits in that time, however much it lets through at once. Calls then
go out evenly, a little slower than that, and ever faster until the next refusal.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_WINDOW, _FIRST_LATENCY_S = 16, 0.2
_AHEAD = 1.25  # calls of a window go out over its latency, and a little faster so that it fills
_SHRINK, _SHRINK_EVERY_S = 0.7, 0.25
_LEAST_SPAN_S, _LEAST_CALLS = 0.25, 10  # what is shorter says nothing about a rate
_LEAST_RATE = 1.0  # slower than that by the pauses alone
_SHARE, _SLOWER = 0.97, 0.85  # of the rate that was measured, and of the one that was too fast
_GROWTH = (0.005, 0.0005)  # of the rate, by seconds and by their square: 1.1 after 10, 3.1 after 60
_BEHIND_S = 0.05  # how much of its turn a late call may catch up
_LOOK_S = 0.2  # how often a waiting call looks whether the run was stopped


@dataclass(frozen=True)
class Turn:
    """A call that was let go: when, and the tokens it was taken to need."""

    at: float
    tokens: float


class Pace:
    """Lets calls go one by one: `enter`, then `answered`, `limited` or `failed` with its turn."""

    def __init__(
        self,
        most: int,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clock = clock
        self.most = max(1, most)
        self.window = float(min(self.most, _FIRST_WINDOW))
        self.busy = 0
        self._gap_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_at = self._tokens_at = self._resume_at = 0.0
        self._rate, self._rate_at = math.inf, 0.0
        self._cut_at, self._cuts = -math.inf, 0
        self._counted_from, self._admitted, self._paused_s = math.inf, 0, 0.0
        self._latency_s = _FIRST_LATENCY_S
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def rate(self) -> float:
        """Calls a second that are let go at present, infinite while no limit was met."""
        seconds = self._clock() - self._rate_at
        return self._rate * (1 + seconds * (_GROWTH[0] + seconds * _GROWTH[1]))

    async def enter(self, tokens: float, stopped: Callable[[], bool]) -> Turn:
        """Wait for a place in the window and for the limits, or until the run is stopped."""
        async with self._door:  # in the order in which they came
            while not stopped() and (left := self._left_s()) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_S)):
                        await self._changed.wait()
            now = self._clock()
            self._counted_from = min(self._counted_from, now)
            gap_s = max(self._gap_s, 1 / self.rate, self._latency_s / self.window / _AHEAD)
            self._next_at = max(now - _BEHIND_S, self._next_at) + gap_s
            self._tokens_at = max(now, self._tokens_at) + tokens * self._token_s
            self.busy += 1
            self._admitted += 1
            return Turn(now, tokens)

    def answered(self, turn: Turn, tokens: float) -> None:
        """An answer came that took `tokens`; what was reserved beyond that is given back."""
        self._tokens_at -= max(0.0, turn.tokens - tokens) * self._token_s
        took_s = self._clock() - turn.at
        self._latency_s += (took_s - self._latency_s) / 8
        self.window = min(self.most, self.window + (1 / self.window if self._cuts else 1))
        self._leave()

    def limited(self, turn: Turn, pause_s: float) -> None:
        """The endpoint admits no more for now: everybody waits, and is slower afterwards."""
        self._admitted -= 1
        self._tokens_at -= turn.tokens * self._token_s
        now = self._clock()
        if self._cut(turn, now):
            self._measure(now, pause_s)
        self._resume_at = max(self._resume_at, now + pause_s)
        self._next_at = max(self._next_at, self._resume_at)
        self._leave()

    def failed(self, turn: Turn) -> None:
        """The endpoint broke down under the call, or nothing came: fewer at a time."""
        self._cut(turn, self._clock())
        self._leave()

    def _left_s(self) -> float:
        if self.busy >= max(1, int(self.window)):
            return math.inf
        at = max(self._resume_at, self._next_at, self._tokens_at)
        return at - self._clock()

    def _cut(self, turn: Turn, now: float) -> bool:
        """Shrink the window; calls let go before the last time found out the same again."""
        if turn.at < self._cut_at or now - self._cut_at < _SHRINK_EVERY_S:
            return False
        self._cut_at = now
        self._cuts += 1
        self.window = max(1.0, self.window * _SHRINK)
        return True

    def _measure(self, now: float, pause_s: float) -> None:
        """Set the rate by what was admitted since an earlier refusal; too little says nothing.

        While all waited the endpoint had room that nobody used, or a reserve filled up that was
        used later. So the rate lies between what was admitted in all the time and in the rest.
        """
        seconds = now - self._counted_from
        if self._admitted >= _LEAST_CALLS:
            least = self._admitted / max(seconds, _LEAST_SPAN_S)
            most = self._admitted / max(seconds - self._paused_s, _LEAST_SPAN_S)
            self._rate = max(_LEAST_RATE, least * _SHARE, min(most, self.rate) * _SLOWER)
            self._counted_from, self._admitted, self._paused_s = now, 0, 0.0
        else:
            self._rate = max(_LEAST_RATE, self.rate * _SLOWER)
        self._paused_s += pause_s
        self._rate_at = now

    def _leave(self) -> None:
        self.busy -= 1
        self._changed.set()
