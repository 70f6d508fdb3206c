"""The judging desk: hands out one question after the other, and keeps what is said of the answers.

Nothing that it gives out names a version. Several reviewers may sit at one desk, and several
processes have desks on one store; what is said is on disk before the call returns, so who opens the
desk again goes on where he was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from curation.agreement import compare_choices, compare_marks
from curation.judgements import (
    CHOICES,
    INBOX,
    RATED,
    add_judgements,
    check_marks,
    read_choices,
    read_marks,
    sides,
)
from curation.open_inbox import OpenInbox
from curation.review_book import LEASE_S, ReviewBook
from curation.review_desk import check_reviewer
from curation.reviews import WITHDRAW
from curation.rows import clean_text, digest
from curation.store import Store

BOOK = "judgements.sqlite"
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Question:
    """What people are asked: the turns before the answer, and one or two answers.

    `id` is that of `name_question`; of two answers the older version's is the first. `gold` is ""
    where people are not to see it, and `json` says whether answers are shown as JSON.
    """

    id: str
    row_id: str
    turns: tuple[Mapping[str, str], ...]
    answers: tuple[str, ...]
    gold: str = ""
    json: bool = False


class JudgingDesk:
    """Questions in the order in which they are asked, each of so many `judges`.

    With `dimensions` an answer is marked in each of them, else the better of two is chosen.
    """

    def __init__(
        self,
        store: Store,
        questions: Iterable[Question],
        *,
        judges: int = 1,
        dimensions: Sequence[str] = (),
        lease_s: float = LEASE_S,
    ):
        if judges < 1:
            raise ValueError(f"judges is {judges!r}; at least 1 is needed")
        self._store, self._judges, self._dimensions = store, judges, tuple(dimensions)
        self.kind = "rating" if dimensions else "pair"
        self._questions = {question.id: question for question in questions}
        self._lease_s = lease_s
        self._book, self._inbox = ReviewBook(store.root / BOOK), OpenInbox(INBOX, store)
        self._judged: dict[str, set[str]] = {}  # question -> who judged it
        self._passed: dict[str, set[str]] = {}  # reviewer -> questions that he skipped
        self._lock = Lock()
        self._refresh()

    def next_item(self, reviewer: str) -> dict[str, Any] | None:
        """The next question for a reviewer, kept for him for a while; None when none is left."""
        name = check_reviewer(reviewer)
        with self._lock:
            self._refresh()
            asked = (id for id in self._questions if self._asks(id, name))
            id = self._book.lease(name, asked, seconds=self._lease_s)
            return self._describe(id, name) if id else None

    def choose(self, reviewer: str, question: str, choice: str, *, seconds: float = 0.0) -> None:
        """Put which of two answers is better into the inbox: left, right, both_good, both_bad.

        Raises `ValueError` for another choice, and `LookupError` for a question not asked here.
        """
        if choice not in CHOICES or self._dimensions:
            raise ValueError(f"{choice!r:.80} is no answer to this question")
        self._say(reviewer, question, {"choice": choice}, seconds)

    def rate(
        self,
        reviewer: str,
        question: str,
        marks: Mapping[str, Any],
        *,
        comment: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Put the marks of an answer, one for each dimension, into the inbox.

        Raises `ValueError` for marks that are none or not of these dimensions, and `LookupError`
        for a question that is not asked here.
        """
        if {*check_marks(marks)} != {*self._dimensions}:
            raise ValueError(f"marks for {[*marks]}; asked are {[*self._dimensions]}")
        said = {"choice": RATED, "marks": dict(marks), "comment": comment}
        self._say(reviewer, question, said, seconds)

    def skip(self, reviewer: str, question: str) -> None:
        """Leave a question to others; he is not asked again till the desk is opened anew."""
        with self._lock:
            self._passed.setdefault(check_reviewer(reviewer), set()).add(question)

    def undo(self, reviewer: str) -> dict[str, Any] | None:
        """Take back what the reviewer said last, and give him that question again.

        None where he said nothing, or said it last at a desk with other questions.
        """
        name = check_reviewer(reviewer)
        with self._lock:
            act = self._book.last_act(name)
            if act is None or act[1][0] not in self._questions:
                return None
            number, (id, *_) = act
            self._deliver(name, id, {"choice": WITHDRAW})
            self._book.strike(number)
            self._passed.get(name, set()).discard(id)
            self._book.lease(name, [id], seconds=self._lease_s)
            return self._describe(id, name)

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How many of these he judged, how many he can still be asked, and his median seconds."""
        name = check_reviewer(reviewer)
        with self._lock:
            done = sum(name in self._judged.get(id, ()) for id in self._questions)
            left = sum(self._asks(id, name) for id in self._questions)
            return {"done": done, "left": left, "median_s": self._book.pace(name)[1]}

    def agreement(self) -> dict[str, Any]:
        """How far the reviewers agree on these questions; which answer they prefer is not told."""
        with self._lock:
            self._refresh()
            if self._dimensions:
                marks = read_marks(self._inbox.lines)
                return {"dimensions": compare_marks(marks, [*self._questions])}
            names = {id: [*map(digest, q.answers)] for id, q in self._questions.items()}
            return compare_choices(read_choices(self._inbox.lines), names)

    def close(self) -> None:
        """Release the book."""
        self._book.close()

    def _asks(self, id: str, reviewer: str) -> bool:
        judged = self._judged.get(id, set())
        passed = id in self._passed.get(reviewer, ())
        return not passed and reviewer not in judged and len(judged) < self._judges

    def _say(self, reviewer: str, id: str, said: Mapping[str, Any], seconds: float) -> None:
        name = check_reviewer(reviewer)
        with self._lock:
            if id not in self._questions:
                raise LookupError(f"no question here has the id {id!r:.80}")
            self._deliver(name, id, said)
            self._book.note(name, [id], seconds=min(max(seconds, 0.0), _LONGEST_S))

    def _deliver(self, reviewer: str, id: str, said: Mapping[str, Any]) -> None:
        """`ValueError` with the reason where it may not enter; nothing is kept then."""
        question = self._questions[id]
        shown = [*map(digest, sides(id, question.answers, reviewer))]
        record = {"question": id, "row_id": question.row_id, "shown": shown, "by": reviewer}
        record |= {**said, "at": datetime.now(UTC).isoformat()}
        clean_text(said.get("comment", ""))  # what is refused here is not even kept as refused
        self._refresh()
        delivery = add_judgements(self._store, [(f"judgement {id}", record)], known=self._inbox)
        if delivery.quarantined:
            raise ValueError(delivery.quarantined[0][1])
        self._refresh()

    def _refresh(self) -> None:
        """Read what was said since, here or elsewhere."""
        for line in self._inbox.refresh():
            if "id" in line:
                judged = self._judged.setdefault(line["question"], set())
                (judged.discard if line["choice"] == WITHDRAW else judged.add)(line["by"])

    def _describe(self, id: str, reviewer: str) -> dict[str, Any]:
        """The question as a page shows it to this reviewer."""
        question = self._questions[id]
        return {
            "kind": self.kind,
            "id": id,
            "turns": [*question.turns],
            "answers": sides(id, question.answers, reviewer),
            "gold": question.gold,
            "json": question.json,
            "dimensions": [*self._dimensions],
        }
