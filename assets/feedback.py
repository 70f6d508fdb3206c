"""Feedback as snapshots of the inboxes: what the model got wrong, and what people said of rows."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from assets.stage import Job, stage
from curation.accounts import Account
from curation.bad_cases import INBOX as CASES
from curation.bad_cases import account_inbox, inbox_digest, snapshot_inbox
from curation.error_types import INBOX as CHANGES
from curation.error_types import changes_digest, find_error_types, read_changes
from curation.gains import find_stalled
from curation.inbox import Inbox, Line
from curation.intake import take_drops
from curation.lineage.views import newest_view
from curation.review_rows import read_material
from curation.review_samples import sample_groups
from curation.reviews import INBOX as VERDICTS
from curation.reviews import (
    UNDECIDED,
    account_verdicts,
    decide_rows,
    find_fixes,
    read_said,
    said_digest,
)
from curation.store import Made, Version
from curation.verdicts import ACCEPT, REJECT

GROUP = "2_feedback"


@stage(
    GROUP,
    section="task",
    options={"found_by": ""},
    reads=lambda job: _state_of_cases(job),
    checks=("conservation",),
)
def bad_cases(job: Job) -> Made:
    """Bad cases in the inbox now: half to learn from, half held back to test the lesson."""
    delivered, found_by = _delivered_cases(job), job.options.get("found_by", "")
    cases = snapshot_inbox(job.store, task=job.recipe.task, found_by=found_by, delivered=delivered)
    account = account_inbox(delivered, cases, found_by=found_by)
    halves = dict(cases.group_by("half").len().sort("half").iter_rows())
    return _snapshot({"rows": cases}, {"halves": halves}, account)


@stage(
    GROUP,
    section=("feedback", "task"),
    reads=lambda job: [changes_digest(_delivered_changes(job)), _stalled(job), _failed(job)],
)
def error_types(job: Job, bad_cases: Version) -> Made:
    """Kinds of error among the bad cases to learn from, and how many rows each kind should get."""
    changes = read_changes(_delivered_changes(job))
    types = _find_types(job, bad_cases, changes, _stalled(job), _failed(job))
    return Made(tables={"rows": types, "said": changes})


@stage(GROUP, reads=lambda job: said_digest(_delivered_verdicts(job)), checks=("conservation",))
def verdicts(job: Job) -> Made:
    """What people said of rows until now, what it comes to on each, and the answers they gave."""
    delivered = _delivered_verdicts(job)
    said = read_said(delivered)
    decided = decide_rows(said)
    names = {ACCEPT: "accepted", REJECT: "rejected", UNDECIDED: UNDECIDED}
    counts = {name: (decided["verdict"] == verdict).sum() for verdict, name in names.items()}
    account = account_verdicts(delivered, said)
    tables = {"rows": decided, "said": said, "fixes": find_fixes(said)}
    return _snapshot(tables, {"verdicts": counts}, account)


def _state_of_cases(job: Job) -> str:
    """Which cases there are, once those that were dropped since are in the inbox."""
    take_drops(job.store, report=job.report, **job.recipe.options["intake"])
    return inbox_digest(_delivered_cases(job), job.options.get("found_by", ""))


def _find_types(
    job: Job,
    bad_cases: Version,
    changes: pl.DataFrame,
    stalled: Sequence[str] = (),
    failed: Sequence[str] = (),
) -> pl.DataFrame:
    options: dict[str, Any] = {"task": job.recipe.task, "changes": changes}
    options |= {"stalled": stalled, "failed": failed}
    return find_error_types(bad_cases.table("rows"), **options, **job.recipe.options["feedback"])


def _stalled(job: Job) -> list[str]:
    """The types that the newest model versions were taught and gained nothing by."""
    bad_cases = job.store.head(f"{job.recipe.name}/bad_cases")
    if bad_cases is None:
        return []
    types = _find_types(job, bad_cases, read_changes(_delivered_changes(job)))
    return find_stalled(job.store, job.recipe.name, bad_cases.table("rows"), types)


def _failed(job: Job) -> list[str]:
    """The types of which people's sample says that too few rows are good, where they are asked."""
    asks = job.recipe.augment.options.get("look_first") == "people"
    if not asks or job.store.head(f"{job.recipe.name}/augmented_rows") is None:
        return []
    material = read_material(newest_view(job.store, job.recipe.name), ())
    samples = sample_groups(material.rows, read_said(_delivered_verdicts(job)))
    return sorted(one["group"] for one in samples if one["state"] == "failed")


def _delivered_cases(job: Job) -> list[Line]:
    return _delivered(job, CASES, "bad_cases", "rows")


def _delivered_changes(job: Job) -> list[Line]:
    return _delivered(job, CHANGES, "error_types", "said")


def _delivered_verdicts(job: Job) -> list[Line]:
    return _delivered(job, VERDICTS, "verdicts", "said")


def _delivered(job: Job, inbox: Inbox, stage: str, table: str) -> list[Line]:
    """The lines of an inbox; an empty one is refused where the head of its stage is not.

    That is another machine's snapshot, and no wish to forget all that it holds.
    """
    delivered, head = inbox.read(job.store), job.store.base(f"{job.recipe.name}/{stage}")
    known = head.tables[table]["rows"] if head and table in head.tables else 0
    if known and not delivered:
        raise ValueError(
            f"the inbox here is empty and the newest snapshot has {known:,} {inbox.noun}s: run "
            f"this where they were delivered, or copy {inbox.folder}/ of that store here"
        )
    return delivered


def _snapshot(tables: dict[str, Any], values: dict[str, Any], account: Account) -> Made:
    wrong = account.problems()
    values["account"] = account.to_dict()
    balance = not wrong, "; ".join(wrong) or account.line()
    return Made(tables, values=values, checks={"conservation": balance})
