"""Samples of groups: whether the rows of an error type or a source may be taken unseen.

Each group has its rows in a drawn order, and its sample are the first of them. Rows that people
were asked about because they are doubtful are no sample, and only count where they are drawn too.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import polars as pl

from curation.line import draw_places
from curation.reviews import UNDECIDED, decide_rows
from curation.sampling import MOST_BAD, Sampled, judge_sample, plan_sample
from curation.verdicts import ACCEPT

GROUP_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "group": pl.String,  # the error type that a row was made for, else `source seeds`
        "new": pl.Boolean,  # made for an error type that no model was trained for yet
        "kept": pl.Boolean,  # not taken out by a rule; what people reject is not taken out here
    }
)


def draw_groups(rows: pl.DataFrame, *, seed: int = 0) -> Iterator[pl.DataFrame]:
    """The kept rows (`GROUP_SCHEMA`) of each group in the order in which they are drawn."""
    kept = rows.filter("kept")
    drawn = kept.with_columns(place=draw_places(kept["id"], f"review {seed}"))
    drawn = drawn.sort("group", "place", "id").drop("place")
    yield from drawn.partition_by("group", maintain_order=True)


def judge_group(group: pl.DataFrame, decided: pl.DataFrame) -> Sampled:
    """What the decided rows among the first drawn ones say of the group.

    `decided` is that of `reviews.decide_rows`; drawn are as many rows as the last plan looks at.
    """
    drawn = group.head(plan_sample(MOST_BAD).rows).join(decided, on="id")
    verdicts = drawn.filter(pl.col("verdict") != UNDECIDED)["verdict"]
    return judge_sample(len(verdicts), int((verdicts == ACCEPT).sum()), total=group.height)


def sample_groups(rows: pl.DataFrame, said: pl.DataFrame, *, seed: int = 0) -> list[dict[str, Any]]:
    """A line for each group, new error types first: its name, its rows, and its `Sampled`."""
    decided = decide_rows(said)
    lines = [
        {
            "group": group["group"][0],
            "new": group["new"][0],
            "rows": group.height,
            **asdict(judge_group(group, decided)),
        }
        for group in draw_groups(rows, seed=seed)
    ]
    return sorted(lines, key=lambda line: (not line["new"], line["group"]))
