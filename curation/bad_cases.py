"""The bad-case inbox: what the model got wrong, delivered once, acknowledged when it is on disk.

A bad case is a prompt, the answer it should have got and the answer it got. A delivery is one
immutable file; the same case delivered again adds nothing. Half of the clusters are for learning,
the other half are held back to see whether the lesson was understood: a held case never reaches a
prompt, an augmenter or a training set.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curation.accounts import Account
from curation.inbox import Delivery, Inbox, distinct_lines, tally_delivered, tally_lines
from curation.plugins import nearest
from curation.rows import clean_text, dialogue, digest, row_id
from curation.split import half_of
from curation.store import Store
from curation.tasks._base import Task
from curation.text import text_key

BAD_CASE_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "prompt": pl.String,
        "gold": pl.String,
        "predicted": pl.String,
        "found_by": pl.String,  # model version id, or who delivered it
        "half": pl.String,  # learn | hold
        "cluster": pl.String,
        "signature": pl.String,  # what kind of error it is, by the task
        "row_id": pl.String,  # id of the corrected row
    }
)
FIELDS = ("prompt", "gold", "predicted")
INBOX = Inbox("intake", FIELDS, "bad case")
CLOCK_SLACK_H = 0.1  # by which clocks may differ, or be set back, without a word


def add_bad_cases(
    store: Store, records: Iterable[tuple[str, Any]], *, found_by: str = ""
) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record needs `prompt`, `gold` and `predicted` as text; one that has not is kept in quarantine.
    Raises `ValueError` for a `found_by` that may not stand in a text.
    """
    found_by = clean_text(found_by)
    return INBOX.add(store, records, lambda record: _read_case(record, found_by))


def read_deliveries(store: Store) -> list[dict[str, Any]]:
    """Every line of every delivery in its order, quarantined ones too; `Corrupt` for a damaged one.

    A line is there twice when two processes delivered it at once.
    """
    return INBOX.read(store)


def read_inbox(store: Store) -> list[dict[str, Any]]:
    """Every acknowledged bad case, in order of delivery, once each; `Corrupt` for a damaged one."""
    return distinct_lines(read_deliveries(store))


def read_quarantine(store: Store) -> list[dict[str, str]]:
    """`position`, `reason` and `raw` of each line that was no bad case, in order of delivery."""
    return INBOX.quarantined(store)


def inbox_digest(delivered: Iterable[Mapping[str, Any]], found_by: str = "") -> str:
    """Digest of which bad cases a snapshot would hold of what `read_deliveries` said."""
    return digest(sorted(case["id"] for case in _chosen(distinct_lines(delivered), found_by)))


def snapshot_inbox(
    store: Store,
    *,
    task: Task,
    found_by: str = "",
    delivered: Sequence[Mapping[str, Any]] | None = None,
) -> pl.DataFrame:
    """The inbox as a frame of `BAD_CASE_SCHEMA`, sorted by id.

    `found_by` limits it to the cases of these model versions (comma-separated); `none` leaves it
    empty. `delivered` is what `read_deliveries` said, where that was asked before.
    """
    rows = []
    cases = distinct_lines(read_deliveries(store) if delivered is None else delivered)
    for case in _chosen(cases, found_by):
        cluster = digest(text_key(case["prompt"]))
        corrected = row_id(dialogue(case["prompt"], case["gold"], system=task.system))
        rows.append(
            {
                **{name: case[name] for name in ("id", *FIELDS, "found_by")},
                "half": half_of(cluster),
                "cluster": cluster,
                "signature": task.signature(case["gold"], case["predicted"]) or "equal",
                "row_id": corrected,
            }
        )
    return pl.DataFrame(rows, schema=BAD_CASE_SCHEMA).sort("id")


def account_inbox(
    delivered: Sequence[Mapping[str, Any]], snapshot: pl.DataFrame, *, found_by: str = ""
) -> Account:
    """What was delivered against what became of it: `learn` and `hold` as the snapshot has them.

    Besides these, lines were `quarantined`, a `duplicate` of another, or `not asked for` by
    `found_by`.
    """
    tallies = tally_delivered(delivered)
    cases = distinct_lines(delivered)
    unasked = {case["id"] for case in cases} - {case["id"] for case in _chosen(cases, found_by)}
    halves = {half: snapshot.filter(pl.col("half") == half)["id"] for half in ("learn", "hold")}
    came = {"delivered": tallies.pop("delivered")}
    left = {half: tally_lines(ids) for half, ids in halves.items()}
    return Account(came, {**left, "not asked for": tally_lines(unasked), **tallies})


def waiting_cases(store: Store, consumed: Iterable[str]) -> list[dict[str, Any]]:
    """Bad cases of the learn half that the newest model version has not seen."""
    seen = set(consumed)
    cases = (case for case in read_inbox(store) if case["id"] not in seen)
    return [case for case in cases if half_of(digest(text_key(case["prompt"]))) == "learn"]


def rebuild_due(
    waiting: list[dict[str, Any]],
    *,
    now: float | None = None,
    min_new: int = 20,
    max_wait_h: float = 24.0,
) -> tuple[bool, str]:
    """Whether enough bad cases wait for a rebuild, or the oldest waits too long; and why.

    A case from the future was delivered while the clock was wrong: nobody knows how long it waits,
    so it does not wait for that time to come.
    """
    if not waiting:
        return False, "no new bad cases"
    now = time.time() if now is None else now
    oldest_h = (now - min(case["at"] for case in waiting)) / 3600
    if len(waiting) >= min_new:
        return True, f"{len(waiting)} new bad cases wait (a rebuild starts at {min_new})"
    if (ahead_h := (max(case["at"] for case in waiting) - now) / 3600) > CLOCK_SLACK_H:
        return True, f"a bad case was delivered {ahead_h:.1f} h ahead of this clock"
    if oldest_h >= max_wait_h:
        return True, f"the oldest of {len(waiting)} bad cases waits for {oldest_h:.1f} h"
    age = f"the oldest for {oldest_h:.1f} of {max_wait_h:g} h"
    return False, f"{len(waiting)} of {min_new} bad cases wait, {age}"


def _read_case(record: Mapping[str, Any], found_by: str) -> dict[str, Any]:
    missing = [name for name in FIELDS if not isinstance(record.get(name), str)]
    if missing:
        hint = nearest(missing[0], [str(k) for k in record]) if record else ""
        raise ValueError(f"no text under {missing[0]!r}{hint}")
    case = {name: clean_text(record[name]) for name in FIELDS}
    if not case["prompt"].strip() or not case["gold"].strip():
        raise ValueError("prompt or gold is empty")
    return {**case, "found_by": clean_text(str(record.get("found_by") or found_by))}


def _chosen(cases: Iterable[dict[str, Any]], found_by: str) -> list[dict[str, Any]]:
    names = {name.strip() for name in found_by.split(",")} - {""}
    return [case for case in cases if not names or case["found_by"] in names]
