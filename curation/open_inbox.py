"""An inbox that is open in a process that asks it again and again.

A delivery never changes, so each is read once, whoever delivered it; what is added costs itself.
"""

from collections.abc import Iterator

from curation.inbox import Inbox, Known, Line, name_line
from curation.store import Store


class OpenInbox:
    """The lines of an inbox until now, and what `Inbox.add` wants to know of them."""

    def __init__(self, inbox: Inbox, store: Store):
        self.lines: list[Line] = []
        self.known = Known(set(), 0)
        self._inbox, self._store = inbox, store
        self._read: set[str] = set()

    def refresh(self) -> Iterator[Line]:
        """Read what was delivered since, by anybody, and give these lines; `Corrupt` for damage.

        The folder is listed once. After that a new delivery has the first free number from their
        count on, so it is enough to look there.
        """
        fresh = [] if self._read else self._inbox.deliveries(self._store)
        for key in fresh:
            yield from self._take(key)
        number = len(self._read)
        while (key := self._inbox.key(number)) in self._read or self._store.local.exists(key):
            if key not in self._read:
                yield from self._take(key)
            number += 1

    def _take(self, key: str) -> list[Line]:
        lines = self._inbox.read_delivery(self._store, key)
        self._read.add(key)
        self.lines += lines
        self.known.names.update(map(name_line, lines))
        self.known.deliveries = len(self._read)
        return lines
