"""An inbox that is open in a process that asks it again and again.

A delivery never changes, so each is read once, whoever delivered it; what is added costs itself.
"""

from collections.abc import Iterator

from curation.inbox import Inbox, Line, name_line
from curation.store import Store


class OpenInbox:
    """The lines of an inbox until now, and their names."""

    def __init__(self, inbox: Inbox, store: Store):
        self.lines: list[Line] = []
        self.names: set[str] = set()
        self._inbox, self._store = inbox, store
        self._read: set[str] = set()

    def refresh(self) -> Iterator[Line]:
        """Read what was delivered since, by anybody, and give these lines; `Corrupt` for damage."""
        fresh = [key for key in self._inbox.deliveries(self._store) if key not in self._read]
        for key in fresh:
            lines = self._inbox.read_delivery(self._store, key)
            self._read.add(key)
            self.lines += lines
            self.names.update(map(name_line, lines))
            yield from lines
