"""Rebuilds: what has come in since the newest model version, and whether it is worth another one.

It is the state that decides, the inboxes less what the newest version was built with, and no event:
what comes while nobody looks is not lost, and what was learned from is not waited for.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from curation.bad_cases import read_inbox
from curation.inbox import distinct_lines
from curation.reviews import INBOX as VERDICTS
from curation.reviews import read_said
from curation.rows import digest
from curation.split import half_of
from curation.store import Store
from curation.text import text_key

CLOCK_SLACK_H = 0.1  # by which clocks may differ, or be set back, without a word


@dataclass(frozen=True)
class Waiting:
    """Something in an inbox that no model version was built with; `at` is in Unix seconds."""

    id: str
    noun: str
    at: float


def waiting_cases(store: Store, consumed: Iterable[str]) -> list[Waiting]:
    """Bad cases of the learn half that the newest model version has not seen."""
    seen = set(consumed)
    cases = (case for case in read_inbox(store) if case["id"] not in seen)
    learn = (case for case in cases if half_of(digest(text_key(case["prompt"]))) == "learn")
    return [Waiting(case["id"], "bad case", case["at"]) for case in learn]


def waiting_verdicts(store: Store, consumed: Iterable[str]) -> list[Waiting]:
    """Verdicts that stand and that the newest model version has not seen."""
    delivered = VERDICTS.read(store)
    new = {*read_said(delivered)["id"]} - set(consumed)
    lines = (line for line in distinct_lines(delivered) if line["id"] in new)
    return [Waiting(line["id"], "verdict", line["at"]) for line in lines]


def rebuild_due(
    waiting: Sequence[Waiting],
    *,
    now: float | None = None,
    min_new: int = 20,
    max_wait_h: float = 24.0,
) -> tuple[bool, str]:
    """Whether enough bad cases and verdicts wait for a rebuild, or one too long; and why.

    One from the future was delivered while the clock was wrong: nobody knows how long it waits, so
    it does not wait for that time to come.
    """
    if not waiting:
        return False, "no new bad cases or verdicts"
    now = time.time() if now is None else now
    oldest_h = (now - min(one.at for one in waiting)) / 3600
    newest = max(waiting, key=lambda one: one.at)
    said = _count(waiting)
    if len(waiting) >= min_new:
        return True, f"{said} wait, and a rebuild starts at {min_new}"
    if (ahead_h := (newest.at - now) / 3600) > CLOCK_SLACK_H:
        return True, f"a {newest.noun} was delivered {ahead_h:.1f} h ahead of this clock"
    if oldest_h >= max_wait_h:
        return True, f"{said} wait, the oldest for {oldest_h:.1f} h"
    age = f"the oldest for {oldest_h:.1f} of {max_wait_h:g} h"
    return False, f"{said} wait of {min_new} that start a rebuild, {age}"


def _count(waiting: Sequence[Waiting]) -> str:
    """`1 bad case`, `3 bad cases and 1 verdict`."""
    counts = Counter(one.noun for one in waiting)
    return " and ".join(f"{n:,} {noun}" + "s" * (n > 1) for noun, n in counts.items())
