"""The review desk: hands out one row after the other, and puts what is said of it into the inbox.

Several reviewers may sit at one desk, and several processes have desks on one store. What is said
is on disk before the call returns. The queue is made anew when a reviewer has been through it and
something was said or built meanwhile.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from curation.agreement import compare_reviewers
from curation.fixes import check_answer, edit_records
from curation.lineage.finding import row_places, rows_by_id
from curation.lineage.views import newest_view
from curation.open_inbox import OpenInbox
from curation.review_book import BOOK, LEASE_S, ReviewBook
from curation.review_item import describe_item, read_scores
from curation.review_queue import build_queue
from curation.review_rows import read_material
from curation.review_samples import sample_groups
from curation.reviews import GOLD, INBOX, WITHDRAW, add_verdicts, read_said
from curation.rows import clean_text
from curation.store import Store
from curation.tasks._base import Task
from curation.verdicts import ACCEPT, REJECT

_LONGEST_NAME = 60
_LONGEST_S = 3600.0
_UNDONE = {"why": "undone", "detail": "", "value": None, "threshold": None}


class Desk:
    """The rows of a recipe that wait for people; `options` are those of `build_queue`.

    Raises `LookupError` when nothing has been built yet.
    """

    kind = "row"
    """What its items are."""

    def __init__(
        self,
        store: Store,
        recipe: str,
        *,
        keep: Sequence[str],
        task: Task,
        lease_s: float = LEASE_S,
        **options: Any,
    ):
        self.store, self.recipe, self.keep, self.task = store, recipe, tuple(keep), task
        self._options, self._lease_s = options, lease_s
        self._book, self._inbox = ReviewBook(store.root / BOOK), OpenInbox(INBOX, store)
        self._voted: dict[str, set[str]] = {}
        self._passed: dict[str, set[str]] = {}  # reviewer -> rows that he skipped, or that are gone
        self._lock = Lock()
        self._refresh()
        self._load()

    def next_item(self, reviewer: str) -> dict[str, Any] | None:
        """The next row for a reviewer, kept for him for a while; None when nothing waits for him.

        The row that he has before him is his next until he says something of it or skips it.
        """
        with self._lock:
            self._refresh()
            return self._next(check_reviewer(reviewer))

    def say(
        self,
        reviewer: str,
        row_id: str,
        verdict: str,
        *,
        reason: str = "",
        answer: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Put a verdict into the inbox; with an `answer` the row is rejected and set right.

        Raises `ValueError` for a verdict or an answer that is none, and `LookupError` for a row
        that there is not.
        """
        said = {"by": check_reviewer(reviewer), "reason": reason, "at": _now()}
        if verdict not in (ACCEPT, REJECT):
            raise ValueError(f"{verdict!r} is no verdict; say {ACCEPT!r} or {REJECT!r}")
        with self._lock:
            row = self._row(row_id)
            records = [{"id": row_id, "verdict": verdict, **said}]
            if answer:
                records = edit_records(row, answer, task=self.task, **said)
            self._deliver(records)
            seconds = min(max(seconds, 0.0), _LONGEST_S)
            self._book.note(said["by"], [record["id"] for record in records], seconds=seconds)

    def skip(self, reviewer: str, row_id: str) -> None:
        """Leave a row to others; this reviewer is not asked again till the desk is opened anew."""
        with self._lock:
            self._passed.setdefault(check_reviewer(reviewer), set()).add(row_id)

    def undo(self, reviewer: str) -> dict[str, Any] | None:
        """Take back what the reviewer said last, and give him that row again; None without one."""
        name = check_reviewer(reviewer)
        with self._lock:
            if (act := self._book.last_act(name)) is None:
                return None
            number, ids = act
            said = {"verdict": WITHDRAW, "by": name, "at": _now()}
            self._deliver([{"id": row_id, **said} for row_id in ids])
            self._book.strike(number)
            self._passed.get(name, set()).discard(ids[0])
            self._book.lease(name, ids[:1], seconds=self._lease_s)
            return self._describe(ids[0])

    def check(self, row_id: str, answer: str) -> str:
        """Why an answer may not take the place of the row's own, "" where it may."""
        with self._lock:
            return check_answer(self._row(row_id), answer, task=self.task)

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How many rows the reviewer judged, how many wait for him, and his median seconds."""
        name = check_reviewer(reviewer)
        with self._lock:
            done, seconds = self._book.pace(name)
            left = sum(self._asks(line, name) for line in self._queue.values())
        return {"done": done, "left": left, "median_s": seconds}

    def agreement(self) -> dict[str, Any]:
        """How far the reviewers agree, as `agreement.compare_reviewers` says it."""
        with self._lock:
            self._refresh()
            return compare_reviewers(read_said(self._inbox.lines))

    def samples(self) -> list[dict[str, Any]]:
        """What the acceptance sampling of each error type and source has come to."""
        with self._lock:
            self._refresh()
            seed = self._options.get("seed", 0)
            return sample_groups(self._material.rows, read_said(self._inbox.lines), seed=seed)

    def close(self) -> None:
        """Release the book."""
        self._book.close()

    def _next(self, reviewer: str) -> dict[str, Any] | None:
        while True:
            asked = (i for i, line in self._queue.items() if self._asks(line, reviewer))
            row_id = self._book.lease(reviewer, asked, seconds=self._lease_s)
            if row_id:
                try:
                    return self._describe(row_id)
                except LookupError:  # a verdict on a row that a later build has no more
                    self._passed.setdefault(reviewer, set()).add(row_id)
            elif self._state() == self._loaded:
                return None
            else:
                self._load()

    def _asks(self, line: Mapping[str, Any], reviewer: str) -> bool:
        if line["id"] in self._passed.get(reviewer, ()):
            return False
        voted = self._voted.get(line["id"], set())
        return reviewer not in voted and (line["wanted"] is None or len(voted) < line["wanted"])

    def _deliver(self, records: Sequence[dict[str, str]]) -> None:
        """All the records or none; `ValueError` with the reason where one may not enter."""
        self._refresh()
        for record in records:
            clean_text("".join(record.values()))
        given = [(f"review of {record['id']}", record) for record in records]
        delivery = add_verdicts(self.store, given, known=self._inbox)
        if delivery.quarantined:
            raise ValueError(delivery.quarantined[0][1])
        self._refresh()

    def _refresh(self) -> None:
        """Read what was said since, here or elsewhere."""
        for line in self._inbox.refresh():
            if "id" in line:
                voted = self._voted.setdefault(line["row_id"], set())
                (voted.discard if line["verdict"] == WITHDRAW else voted.add)(line["by"])

    def _load(self) -> None:
        """Make the queue anew from what is built and said now."""
        self._loaded = self._state()
        self._view = newest_view(self.store, self.recipe)
        self._places = row_places(self._view)
        self._material = read_material(self._view, self.keep)
        said = read_said(self._inbox.lines)
        queue = build_queue(self._material, said, **self._options)
        self._queue = {line["id"]: line for line in queue.iter_rows(named=True)}
        claims = self._material.conflicts.select("ids").iter_rows()
        self._rivals = {i: ids for (ids,) in claims for i in ids}
        ids = {*self._queue, *(i for row in self._queue for i in self._rivals.get(row, ()))}
        self._rows = {row["id"]: row for row in rows_by_id(self._places, sorted(ids)).to_dicts()}
        self._scores = read_scores(self._view, [*self._queue])

    def _state(self) -> tuple[int, list[str]]:
        """What the queue is made from: how much was said, and which versions there are."""
        steps = newest_view(self.store, self.recipe).steps
        return len(self._inbox.lines), sorted(version.key for version in steps.values())

    def _row(self, row_id: str) -> dict[str, Any]:
        """A row, of the queue or of the store."""
        if row_id in self._rows:
            return self._rows[row_id]
        found = rows_by_id(self._places, [row_id]).to_dicts()
        if not found:
            raise LookupError(f"no row of {self.recipe!r} has the id {row_id!r:.80}")
        return found[0]

    def _describe(self, row_id: str) -> dict[str, Any]:
        row = self._row(row_id)
        others = (i for i in self._rivals.get(row_id, ()) if i != row_id and i in self._rows)
        rivals = [
            {
                "id": other["id"],
                "source": other["source"],
                "answer": other["messages"][-1]["content"],
            }
            for other in map(self._row, others)
        ]
        asked = self._queue.get(row_id, _UNDONE)
        scores = self._scores.get(row_id, {})
        return describe_item(row, asked, task=self.task, scores=scores, rivals=rivals)


def check_reviewer(name: str) -> str:
    """The name of a reviewer as it is kept; `ValueError` for one that cannot be."""
    name = " ".join(clean_text(name).split())
    if not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"a reviewer's name has 1 to {_LONGEST_NAME} characters")
    if name == GOLD:
        raise ValueError(f"{GOLD!r} is whose verdicts are known to be right; take your own name")
    return name


def _now() -> str:
    return datetime.now(UTC).isoformat()
