"""Feedback: what the model got wrong, as a snapshot of the inbox, and the kinds of error in it."""

from assets.stage import Job, stage
from curation.bad_cases import (
    account_inbox,
    find_error_types,
    inbox_digest,
    read_deliveries,
    snapshot_inbox,
)
from curation.store import Made, Version

GROUP = "2_feedback"


@stage(
    GROUP,
    section="task",
    options={"found_by": ""},
    reads=lambda job: inbox_digest(job.store, job.options.get("found_by", "")),
    checks=("conservation",),
)
def bad_cases(job: Job) -> Made:
    """Bad cases in the inbox now: half to learn from, half held back to test the lesson."""
    delivered = read_deliveries(job.store)
    known = job.previous.tables["rows"]["rows"] if job.previous else 0
    if known and not delivered:  # another machine's snapshot, not a wish to forget every case
        raise ValueError(
            f"the inbox here is empty and the newest snapshot has {known:,} bad cases: run this "
            "where they were delivered, or copy intake/ of that store here"
        )
    found_by = job.options.get("found_by", "")
    cases = snapshot_inbox(job.store, task=job.recipe.task, found_by=found_by, delivered=delivered)
    account = account_inbox(delivered, cases, found_by=found_by)
    wrong = account.problems()
    halves = dict(cases.group_by("half").len().sort("half").iter_rows())
    return Made(
        tables={"rows": cases},
        values={"halves": halves, "account": account.to_dict()},
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
    )


@stage(GROUP, section="feedback")
def error_types(job: Job, bad_cases: Version) -> Made:
    """Kinds of error among the bad cases to learn from, and how many rows each kind should get."""
    types = find_error_types(bad_cases.table("rows"), **job.recipe.options["feedback"])
    return Made(tables={"rows": types})
