"""Reviews: what people said of rows, delivered once, and what it comes to.

A verdict accepts or rejects one row, and who rejects one may give the right answer. The later
verdict of a reviewer on a row takes the place of his earlier one, and `withdraw` takes it back. The
majority of the reviewers decides, a tie decides nothing, and what `gold` says needs no majority.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from curation.accounts import Account
from curation.inbox import (
    Delivery,
    Inbox,
    Known,
    Line,
    distinct_lines,
    tally_delivered,
    tally_lines,
)
from curation.rows import clean_text, digest
from curation.store import Store
from curation.verdicts import ACCEPT, REJECT, find_mistake

UNDECIDED = "undecided"
WITHDRAW = "withdraw"
"""The verdict of a reviewer who has none any more."""
GOLD = "gold"
"""The reviewer whose verdicts are known to be right, by which others are measured."""
INBOX = Inbox("verdicts", ("row_id", "verdict", "reason", "by", "said_at", "answer"), "verdict")

SAID_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # of the verdict
        "row_id": pl.String,
        "verdict": pl.String,  # accept | reject
        "reason": pl.String,
        "by": pl.String,  # the reviewer, "" where nobody is named
        "said_at": pl.String,  # as the reviewer wrote it
        "answer": pl.String,  # what a rejected row should have answered, "" where nobody says
    }
)
DECIDED_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # of the row
        "verdict": pl.String,  # accept | reject | undecided
        "accepts": pl.Int64,
        "rejects": pl.Int64,
        "by": pl.String,  # who is of this mind; of a tie all
        "reason": pl.String,
    }
)
FIX_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # of the correction
        "row_id": pl.String,  # of the rejected row
        "answer": pl.String,
        "by": pl.String,
    }
)
_ROW_ID = re.compile("[0-9a-f]{32}")


def add_verdicts(
    store: Store, records: Iterable[tuple[str, Any]], *, known: Known | None = None
) -> Delivery:
    """Put (position, record) pairs into the inbox; returns only after they are on disk.

    A record has the `id` of a row, `verdict` (`accept`, `reject` or `withdraw`) and, where it
    wants, `reason`, `by` and `at`, and beside `reject` an `answer`. One that has not is kept in
    quarantine. The same record again says nothing new, even after another one: who goes back to
    what he said first gives another `at`. `known` is that of `Inbox.add`.
    """
    return INBOX.add(store, records, _read_verdict, known=known)


def read_said(delivered: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The verdict of each reviewer on each row that stands now, as `SAID_SCHEMA`, sorted by id.

    `delivered` are the lines of the inbox.
    """
    standing = (line for line in _standing(delivered) if line["verdict"] != WITHDRAW)
    said = [{name: line.get(name, "") for name in SAID_SCHEMA} for line in standing]
    return pl.DataFrame(said, schema=SAID_SCHEMA).sort("id")


def decide_rows(said: pl.DataFrame) -> pl.DataFrame:
    """What the reviewers come to on each row, as `DECIDED_SCHEMA`, sorted by id."""
    known = said.filter(pl.col("by") == GOLD)
    said = pl.concat([known, said.join(known, on="row_id", how="anti")])
    accepts, rejects = ((pl.col("verdict") == verdict).sum() for verdict in (ACCEPT, REJECT))
    verdict = (
        pl.when(accepts > rejects)
        .then(pl.lit(ACCEPT))
        .when(rejects > accepts)
        .then(pl.lit(REJECT))
        .otherwise(pl.lit(UNDECIDED))
    )
    counts = said.group_by("row_id").agg(
        decided=verdict, accepts=accepts.cast(pl.Int64), rejects=rejects.cast(pl.Int64)
    )
    minded = (pl.col("decided") == UNDECIDED) | (pl.col("decided") == pl.col("verdict"))
    words = said.join(counts, on="row_id").filter(minded)
    words = words.group_by("row_id").agg(by=_listed("by"), reason=_listed("reason"))
    decided = counts.join(words, on="row_id").rename({"row_id": "id", "decided": "verdict"})
    return decided.select(DECIDED_SCHEMA.names()).sort("id")


def find_fixes(said: pl.DataFrame) -> pl.DataFrame:
    """The answers given for rows that are rejected, as `FIX_SCHEMA`, sorted by id."""
    rejected = decide_rows(said).filter(pl.col("verdict") == REJECT).select(row_id="id")
    given = said.filter((pl.col("answer") != "") & (pl.col("verdict") == REJECT))
    fixes = given.join(rejected, on="row_id").group_by("row_id", "answer").agg(by=_listed("by"))
    ids = [digest([*fix]) for fix in fixes.select("row_id", "answer").iter_rows()]
    named = fixes.with_columns(id=pl.Series(ids, dtype=pl.String))
    return named.select(FIX_SCHEMA.names()).sort("id")


def account_verdicts(delivered: Iterable[Mapping[str, Any]], said: pl.DataFrame) -> Account:
    """What was delivered against what became of it: `standing` as the snapshot has it.

    Besides these, lines were `replaced` by the reviewer's later word, the word was `withdrawn`, or
    they were a `duplicate` of another or `quarantined`.
    """
    delivered = [*delivered]
    tallies = tally_delivered(delivered)
    every = {line["id"] for line in distinct_lines(delivered)}
    last = {line["id"]: line["verdict"] for line in _standing(delivered)}
    withdrawn = tally_lines(line for line, verdict in last.items() if verdict == WITHDRAW)
    came = {"delivered": tallies.pop("delivered")}
    left = {"standing": tally_lines(said["id"]), "replaced": tally_lines(every - last.keys())}
    return Account(came, {**left, "withdrawn": withdrawn, **tallies})


def said_digest(delivered: Iterable[Mapping[str, Any]]) -> str:
    """Digest of which verdicts a snapshot would hold."""
    return digest(read_said(delivered)["id"].to_list())


def _standing(delivered: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The last line of each reviewer on each row."""
    return [*{(line["row_id"], line["by"]): line for line in distinct_lines(delivered)}.values()]


def _listed(column: str) -> pl.Expr:
    """The distinct values that are not empty, in one text."""
    values = pl.col(column).unique().sort()
    return values.filter(values != "").str.join("; ")


def _read_verdict(record: Mapping[str, Any]) -> Line:
    if mistake := find_mistake(record, verdicts=(ACCEPT, REJECT, WITHDRAW)):
        raise ValueError(mistake)
    if not _ROW_ID.fullmatch(record["id"]):
        raise ValueError(f"'id' is {record['id']!r:.80}, not the id of a row (32 hex digits)")
    said = {name: record.get(name) or "" for name in ("reason", "by", "at", "answer")}
    if odd := [name for name, text in said.items() if not isinstance(text, str)]:
        raise ValueError(f"{odd[0]!r} is {said[odd[0]]!r:.80}, not text")
    reason, by, at, answer = (clean_text(text).strip() for text in said.values())
    if answer and record["verdict"] != REJECT:
        raise ValueError(f"an 'answer' beside {record['verdict']!r}; only {REJECT!r} has one")
    verdict = {"row_id": record["id"], "verdict": record["verdict"]}
    line = {**verdict, "reason": reason, "by": by, "said_at": at}
    return line | ({"answer": answer} if answer else {})
