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
    entered: Mapping[str, Tally],
    fates: pl.DataFrame,
    *,
    besides: Mapping[str, Tally] | None = None,
    kept: str = "kept",
) -> Settled:
    """The account of a step and its counts, as keyword arguments of `Made`.

    `besides` are rows that left in another way than with a fate; `kept` is what the account calls
    those that stay, which another step must take where they are `kept`.
    """
    by_fate = _by_fate(fates)
    left = {kept: by_fate.pop("kept"), **by_fate, **(besides or {})}
    return _book(Account(entered, left), count_fates(fates))


def resettle(since: Version, was: Settled, now: Settled) -> Settled:
    """The books of an earlier version, with what some of its rows came to replaced.

    `was` and `now` are the books of these rows alone, as they were then and as they are now.
    """
    before = Account.read(since)
    assert before is not None, f"{since.name} keeps an account"
    account = before.corrected(*(Account(**side["values"]["account"]) for side in (was, now)))
    old, minus, plus = (
        counts_frame(values["fates_by_source"])
        for values in (since.values, was["values"], now["values"])
    )
    counts = pl.concat([old, minus.with_columns(n=-pl.col("n")), plus])
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


def _by_fate(fates: pl.DataFrame) -> dict[str, Tally]:
    short = fates.select("id", "source", "fate")
    return {fate: tally_rows(short.filter(pl.col("fate") == fate)) for fate in FATES}


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
