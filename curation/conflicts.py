"""Label conflicts: which rows people's verdicts take out, and which conflicts wait for people.

A rejected row goes. A row that is accepted is right, so of the rows that ask the same those go
that answer otherwise. A conflict is open while two answers are left.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from curation.fates import FATE_SCHEMA, make_fates
from curation.reviews import UNDECIDED
from curation.verdicts import ACCEPT, REJECT

REJECTED = "rejected"
"""The reason of a row that verdicts took out."""
SCOPE = ("split", "track", "prompt")
"""What rows have in common that ask the same."""
KINDS = ("label_conflict", "tie")
"""What waits for people: answers that contradict one another, and reviewers that do."""


def find_rejected(
    rows: pl.DataFrame, decided: pl.DataFrame, *, scope: Sequence[str] = SCOPE
) -> pl.DataFrame:
    """`id` of the rows that verdicts take out, and the accepted row they go `into`; "" for none.

    `rows` has `id`, the columns of `scope`, `answer` and `labelled`: of rows that are not, each
    goes by its own verdict alone. `decided` is that of `reviews.decide_rows`.
    """
    said = rows.join(decided.select("id", "verdict"), on="id", how="left")
    refused = said.filter(pl.col("verdict") == REJECT).select("id", into=pl.lit(""))
    rivals = said.filter("labelled").join(refused, on="id", how="anti")
    right = rivals.filter(pl.col("verdict") == ACCEPT)
    into = right.group_by(scope).agg(into=pl.col("id").min())
    outvoted = rivals.join(right, on=[*scope, "answer"], how="anti").join(into, on=scope)
    return pl.concat([refused, outvoted.select("id", "into")]).sort("id")


def reject_rows(rows: pl.DataFrame, signed: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """Fates of the rows that verdicts take out: dropped as `rejected`.

    `rows` have their labels, and `signed` the columns of their signatures (`dedup.sign_rows`) that
    say what they ask and answer; of others than `rows` it may hold some, too.
    """
    if decided.is_empty():
        return FATE_SCHEMA.to_frame()
    judged = pl.col("id").is_in(decided["id"].implode())
    asked = signed.filter(judged)["prompt"].unique()
    alike = signed.filter(pl.col("prompt").is_in(asked.implode()))
    claims = rows.join(alike.select("id", "prompt", "answer", "labelled"), on="id")
    gone = claims.join(find_rejected(claims, decided), on="id")
    same = pl.when(pl.col("into") != "").then(1.0)  # the prompt of the accepted row
    return make_fates(gone, "dropped", reason=REJECTED, into=pl.col("into"), similarity=same)


def list_open(conflicts: pl.DataFrame, decided: pl.DataFrame) -> list[dict[str, Any]]:
    """What waits for people, most rows first: its `kind`, and `answers` as lists of row ids.

    `conflicts` are those of a build (`dedup.CONFLICT_SCHEMA`); what later verdicts settle is not
    among them. A tie is listed where its row stands in no open conflict.
    """
    claims = conflicts.with_row_index("conflict").select("conflict", "ids", "answers")
    claims = claims.explode("ids", "answers").rename({"ids": "id", "answers": "answer"})
    gone = find_rejected(claims.with_columns(labelled=True), decided, scope=["conflict"])
    left = claims.join(gone, on="id", how="anti").sort("conflict", "id")
    still = left.filter(pl.col("answer").n_unique().over("conflict") > 1)
    answers = still.group_by("conflict", "answer", maintain_order=True).agg("id")
    grouped = answers.group_by("conflict", maintain_order=True).agg("id")
    tied = decided.filter(pl.col("verdict") == UNDECIDED).join(still, on="id", how="anti")
    found = [{"kind": "label_conflict", "answers": ids} for ids in grouped["id"].to_list()]
    found += [{"kind": "tie", "answers": [[row_id]]} for row_id in tied["id"]]
    return sorted(found, key=lambda one: -sum(map(len, one["answers"])))
