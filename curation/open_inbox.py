"""An inbox that is open in a process that asks it again and again.

A delivery never changes, so each is read once, whoever delivered it; what is added costs itself.
"""

from collections.abc import Iterable

from curation.inbox import Inbox, Known, Line
from curation.store import Store


class OpenInbox(Known):
    """The lines of an inbox until now; also what `Inbox.add` wants to know of them."""

    def __init__(self, inbox: Inbox, store: Store):
        self.lines: list[Line] = []
        self._given = 0
        super().__init__(inbox, store)

    def refresh(self) -> list[Line]:
        """Read what was delivered since, by anybody, and give these lines; `Corrupt` for damage."""
        self.catch_up()
        fresh, self._given = self.lines[self._given :], len(self.lines)
        return fresh

    def add(self, number: int, names: Iterable[str]) -> None:
        """These lines are on disk now; they are read in their turn, as those of others are."""
        self.names.update(names)
        self._unsettled = []

    def _take(self, key: str) -> list[Line]:
        lines = super()._take(key)
        self.lines += lines
        return lines
