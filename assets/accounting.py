"""The books of a step: its account, its counts by fate and source, and the check that they balance.

A step that judged every row is settled; one that only looked at changed rows corrects the books of
the version it builds on, which comes to the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import polars as pl

from curation.accounts import Account, Tally, tally_rows
from curation.fates import FATES, count_fates
from curation.store import Change, Version


class Settled(TypedDict):
    """What a step's books add to what it `Made`."""

    values: dict[str, Any]
    checks: dict[str, tuple[bool, str]]


def settle(
    entered: Mapping[str, Tally], fates: pl.DataFrame, *, besides: Mapping[str, Tally] | None = None
) -> Settled:
    """The account of a step and its counts, as keyword arguments of `Made`.

    `besides` are rows that left in another way than with a fate.
    """
    left = {**_by_fate(fates), **(besides or {})}
    return _book(Account(entered, left), count_fates(fates))


def resettle(
    since: Version, ids: Sequence[str], entered: Mapping[str, Tally], fates: pl.DataFrame
) -> Settled:
    """`settle`, when only the rows with these ids were judged anew since an earlier version.

    `entered` and `fates` are of those rows as they are now; as they were, they are looked up.
    """
    before = Account.read(since)
    assert before is not None, f"{since.name} keeps an account"
    old_fates = since.lookup("fates", ids)
    was = {label: _entered_before(since, label, ids) for label in entered}
    account = before.corrected(Account(was, _by_fate(old_fates)), Account(entered, _by_fate(fates)))
    minus = count_fates(old_fates).with_columns(n=-pl.col("n"))
    counts = pl.concat([counts_frame(since.values["fates_by_source"]), minus, count_fates(fates)])
    counts = counts.group_by("source", "fate", "reason").agg(pl.col("n").sum())
    return _book(account, counts.filter(pl.col("n") != 0))


def replacing(ids: Sequence[str], frame: pl.DataFrame) -> Change:
    """The change that puts these rows in the place of all rows with the ids."""
    gone = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    return Change(frame, gone.join(frame, on="id", how="anti"))


def counts_frame(counts: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """`fates_by_source` of a manifest as the frame that `count_fates` gives."""
    schema = {"source": pl.String, "fate": pl.String, "reason": pl.String, "n": pl.Int64}
    return pl.DataFrame(counts, schema=schema, orient="row")


def _entered_before(since: Version, label: str, ids: Sequence[str]) -> Tally:
    """What the rows with these ids came to in the upstream version an earlier one was made from."""
    return tally_rows(since.input(label.rpartition("/")[0]).lookup("rows", ids))


def _by_fate(fates: pl.DataFrame) -> dict[str, Tally]:
    return {fate: tally_rows(fates.filter(pl.col("fate") == fate)) for fate in FATES}


def _book(account: Account, counts: pl.DataFrame) -> Settled:
    """Counts by fate and by source, and the conservation check."""
    counts = counts.sort("source", "fate", "reason")
    label = pl.concat_str("fate", pl.lit(": "), "reason")
    named = counts.with_columns(
        fate=pl.when(pl.col("reason") == "").then(pl.col("fate")).otherwise(label)
    )
    totals = (
        named.group_by("fate").agg(pl.col("n").sum()).sort("n", "fate", descending=[True, False])
    )
    wrong = account.problems()
    return {
        "values": {
            "fates": dict(totals.iter_rows()),
            "fates_by_source": [
                list(r) for r in counts.sort("source", "fate", "reason").iter_rows()
            ],
            "account": account.to_dict(),
        },
        "checks": {"conservation": (not wrong, "; ".join(wrong) or account.line())},
    }
