"""Judgements: what people said of the answers of models, without a word of which model it was.

A question is a row and the one or two answers shown to it, and is named by what these say, in no
order: so it tells nothing of where an answer came from, and what was said of it holds for whichever
versions answer so. The later judgement of a reviewer on a question takes the place of his earlier
one, and `withdraw` takes it back.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from curation.inbox import Delivery, Inbox, Known, Line, distinct_lines
from curation.reviews import WITHDRAW
from curation.rows import clean_text, digest
from curation.store import Store

LEFT, RIGHT, BOTH_GOOD, BOTH_BAD = "left", "right", "both_good", "both_bad"
CHOICES = (LEFT, RIGHT, BOTH_GOOD, BOTH_BAD)
RATED = "rated"
"""What is said of a question of one answer; its marks say the rest."""
BEST = 5
"""Marks go from 1 to this."""
INBOX = Inbox(
    "judgements",
    ("question", "row_id", "shown", "choice", "marks", "comment", "by", "said_at"),
    "judgement",
)
CHOICE_SCHEMA = pl.Schema(
    {
        "question": pl.String,
        "by": pl.String,  # the reviewer
        "choice": pl.String,  # left | right | both_good | both_bad
        "better": pl.String,  # name of the better answer, "" where neither is
    }
)
MARK_SCHEMA = pl.Schema(
    {
        "question": pl.String,
        "by": pl.String,
        "dimension": pl.String,
        "mark": pl.Int64,  # 1 to 5
        "comment": pl.String,
    }
)
_ID = re.compile("[0-9a-f]{32}")


def name_question(row_id: str, answers: Iterable[str]) -> str:
    """Identity of a question, whatever the order of the answers."""
    return digest([row_id, *sorted(map(digest, answers))])


def sides(question: str, answers: Iterable[str], reviewer: str) -> list[str]:
    """The answers as this reviewer sees them, always the same way, each on either side as often.

    It depends on what they say and not on whose they are, so who reads this code is as blind as the
    others. These may see them the other way, so that a habit of one side is no agreement.
    """
    return sorted(answers, key=lambda answer: digest([question, reviewer, answer]))


def add_judgements(
    store: Store, records: Iterable[tuple[str, Any]], *, known: Known | None = None
) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record has the `fields` of the inbox, but `marks` only where its choice is `rated`. One that
    cannot be a judgement is kept in quarantine. `known` is that of `Inbox.add`.
    """
    return INBOX.add(store, records, _read_judgement, known=known)


def read_choices(delivered: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """What stands of the questions of two answers, as `CHOICE_SCHEMA`, sorted."""
    rows = [
        {
            **{name: line[name] for name in ("question", "by", "choice")},
            "better": dict(zip(CHOICES, line["shown"], strict=False)).get(line["choice"], ""),
        }
        for line in _standing(delivered)
        if line["choice"] in CHOICES
    ]
    return pl.DataFrame(rows, schema=CHOICE_SCHEMA).sort("question", "by")


def read_marks(delivered: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """What stands of the questions of one answer, as `MARK_SCHEMA`, sorted."""
    rows = [
        {
            **{name: line[name] for name in ("question", "by", "comment")},
            "dimension": dimension,
            "mark": mark,
        }
        for line in _standing(delivered)
        if line["choice"] == RATED
        for dimension, mark in line["marks"].items()
    ]
    return pl.DataFrame(rows, schema=MARK_SCHEMA).sort("question", "by", "dimension")


def _standing(delivered: Iterable[Mapping[str, Any]]) -> Iterable[Line]:
    """The last line of each reviewer on each question; what was withdrawn has another choice."""
    return {(line["question"], line["by"]): line for line in distinct_lines(delivered)}.values()


def _read_judgement(record: Mapping[str, Any]) -> Line:
    odd = next((n for n in ("question", "row_id") if not _ID.fullmatch(str(record.get(n)))), "")
    if odd:
        raise ValueError(f"{odd!r} is {record.get(odd)!r:.80}, not an id (32 hex digits)")
    choice, shown, marks = (record.get(name) for name in ("choice", "shown", "marks"))
    if choice not in (*CHOICES, RATED, WITHDRAW):
        raise ValueError(f"'choice' is {choice!r:.80}; known are {', '.join(CHOICES)} and {RATED}")
    if not isinstance(shown, list) or not all(_ID.fullmatch(str(name)) for name in shown):
        raise ValueError(f"'shown' is {shown!r:.80}, not the names of the answers")
    if choice != WITHDRAW and len(shown) != (1 if choice == RATED else 2):
        raise ValueError(f"'choice' is {choice!r}, and {len(shown)} answers were shown")
    line = {name: record[name] for name in ("question", "row_id", "shown", "choice")}
    line |= {"marks": check_marks(marks)} if choice == RATED else {}
    for name, field in (("comment", "comment"), ("by", "by"), ("at", "said_at")):
        line[field] = clean_text(record.get(name) or "").strip()
    return line


def check_marks(marks: Any) -> dict[str, int]:
    """The marks by dimension; `ValueError` for what are none."""
    if not isinstance(marks, Mapping) or not marks:
        raise ValueError(f"'marks' is {marks!r:.80}, not a mark for each dimension")
    for dimension, mark in marks.items():
        if type(mark) is not int or not 1 <= mark <= BEST:
            raise ValueError(f"the mark of {dimension!r:.80} is {mark!r:.80}, not 1 to {BEST}")
    return dict(marks)
