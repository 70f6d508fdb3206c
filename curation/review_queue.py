"""The review queue: which rows people are asked about, in what order, and why each of them.

What machines could not decide comes in turns: answers that contradict one another, reviewers that
do, rows made for a kind of error that is new, and rows near a threshold. Among these stand rows
drawn at random, which alone tell what the whole set is like, and gold rows, whose verdict is known
and tells what the reviewers are like. The same rows and verdicts give the same queue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import polars as pl

from curation.conflicts import list_open
from curation.dedup import CONFLICT_SCHEMA
from curation.line import draw_places
from curation.review_samples import draw_groups, judge_group
from curation.reviews import GOLD, UNDECIDED, decide_rows
from curation.rules import find_thresholds

QUEUE_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "why": pl.String,  # label_conflict | tie | new_type | borderline | random | gold
        "detail": pl.String,  # the rule, or the error type; "" for none
        "value": pl.Float64,  # what the rule reads
        "threshold": pl.Float64,
        "wanted": pl.Int64,  # how many reviewers are to say something; null: everybody
    }
)

HIDDEN = {"gold": "random"}
"""Whoever knew that his verdict is compared with a known one would take more care."""


@dataclass(frozen=True)
class Material:
    """What a queue is made from: `rows` as `GROUP_SCHEMA`, and `conflicts` as a build found them.

    `scores` has id and, of the columns that the `rules` of `keep` read, those that were measured.
    """

    rows: pl.DataFrame
    scores: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"id": pl.String}))
    rules: Sequence[str] = ()
    conflicts: pl.DataFrame = field(default_factory=CONFLICT_SCHEMA.to_frame)


def build_queue(
    material: Material,
    said: pl.DataFrame,
    *,
    size: int = 500,
    random_share: float = 0.1,
    gold_share: float = 0.1,
    overlap: float = 0.1,
    seed: int = 0,
) -> pl.DataFrame:
    """At most `size` rows to ask about, in their order, as `QUEUE_SCHEMA`.

    `said` is that of `reviews.read_said`. `overlap` is the share of the rows that two reviewers are
    asked about, which tells how far they agree. Rows at random fill what the others leave. Raises
    `ValueError` for shares that leave no room.
    """
    if min(random_share, gold_share, overlap) < 0 or random_share + gold_share > 1:
        said_shares = f"random {random_share!r}, gold {gold_share!r}, overlap {overlap!r}"
        raise ValueError(f"shares of a queue lie between 0 and 1 and add up to that: {said_shares}")
    decided, gold = decide_rows(said), _gold_rows(said, seed).head(ceil(size * gold_share))
    open_rows = _open_rows(material.rows, said, overlap=overlap, seed=seed)
    turns = _in_turns(
        _conflicting(material.conflicts, decided),
        decided.filter(pl.col("verdict") == UNDECIDED).select("id", why=pl.lit("tie")),
        _new_types(material.rows, decided, open_rows, seed),
        _borderline(material, open_rows),
    )
    turns = turns.join(gold, on="id", how="anti", maintain_order="left")
    turns = turns.head(size - gold.height - ceil(size * random_share))
    rest = open_rows.filter("kept").join(turns, on="id", how="anti")
    places = draw_places(rest["id"], f"review {seed}")
    rest = rest.with_columns(why=pl.lit("random"), place=places).sort("place", "id")
    every = _spread(turns, rest.head(size - gold.height - turns.height), gold)
    return _with_wanted(every, said, open_rows).select(QUEUE_SCHEMA.names())


def _open_rows(
    rows: pl.DataFrame, said: pl.DataFrame, *, overlap: float, seed: int
) -> pl.DataFrame:
    """The rows about which fewer reviewers said something than are `wanted`, one or two."""
    first = draw_places(rows["id"], f"overlap {seed}") < int(min(overlap, 1.0) * (2**64 - 1))
    votes = said.group_by("row_id").agg(votes=pl.len())
    rows = rows.with_columns(wanted=1 + first.cast(pl.Int64))
    rows = rows.join(votes, left_on="id", right_on="row_id", how="left", maintain_order="left")
    known = said.filter(pl.col("by") == GOLD)["row_id"].implode()
    return rows.filter(
        (pl.col("votes").fill_null(0) < pl.col("wanted")) & ~pl.col("id").is_in(known)
    )


def _conflicting(conflicts: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """The first row of each open conflict; whoever is asked about it sees the others."""
    found = list_open(conflicts, decided)
    ids = [one["answers"][0][0] for one in found if one["kind"] == "label_conflict"]
    return pl.DataFrame({"id": ids}, schema={"id": pl.String}).with_columns(
        why=pl.lit("label_conflict")
    )


def _new_types(
    rows: pl.DataFrame, decided: pl.DataFrame, open_rows: pl.DataFrame, seed: int
) -> pl.DataFrame:
    """Of each new error type as many rows as its acceptance sampling still needs, by turns."""
    found = [pl.DataFrame(schema={"id": pl.String, "group": pl.String, "turn": pl.Int64})]
    for group in draw_groups(rows.filter("new"), seed=seed):
        asked = group.join(open_rows, on="id", how="semi", maintain_order="left")
        asked = asked.head(judge_group(group, decided).needed)
        found.append(asked.select("id", "group", turn=pl.int_range(pl.len())))
    every = pl.concat(found).sort("turn", "group")
    return every.select("id", why=pl.lit("new_type"), detail="group")


def _borderline(material: Material, open_rows: pl.DataFrame) -> pl.DataFrame:
    """Rows by how few others lie between their score and a threshold, the nearest first."""
    schema = {"id": pl.String, "detail": pl.String, "value": pl.Float64, "threshold": pl.Float64}
    found = [pl.DataFrame(schema={**schema, "between": pl.Float64})]
    for rule, column, threshold in _thresholds(material):
        scores = material.scores.select("id", value=pl.col(column).cast(pl.Float64)).drop_nulls()
        near = scores.with_columns(
            detail=pl.lit(rule), threshold=threshold, between=_between(scores["value"], threshold)
        )
        found.append(near.select(found[0].columns))
    every = pl.concat(found).sort("between", "id", "detail").unique("id", maintain_order=True)
    every = every.join(open_rows, on="id", how="semi", maintain_order="left")
    return every.with_columns(why=pl.lit("borderline")).drop("between")


def _thresholds(material: Material) -> Iterator[tuple[str, str, float]]:
    for rule in material.rules:
        for column, threshold in find_thresholds(rule):
            if column in material.scores.columns:
                yield rule, column, threshold


def _between(values: pl.Series, threshold: float) -> pl.Series:
    """For each value the share of all of them that lie from it to the threshold, 0..1."""
    ordered = values.sort().to_numpy()
    below, upto = (ordered.searchsorted(values.to_numpy(), side=s) for s in ("left", "right"))
    turn = sum(ordered.searchsorted([threshold], side=s)[0] for s in ("left", "right"))
    return pl.Series(abs(below + upto - turn) / 2 / max(1, len(values)), dtype=pl.Float64)


def _gold_rows(said: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows whose right verdict is known, in an order that tells nothing of it."""
    known = said.filter(pl.col("by") == GOLD).select(id="row_id", why=pl.lit("gold")).unique()
    place = draw_places(known["id"], f"gold {seed}")
    return known.with_columns(place=place).sort("place", "id").drop("place")


def _in_turns(*lists: pl.DataFrame) -> pl.DataFrame:
    """A row of each list in turn, each row once, for the first reason there is."""
    turned = [
        some.with_columns(turn=pl.int_range(pl.len()), list=pl.lit(number))
        for number, some in enumerate(lists)
    ]
    every = pl.concat(turned, how="diagonal").sort("turn", "list")
    return every.unique("id", maintain_order=True).drop("turn", "list")


def _spread(*lists: pl.DataFrame) -> pl.DataFrame:
    """All lists, each in its order and evenly over the whole, with the columns of a queue."""
    spread = [
        some.with_columns(at=(pl.int_range(pl.len()) + 0.5) / pl.len(), list=pl.lit(number))
        for number, some in enumerate(lists)
    ]
    empty = QUEUE_SCHEMA.to_frame().drop("wanted")
    every = pl.concat([empty, *spread], how="diagonal").sort("at", "list")
    return every.select(empty.columns).with_columns(pl.col("detail").fill_null(""))


def _with_wanted(queue: pl.DataFrame, said: pl.DataFrame, open_rows: pl.DataFrame) -> pl.DataFrame:
    """The queue with how many reviewers each row wants: one more where they could not decide."""
    votes = said.group_by("row_id").agg(votes=pl.len().cast(pl.Int64))
    queue = queue.join(votes, left_on="id", right_on="row_id", how="left", maintain_order="left")
    queue = queue.join(open_rows.select("id", "wanted"), on="id", how="left", maintain_order="left")
    one_more = pl.col("why").is_in(["label_conflict", "tie"])
    wanted = pl.when(one_more).then(pl.col("votes").fill_null(0) + 1).otherwise("wanted")
    return queue.with_columns(wanted=pl.when(pl.col("why") != "gold").then(wanted))
