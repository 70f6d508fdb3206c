"""What a page may call: the desk of rows, and the desk of answers whose versions nobody sees.

A call takes what the page said, a JSON object, and gives what it is to show. Both desks hand out
items, take them back and are skipped in the same way; they differ in what is said of an item.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from curation.judging_desk import JudgingDesk
from curation.review_desk import Desk as RowDesk

Desk = RowDesk | JudgingDesk
Said = Mapping[str, Any]
Call = Callable[[Said], Any]


def calls_of(desk: Desk) -> dict[str, Call]:
    """The calls that a desk answers, by name."""
    shared = {"next": _next, "skip": _skip, "undo": _undo}
    own = (
        {"say": _say, "check": _check, "report": _report}
        if isinstance(desk, RowDesk)
        else {"choose": _choose, "rate": _rate, "report": _agreement}
    )
    return {name: partial(call, desk) for name, call in (shared | own).items()}


def _next(desk: Desk, said: Said) -> dict[str, Any]:
    name = _text(said, "reviewer")
    return {"item": desk.next_item(name), "progress": desk.progress(name)}


def _skip(desk: Desk, said: Said) -> dict[str, Any]:
    desk.skip(_text(said, "reviewer"), _text(said, "id"))
    return _next(desk, said)


def _undo(desk: Desk, said: Said) -> dict[str, Any]:
    name = _text(said, "reviewer")
    return {"item": desk.undo(name), "progress": desk.progress(name)}


def _say(desk: RowDesk, said: Said) -> dict[str, Any]:
    words = {name: _text(said, name, "") for name in ("reason", "answer")}
    row, verdict = _text(said, "id"), _text(said, "verdict")
    desk.say(_text(said, "reviewer"), row, verdict, seconds=_seconds(said), **words)
    return _next(desk, said)


def _check(desk: RowDesk, said: Said) -> dict[str, Any]:
    return {"reason": desk.check(_text(said, "id"), _text(said, "answer"))}


def _report(desk: RowDesk, _: Said) -> dict[str, Any]:
    return {"agreement": desk.agreement(), "samples": desk.samples()}


def _choose(desk: JudgingDesk, said: Said) -> dict[str, Any]:
    question, choice = _text(said, "id"), _text(said, "choice")
    desk.choose(_text(said, "reviewer"), question, choice, seconds=_seconds(said))
    return _next(desk, said)


def _rate(desk: JudgingDesk, said: Said) -> dict[str, Any]:
    marks = said.get("marks")
    if not isinstance(marks, dict):
        raise ValueError(f"'marks' is {marks!r:.80}, not a mark for each dimension")
    told = {"comment": _text(said, "comment", ""), "seconds": _seconds(said)}
    desk.rate(_text(said, "reviewer"), _text(said, "id"), marks, **told)
    return _next(desk, said)


def _agreement(desk: JudgingDesk, _: Said) -> dict[str, Any]:
    return {"agreement": desk.agreement()}


def _seconds(said: Said) -> float:
    seconds = said.get("seconds", 0.0)
    if not isinstance(seconds, int | float):
        raise ValueError(f"'seconds' is {seconds!r:.80}, not a number")
    return float(seconds)


def _text(said: Said, name: str, default: str | None = None) -> str:
    value = said.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {value!r:.80}, not text")
    return value
