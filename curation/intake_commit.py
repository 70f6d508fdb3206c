"""Group commit: what many posts bring at the same time is one delivery and one wait for the disk.

A disk syncs a few hundred times a second at best, whatever is written. So one thread writes: while
it waits for the disk the next posts gather, and all of them are the next delivery.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from curation.bad_cases import INBOX, add_bad_cases
from curation.delivery import Outcome
from curation.inbox import PART_LINES, Known
from curation.store import Store

GATHER_S = 0.002
"""Wait so long for company before a delivery: fewer files, and no post is noticeably later."""
MOST_WAITING = 1_000
"""Posts that may wait; the disk is too slow for more."""


class Busy(RuntimeError):
    """Too many posts wait for the disk already."""


@dataclass(frozen=True)
class _Post:
    records: Sequence[tuple[str, Any]]
    done: "Future[tuple[Outcome, ...]]" = field(default_factory=Future)


class Committer:
    """Puts posts into the inbox of a store until it is closed.

    What the last delivery failed with stands in `failed`, "" when it went well. Raises `Corrupt`
    for a damaged inbox.
    """

    def __init__(self, store: Store, *, found_by: str = ""):
        self.failed = ""
        self._store, self._found_by = store, found_by
        self._known = Known(INBOX, store)
        self._waiting: list[_Post] = []
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    def submit(self, records: Sequence[tuple[str, Any]]) -> "Future[tuple[Outcome, ...]]":
        """What becomes of each (position, record) pair, known once all of them are on disk.

        The future raises what went wrong; then none of its post is acknowledged, and the post may
        be sent again. Raises `Busy` when too many wait, or the committer is closed.
        """
        post = _Post(records)
        post.done.set_running_or_notify_cancel()  # who waited may go, and the post is written
        with self._change:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise Busy("closing" if self._closed else f"{MOST_WAITING:,} posts wait for disk")
            self._waiting.append(post)
            self._change.notify()
        return post.done

    def close(self) -> None:
        """Return once all that was submitted is on disk."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _work(self) -> None:
        while group := self._next_group():
            try:
                outcomes = self._commit(group)
            except Exception as error:  # theirs to be told; the next group may fare better
                self.failed = str(error) or type(error).__name__
                for post in group:
                    post.done.set_exception(error)
                continue
            self.failed = ""
            for post in group:
                n = len(post.records)
                post.done.set_result(outcomes[:n])
                outcomes = outcomes[n:]

    def _next_group(self) -> list[_Post]:
        """Posts that wait, of one delivery together; none once the committer is closed."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            closed = self._closed
        if not closed:
            time.sleep(GATHER_S)
        with self._change:
            taken, lines = 0, 0
            for post in self._waiting:
                lines += len(post.records)
                if taken and lines > PART_LINES:
                    break
                taken += 1
            group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    def _commit(self, group: Sequence[_Post]) -> tuple[Outcome, ...]:
        records = [pair for post in group for pair in post.records]
        delivery = add_bad_cases(self._store, records, found_by=self._found_by, known=self._known)
        return delivery.outcomes
