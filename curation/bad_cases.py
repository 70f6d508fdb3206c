"""The bad-case inbox: what the model got wrong, delivered once, acknowledged when it is on disk.

A bad case is a prompt, the answer it should have got and the answer it got. A delivery is one
immutable file; the same case delivered again adds nothing. Half of the clusters are for learning,
the other half are held back to see whether the lesson was understood: a held case never reaches a
prompt, an augmenter or a training set.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curation.accounts import Account
from curation.delivery import Delivery, Unfinished
from curation.inbox import Inbox, Known, distinct_lines, tally_delivered, tally_lines
from curation.plugins import nearest
from curation.rows import clean_text, dialogue, digest, row_id
from curation.split import half_of
from curation.store import Store
from curation.tasks._base import Task, sign_error
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
NO_GOLD = "no corrected answer"


def add_bad_cases(
    store: Store,
    records: Iterable[tuple[str, Any]],
    *,
    found_by: str = "",
    known: Known | None = None,
) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record needs `prompt`, `gold` and `predicted` as text; one that has not is kept in quarantine,
    and where only `gold` is missing whole, so that it can be corrected later. Records of other
    forms come through `intake_forms.read_forms`. Raises `ValueError` for a `found_by` that may not
    stand in a text. Who adds again and again keeps `known`.
    """
    found_by = clean_text(found_by)
    return INBOX.add(store, records, lambda record: _read_case(record, found_by), known=known)


def read_deliveries(store: Store) -> list[dict[str, Any]]:
    """Every line of every delivery in its order, quarantined ones too; `Corrupt` for a damaged one.

    A line is there twice when two processes delivered it at once.
    """
    return INBOX.read(store)


def read_inbox(store: Store) -> list[dict[str, Any]]:
    """Every acknowledged bad case, in order of delivery, once each; `Corrupt` for a damaged one."""
    return distinct_lines(read_deliveries(store))


def read_quarantine(store: Store) -> list[dict[str, Any]]:
    """`position`, `reason` and `raw` of each line that was no bad case, in order of delivery.

    One that lacks nothing but the corrected answer has `prompt`, `predicted`, `found_by` and
    `case`, the name to correct it by; once it was corrected it is no longer among them.
    """
    lines = INBOX.quarantined(store)
    if not any("case" in line for line in lines):
        return lines
    corrected = {_case_name(case) for case in read_inbox(store)}
    return [line for line in lines if line.get("case") not in corrected]


def correct_case(store: Store, name: str, gold: str, *, by: str = "") -> Delivery:
    """Give a bad case that waits for its corrected answer this one; it is in the inbox then.

    `name` is that of `read_quarantine` or the beginning of it. Raises `LookupError` for a name of
    none or of several, `ValueError` for an answer that may not be one.
    """
    waiting = {line["case"]: line for line in read_quarantine(store) if "case" in line}
    found = [line for case, line in waiting.items() if case.startswith(name)]
    if len(found) != 1 or not name:
        raise LookupError(f"{len(found)} cases without a corrected answer begin with {name!r}")
    record = {**{k: found[0][k] for k in ("prompt", "predicted")}, "gold": gold}
    record["found_by"] = by or found[0]["found_by"]
    return add_bad_cases(store, [(found[0]["position"], _read_case(record, ""))])


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
        system = task.part(case["prompt"], case["gold"])[1].system
        corrected = row_id(dialogue(case["prompt"], case["gold"], system=system))
        rows.append(
            {
                **{name: case[name] for name in ("id", *FIELDS, "found_by")},
                "half": half_of(cluster),
                "cluster": cluster,
                "signature": sign_error(task, *(case[name] for name in FIELDS)) or "equal",
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


def _read_case(record: Mapping[str, Any], found_by: str) -> dict[str, Any]:
    found_by = clean_text(str(record.get("found_by") or found_by))
    missing = [name for name in FIELDS if not isinstance(record.get(name), str)]
    if missing == ["gold"] and record.get("gold") is None and record["prompt"].strip():
        said = {name: clean_text(record[name]) for name in ("prompt", "predicted")}
        raise Unfinished(NO_GOLD, {"case": _case_name(said), **said, "found_by": found_by})
    if missing:
        hint = nearest(missing[0], [str(k) for k in record]) if record else ""
        raise ValueError(f"no text under {missing[0]!r}{hint}")
    case = {name: clean_text(record[name]) for name in FIELDS}
    if not case["prompt"].strip() or not case["gold"].strip():
        raise ValueError("prompt or gold is empty")
    return {**case, "found_by": found_by}


def _case_name(case: Mapping[str, Any]) -> str:
    """What a case is called that has no corrected answer yet."""
    return digest([case["prompt"], case["predicted"]])


def _chosen(cases: Iterable[dict[str, Any]], found_by: str) -> list[dict[str, Any]]:
    names = {name.strip() for name in found_by.split(",")} - {""}
    return [case for case in cases if not names or case["found_by"] in names]
