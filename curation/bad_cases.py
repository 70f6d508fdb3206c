"""The bad-case inbox: what the model got wrong, delivered once, acknowledged when it is on disk.

A bad case is a prompt, the answer it should have got and the answer it got. A delivery is one
immutable file; the same case delivered again adds nothing. Half of the clusters are for learning,
the other half are held back to see whether the lesson was understood: a held case never reaches a
prompt, an augmenter or a training set.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import polars as pl

from curation.blobs import Corrupt
from curation.plugins import nearest
from curation.rows import canonical_json, clean_text, dialogue, digest, row_id
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
CLOCK_SLACK_H = 0.1  # by which clocks may differ, or be set back, without a word


@dataclass(frozen=True)
class Delivery:
    """What became of delivered records: ids that are new, how many were known, what was refused."""

    new: tuple[str, ...]
    duplicate: int
    quarantined: tuple[tuple[str, str], ...]  # (position, reason)

    def line(self) -> str:
        """One line for people."""
        known, refused = self.duplicate, len(self.quarantined)
        return f"{len(self.new)} new bad cases, {known} already known, {refused} quarantined"


def add_bad_cases(
    store: Store, records: Iterable[tuple[str, Any]], *, found_by: str = ""
) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record needs `prompt`, `gold` and `predicted` as text. One that has not is kept in quarantine
    with its position and reason, and the others go on.
    """
    known = {case["id"] for case in read_inbox(store)}
    lines, new, refused, duplicate = [], [], [], 0
    for position, record in records:
        case, reason = _read_case(record, found_by)
        if reason:
            refused.append((position, reason))
            raw = str(record) if isinstance(record, Exception) else canonical_json(record)
            lines.append({"quarantined": reason, "position": position, "raw": raw[:2000]})
        elif case["id"] in known:
            duplicate += 1
        else:
            known.add(case["id"])
            new.append(case["id"])
            lines.append(case)
    if lines:
        _deliver(store, lines)
    elif duplicate:  # perhaps known from a process that was killed before it was safe
        store.local.settle(_deliveries(store))
    return Delivery(tuple(new), duplicate, tuple(refused))


def read_inbox(store: Store) -> list[dict[str, Any]]:
    """Every acknowledged bad case, in order of delivery, once each; `Corrupt` for a damaged one."""
    cases: dict[str, dict[str, Any]] = {}
    for key in _deliveries(store):
        path = store.root / key
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.name!r} in the inbox is no file of its own; take it away")
        for number, line in enumerate(store.local.read(key).split(b"\n")[:-1], 1):
            record = _read_line(line, f"line {number} of {key} in {str(store.root)!r}")
            if "id" in record:
                cases.setdefault(record["id"], record)
    return list(cases.values())


def inbox_digest(store: Store, found_by: str = "") -> str:
    """Digest of which bad cases a snapshot would hold."""
    return digest(sorted(case["id"] for case in _chosen(store, found_by)))


def snapshot_inbox(store: Store, *, task: Task, found_by: str = "") -> pl.DataFrame:
    """The inbox as a frame of `BAD_CASE_SCHEMA`, sorted by id.

    `found_by` limits it to the cases of these model versions (comma-separated); `none` leaves it
    empty.
    """
    rows = []
    for case in _chosen(store, found_by):
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


def find_error_types(cases: pl.DataFrame, *, rows_per_case: int = 6) -> pl.DataFrame:
    """Learn-half bad cases by error signature, with how many rows each type should get.

    Returns `signature`, `n`, `quota`, `name`, most frequent first. The total is `rows_per_case` for
    each case; a type's share of it goes with the square root of its frequency, so that a rare error
    is not drowned by a common one.
    """
    learn = cases.filter(pl.col("half") == "learn")
    counts = learn.group_by("signature").agg(pl.len().alias("n").cast(pl.Int64))
    counts = counts.sort(["n", "signature"], descending=[True, False])
    roots = [sqrt(n) for n in counts["n"]]
    total = rows_per_case * learn.height
    quota = [round(total * root / sum(roots)) for root in roots]
    names = [_readable(s) for s in counts["signature"]]
    return counts.with_columns(
        quota=pl.Series(quota, dtype=pl.Int64), name=pl.Series(names, dtype=pl.String)
    )


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


def _read_case(record: Any, found_by: str) -> tuple[dict[str, Any], str]:
    if not isinstance(record, Mapping):
        return {}, str(record) if isinstance(record, ValueError) else "not a JSON object"
    missing = [name for name in FIELDS if not isinstance(record.get(name), str)]
    if missing:
        hint = nearest(missing[0], [str(k) for k in record]) if record else ""
        return {}, f"no text under {missing[0]!r}{hint}"
    try:
        case = {name: clean_text(record[name]) for name in FIELDS}
    except ValueError as error:
        return {}, str(error)
    if not case["prompt"].strip() or not case["gold"].strip():
        return {}, "prompt or gold is empty"
    by = record.get("found_by") or found_by
    return {"id": digest(case), **case, "found_by": str(by), "at": time.time()}, ""


def _read_line(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if "id" in record and record["id"] != digest({name: record[name] for name in FIELDS}):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise Corrupt(f"{where} was damaged: it is no bad case as it was delivered") from None
    return record


def _deliver(store: Store, lines: list[dict[str, Any]]) -> None:
    """One new file, whole or not at all; its number keeps deliveries in order."""
    data = "".join(canonical_json(line) + "\n" for line in lines).encode()
    number = len(_deliveries(store))
    with store.leases.adding():
        while not store.local.create(f"intake/{number:08d}.jsonl", data):
            number += 1


def _deliveries(store: Store) -> list[str]:
    return [key for key in store.local.list("intake") if key.endswith(".jsonl")]


def _chosen(store: Store, found_by: str) -> list[dict[str, Any]]:
    names = {name.strip() for name in found_by.split(",")} - {""}
    return [case for case in read_inbox(store) if not names or case["found_by"] in names]


def _readable(signature: str) -> str:
    return signature.replace("_", " ").replace(":", ": ")
