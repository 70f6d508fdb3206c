"""What an inbox says of a delivery: for each record whether it is new, known or quarantined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Unfinished(ValueError):
    """A record that lacks something a person can add; `said` is what it holds, kept whole."""

    def __init__(self, reason: str, said: Mapping[str, Any]):
        super().__init__(reason)
        self.said = dict(said)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivered record: `new`, `known` or `quarantined`.

    `id` is "" for one that was quarantined, `reason` for the others.
    """

    position: str
    outcome: str
    id: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Delivery:
    """What became of delivered records, one by one."""

    noun: str
    outcomes: tuple[Outcome, ...]

    @property
    def new(self) -> tuple[str, ...]:
        """Ids of the lines that nobody had delivered before."""
        return tuple(one.id for one in self.outcomes if one.outcome == "new")

    @property
    def duplicate(self) -> int:
        """How many were known."""
        return sum(one.outcome == "known" for one in self.outcomes)

    @property
    def quarantined(self) -> tuple[tuple[str, str], ...]:
        """(position, reason) of those that were refused."""
        refused = (one for one in self.outcomes if one.outcome == "quarantined")
        return tuple((one.position, one.reason) for one in refused)

    def line(self) -> str:
        """One line for people."""
        known, refused = self.duplicate, len(self.quarantined)
        return f"{len(self.new)} new {self.noun}s, {known} already known, {refused} quarantined"
