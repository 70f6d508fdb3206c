"""Feedback as snapshots of the inboxes: what the model got wrong, and what people said of rows."""

from typing import Any

from assets.stage import Job, stage
from curation.accounts import Account
from curation.bad_cases import INBOX as CASES
from curation.bad_cases import account_inbox, find_error_types, inbox_digest, snapshot_inbox
from curation.inbox import Inbox, Line
from curation.intake import take_drops
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


@stage(GROUP, section="feedback")
def error_types(job: Job, bad_cases: Version) -> Made:
    """Kinds of error among the bad cases to learn from, and how many rows each kind should get."""
    types = find_error_types(bad_cases.table("rows"), **job.recipe.options["feedback"])
    return Made(tables={"rows": types})


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


def _delivered_cases(job: Job) -> list[Line]:
    return _delivered(job, CASES, "bad_cases", "rows")


def _delivered_verdicts(job: Job) -> list[Line]:
    return _delivered(job, VERDICTS, "verdicts", "said")


def _delivered(job: Job, inbox: Inbox, stage: str, table: str) -> list[Line]:
    """The lines of an inbox; an empty one is refused where the head of its stage is not.

    That is another machine's snapshot, and no wish to forget all that it holds.
    """
    delivered, head = inbox.read(job.store), job.store.base(f"{job.recipe.name}/{stage}")
    known = head.tables[table]["rows"] if head else 0
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
