"""Blind human evaluation: which cases people are asked about, and what their choices come to.

People see two answers to one question and choose the better one. Answers that mean the same are a
tie that nobody is asked about, so every question can tell the two versions apart.
"""

from dataclasses import asdict
from typing import Any

import polars as pl

from curation.agreement import compare_choices
from curation.judgements import BOTH_BAD, BOTH_GOOD, LEFT, RIGHT, name_question
from curation.line import draw_places
from curation.rows import digest
from curation.tasks._base import Task
from evaluation.compare import LABELS, name_parts
from evaluation.paired import compare_pairs, compare_slices, mcnemar

SLICES = (*LABELS, "error_type")
ANSWERED_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # id of the row
        "question": pl.String,  # of `name_question`
        "cluster": pl.String,
        **dict.fromkeys(SLICES, pl.String),  # "" where unknown
        "prompt": pl.String,
        "gold": pl.String,
        "answers": pl.List(pl.String),  # of each version, in the order in which they were named
        "gain": pl.Float64,  # of the last answer over the first by the metric, null for none
    }
)


def line_up_answers(
    cases: pl.DataFrame,
    clusters: pl.DataFrame,
    error_types: pl.DataFrame,
    gains: pl.DataFrame,
    *,
    arms: tuple[str, ...],
    task: Task,
) -> pl.DataFrame:
    """What each arm answered to each task case that all answered: `ANSWERED_SCHEMA`, by id.

    Cases are those of the test split and, by `error_types` (id, error_type), bad cases that were
    only measured. `clusters` is (id, cluster), and what has none is one of its own; `gains` is
    (id, gain) of the metric.
    """
    known = pl.col("id").is_in(error_types["id"].implode())
    asked = name_parts(cases.filter((pl.col("split") == "test") | known), task)
    first, *others = (
        asked.filter(pl.col("arm") == arm).drop_nulls("predicted").unique("id") for arm in arms
    )
    said = first.with_columns(answers=pl.concat_list("predicted"))
    for other in others:
        theirs = other.select("id", theirs=pl.concat_list("predicted"))
        said = said.join(theirs, on="id").with_columns(pl.concat_list("answers", "theirs"))
    names = [name_question(*one) for one in said.select("id", "answers").iter_rows()]
    return (
        said.with_columns(question=pl.Series(names, dtype=pl.String))
        .join(clusters, on="id", how="left")
        .join(error_types, on="id", how="left")
        .join(gains, on="id", how="left")
        .with_columns(pl.col("cluster").fill_null(pl.col("id")), pl.col(*SLICES).fill_null(""))
        .select(pl.col(name).cast(kind) for name, kind in ANSWERED_SCHEMA.items())
        .sort("id")
    )


def tell_apart(answered: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The cases whose answers do not mean the same to the task, which is what people are asked."""
    meant = [len({*map(task.canonical, answers)}) for answers in answered["answers"]]
    return answered.filter(pl.Series(meant, dtype=pl.Int64) > 1)


def draw_questions(answered: pl.DataFrame, n: int, *, seed: int = 0) -> pl.DataFrame:
    """The first `n` cases of a draw, in which each cluster has its turn before any has a second."""
    drawn = answered.with_columns(place=draw_places(answered["id"], f"people {seed}"))
    turn = pl.col("place").rank("ordinal").over("cluster")
    return drawn.sort(turn, "place", "id").drop("place").head(n)


def tally_choices(
    answered: pl.DataFrame, choices: pl.DataFrame, *, task: Task, seed: int = 0
) -> dict[str, Any]:
    """What people's choices (`CHOICE_SCHEMA`) say of the second version against the first.

    `won`, `tied` and `lost` count judged cases by the mean of their judges, and `judged` is their
    comparison (`paired.Comparison`): `new` is the share won, a tie by half. `of_all` is the gain
    among all cases, of which `same` are ties, with its interval; None before anybody was asked.
    """
    differ = tell_apart(answered, task)
    answers = {id: [*map(digest, said)] for id, said in differ.select("question", "answers").rows()}
    said = choices.filter(pl.col("question").is_in([*answers]))
    gains = [
        0.0 if not better else 1.0 if better == answers[id][1] else -1.0
        for id, better in said.select("question", "better").iter_rows()
    ]
    means = said.select("question", people=pl.Series(gains, dtype=pl.Float64))
    pairs = differ.join(means.group_by("question").agg(pl.col("people").mean()), on="question")
    pairs = pairs.rename({"gain": "metric", "people": "gain"}).sort("id")
    pairs = pairs.with_columns(new=(1 + pl.col("gain")) / 2, old=(1 - pl.col("gain")) / 2)
    found = compare_pairs(pairs, seed=seed)
    share = differ.height / answered.height if answered.height else 0.0
    of_all = [round(share * v, 6) for v in (found.gain, found.low, found.high)] if found else None
    return {
        "cases": answered.height,
        "same": answered.height - differ.height,
        "differ": differ.height,
        "judgements": said.height,
        **_count(pairs),
        "judged": {**asdict(found), "verdict": found.verdict} if found else None,
        "of_all": of_all,
        "both_good": said.filter(pl.col("choice") == BOTH_GOOD).height,
        "both_bad": said.filter(pl.col("choice") == BOTH_BAD).height,
        "position": _position(said),
        "slices": _slices(pairs),
        "metric": _against_metric(pairs),
        "agreement": compare_choices(said, answers),
    }


def _count(pairs: pl.DataFrame) -> dict[str, int]:
    gain = pairs["gain"]
    won, tied, lost = (int(part.sum()) for part in (gain > 0, gain == 0, gain < 0))
    return {"won": won, "tied": tied, "lost": lost}


def _position(said: pl.DataFrame) -> dict[str, Any]:
    """How often the left answer was chosen where one was, and the chance of that without a habit.

    Sides are drawn, so the share is half but for chance (two-sided binomial test).
    """
    left, right = (said.filter(pl.col("choice") == side).height for side in (LEFT, RIGHT))
    share = round(left / (left + right), 6) if left + right else None
    return {"left": left, "right": right, "share": share, "p": mcnemar(left, right)[0]}


def _slices(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Each part of the judged cases that shares a label; `p` and `worse` only of large ones."""
    tested = {(s["label"], s["value"]): s for s in compare_slices(pairs, SLICES)}
    return [
        {
            **{"label": label, "value": value, "n": part.height, **_count(part)},
            **{k: tested.get((label, value), {}).get(k) for k in ("p", "worse")},
        }
        for label in SLICES
        for (value,), part in sorted(pairs.group_by(label), key=lambda one: str(one[0][0]))
        if value
    ]


def _against_metric(pairs: pl.DataFrame) -> dict[str, int]:
    """Judged cases by whether people and the metric prefer the same answer.

    `agreed`: the same one, or both none; `contradicted`: different ones; `only_people` and
    `only_metric`: the other prefers none. Cases that the metric leaves out count nowhere.
    """
    both = pairs.drop_nulls("metric").select(
        people=pl.col("gain").sign(), metric=pl.col("metric").sign()
    )
    kinds = {
        "agreed": pl.col("people") == pl.col("metric"),
        "contradicted": pl.col("people") * pl.col("metric") < 0,
        "only_people": (pl.col("metric") == 0) & (pl.col("people") != 0),
        "only_metric": (pl.col("people") == 0) & (pl.col("metric") != 0),
    }
    return {name: both.filter(kind).height for name, kind in kinds.items()}
