"""Engine `ray`: parts are tasks of a Ray cluster, which schedules, moves and repeats them.

A worker opens the store itself and loads the function it is sent once, with whatever that loads in
turn. Winnow has to be installed on every node, and every node has to reach the store.
"""

import logging
import os
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from curation.engines._base import Engine
from curation.plugins import plugin

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports to nobody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a scorer's model sees the node's GPUs
}
_ANSWER_S = 10.0
_KEPT = 2
"""So many functions stay loaded in a worker: one, or the two of an exchange."""


@plugin()
def ray(*, address: str = "", from_rows: int = 100_000) -> Engine:
    """Ray at `address` (`auto` or `host:port`), for work on at least so many rows.

    Without an address it is the one that `RAY_ADDRESS` names or that runs on this machine, else one
    that is started here and ends with this process. Raises `ValueError` when Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError("engine 'ray' needs Ray: pip install 'winnow-sft[ray]'")
    return RayEngine(address, from_rows)


@dataclass(frozen=True)
class RayEngine:
    """Ray core tasks; the connection is made when it is first asked for."""

    address: str
    least: int

    @property
    def workers(self) -> int:
        """Its processors, as Ray counts them now."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    def map(self, work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        task, sent = self._ray.remote(_apply), self._send(work)
        return self._in_order(task.remote(*sent, part) for part in parts)

    def exchange(
        self,
        split: Callable[[Any], Sequence[Any]],
        parts: Iterable[Any],
        join: Callable[[list[Any]], Any],
        pieces: int,
    ) -> Iterator[Any]:
        task, sent = self._ray.remote(_apply).options(num_returns=pieces), self._send(split)
        by_part = [task.remote(*sent, part) for part in parts]
        task, sent = self._ray.remote(_apply_to_all), self._send(join)
        return self._in_order(task.remote(*sent, *some) for some in zip(*by_part, strict=True))

    @cached_property
    def _ray(self) -> Any:
        import ray

        if not ray.is_initialized():
            os.environ.update(_SETTINGS)
            address = self.address or os.environ.get("RAY_ADDRESS") or None
            try:
                _knock(address or "")
                ray.init(address, include_dashboard=False, logging_level=logging.WARNING)
            except (OSError, RuntimeError, ValueError) as error:
                raise OSError(
                    f"engine 'ray' finds no Ray at {address!r}: {_first_line(error)}"
                ) from None
        return ray

    def _send(self, work: Callable[[Any], Any]) -> tuple[str, list[Any]]:
        """A name for the function and, in a list, where it lies: so a worker fetches it once."""
        sent = self._ray.put(work)
        return sent.hex(), [sent]

    def _in_order(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """The results of tasks, of which two for each worker are under way."""
        most, waiting = 2 * self.workers, deque[Any]()
        try:
            for task in tasks:
                waiting.append(task)
                if len(waiting) >= most:
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for task in waiting:
                self._ray.cancel(task)

    def _result(self, task: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(task)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise OSError(
                f"engine 'ray' lost a task ({type(error).__name__}: {_first_line(error)}); what "
                "was done is kept: run again"
            ) from None


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens; Ray itself would go on asking for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()


_LOADED: OrderedDict[str, Callable[[Any], Any]] = OrderedDict()
"""In a worker: the functions it was last sent, by name."""


def _apply(name: str, sent: list[Any], part: Any) -> Any:
    return _load(name, sent)(part)


def _apply_to_all(name: str, sent: list[Any], *parts: Any) -> Any:
    return _load(name, sent)(list(parts))


def _load(name: str, sent: list[Any]) -> Callable[[Any], Any]:
    if name not in _LOADED:
        import ray

        _LOADED[name] = ray.get(sent[0])
        while len(_LOADED) > _KEPT:
            _LOADED.popitem(last=False)
    return _LOADED[name]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")
