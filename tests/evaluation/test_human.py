"""What people's choices and marks come to, on cases counted by hand."""

from typing import Any

import polars as pl
import pytest

from curation.judgements import CHOICE_SCHEMA, MARK_SCHEMA, name_question, sides
from curation.rows import digest
from curation.tasks.free_text import free_text
from evaluation.human import (
    ANSWERED_SCHEMA,
    SLICES,
    draw_questions,
    line_up_answers,
    tally_choices,
    tell_apart,
)
from evaluation.paired import mcnemar
from evaluation.ratings import name_dimensions, tally_marks

TASK = free_text()


def answered(*cases: tuple[str, ...], gain: float | None = None, **labels: str) -> pl.DataFrame:
    """Cases of an old and a new answer, each of a cluster of its own."""
    rows = [
        {"id": digest(n), "question": name_question(digest(n), both), "cluster": str(n),
         **dict.fromkeys(SLICES, ""), **labels, "prompt": f"问{n}", "gold": "", "answers": [*both],
         "gain": gain}
        for n, both in enumerate(cases)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=ANSWERED_SCHEMA)


def choose(cases: pl.DataFrame, said: list[str], by: str = "甲") -> pl.DataFrame:
    """Choices by whose answer is better: `new`, `old`, or what is said of both."""
    rows: list[dict[str, Any]] = []
    for (question, both), word in zip(
        cases.select("question", "answers").iter_rows(), said, strict=True
    ):
        better = {"old": both[0], "new": both[1]}.get(word, "")
        side = ("left", "right")[sides(question, both, by).index(better)] if better else word
        rows.append({"question": question, "by": by, "choice": side,
                     "better": digest(better) if better else ""})  # fmt: skip
    return pl.DataFrame(rows, schema=CHOICE_SCHEMA)


def test_answers_that_mean_the_same_are_ties_that_nobody_is_asked_about():
    cases = answered(("好", "好 "), ("好", "不好"), ("a", "b"))
    assert tell_apart(cases, TASK)["prompt"].to_list() == ["问1", "问2"]
    told = tally_choices(cases, pl.DataFrame(schema=CHOICE_SCHEMA), task=TASK)
    assert (told["cases"], told["same"], told["differ"], told["judged"]) == (3, 1, 2, None)


def test_the_draw_gives_every_cluster_its_turn_and_more_cases_only_add_to_it():
    cases = answered(*((f"旧{n}", f"新{n}") for n in range(40)))
    cases = cases.with_columns(cluster=pl.Series(["0"] * 30 + [str(n) for n in range(30, 40)]))
    few, more = (draw_questions(cases, n)["id"].to_list() for n in (11, 20))
    assert draw_questions(cases, 11)["cluster"].n_unique() == 11
    assert more[:11] == few and draw_questions(cases.reverse(), 11)["id"].to_list() == few
    assert draw_questions(cases, 11, seed=1)["id"].to_list() != few


def test_wins_ties_and_losses_by_hand():
    cases = answered(*((f"旧{n}", f"新{n}") for n in range(20)), ("同", "同"), gain=1.0)
    asked = cases.head(20)
    said = ["new"] * 13 + ["old"] * 2 + ["both_good"] * 3 + ["both_bad"] * 2
    told = tally_choices(cases, choose(asked, said), task=TASK)
    assert (told["won"], told["tied"], told["lost"]) == (13, 5, 2)
    assert (told["both_good"], told["both_bad"], told["judgements"]) == (3, 2, 20)
    judged = told["judged"]
    assert judged["new"] == (13 + 5 / 2) / 20 and judged["p"] == mcnemar(13, 2)[1]
    assert judged["verdict"] == "better" and judged["low"] < judged["gain"] == 11 / 20
    assert told["of_all"][0] == pytest.approx(11 / 21, abs=1e-6)  # the same answer is a tie
    assert told["metric"] == {"agreed": 13, "contradicted": 2, "only_people": 0, "only_metric": 5}
    turned = cases.with_columns(pl.col("answers").list.reverse())
    other = tally_choices(turned, choose(asked, said), task=TASK)
    assert (other["won"], other["lost"], other["judged"]["verdict"]) == (2, 13, "worse")


def test_of_several_judges_the_mean_counts_and_one_case_counts_once():
    cases = answered(("旧1", "新1"), ("旧2", "新2"), ("旧3", "新3"))
    said = pl.concat([choose(cases, ["new", "new", "both_bad"]),
                      choose(cases, ["new", "old", "new"], by="B")])  # fmt: skip
    told = tally_choices(cases, said, task=TASK)
    assert (told["won"], told["tied"], told["lost"]) == (2, 1, 0)
    assert told["judged"]["n"] == 3 and told["judged"]["gain"] == 0.5
    assert told["agreement"]["pairs"][0]["agreed"] == 1
    assert told["agreement"]["krippendorff"] == pytest.approx(1 - (4 / 6) / (18 / 30))


def test_a_habit_of_one_side_is_seen_and_wins_nothing():
    cases = answered(*((f"旧{n}", f"新{n}") for n in range(200)))
    left = [("old", "new")[sides(q, both, "甲")[0] == both[1]]
            for q, both in cases.select("question", "answers").iter_rows()]  # fmt: skip
    told = tally_choices(cases, choose(cases, left), task=TASK)
    assert told["position"]["share"] == 1.0 and told["position"]["p"] < 1e-50
    assert told["judged"]["verdict"] == "unclear" and abs(told["judged"]["gain"]) < 0.2
    fair = tally_choices(cases, choose(cases, ["new"] * 200), task=TASK)["position"]
    assert fair["p"] > 0.01 and fair["left"] + fair["right"] == 200


def test_what_got_worse_in_one_part_is_named():
    zh = answered(*((f"旧{n}", f"新{n}") for n in range(30)), lang="zh")
    en = answered(*((f"old {n}", f"new {n}") for n in range(30)), lang="en")
    said = pl.concat([choose(zh, ["new"] * 30), choose(en, ["old"] * 24 + ["new"] * 6)])
    told = tally_choices(pl.concat([zh, en]), said, task=TASK)
    parts = {one["value"]: (one["won"], one["lost"], one["worse"]) for one in told["slices"]}
    assert parts == {"zh": (30, 0, False), "en": (6, 24, True)}


def test_only_test_cases_and_measured_bad_cases_that_all_answered_are_lined_up():
    def case(id: str, arm: str, split: str = "test", said: str | None = "好") -> dict[str, Any]:
        labels = dict.fromkeys(("source", "lang", "category", "difficulty"), "")
        return {"id": id, "arm": arm, "split": split, "kind": "task", "predicted": said,
                "prompt": "问", "gold": "答", **labels}  # fmt: skip

    rows = [case(id, arm) for id in "ab" for arm in ("v1", "v2")] + [case("c", "v1")]
    rows += [case("d", arm, "badcase") for arm in ("v1", "v2")]
    rows += [case("e", arm, "badcase") for arm in ("v1", "v2")]
    rows += [case("f", "v1"), case("f", "v2", said=None)]
    types = pl.DataFrame({"id": ["d"], "error_type": ["not_json"]})
    clusters = pl.DataFrame({"id": ["a", "b"], "cluster": ["x", "x"]})
    gains = pl.DataFrame({"id": ["a"], "gain": [1.0]})
    found = line_up_answers(
        pl.DataFrame(rows), clusters, types, gains, arms=("v1", "v2"), task=TASK
    )
    assert found.schema == ANSWERED_SCHEMA
    assert found.select("id", "cluster", "error_type", "gain").rows() == [
        ("a", "x", "", 1.0), ("b", "x", "", None), ("d", "d", "not_json", None)
    ]  # fmt: skip


def test_marks_are_described_by_dimension_in_the_order_of_the_recipe():
    cases = answered(*((f"答{n}",) for n in range(4)))
    rows = [
        {"question": q, "by": by, "dimension": name, "mark": mark, "comment": "太长" if n else ""}
        for name in ("b", "a", "gone")
        for by, marks in (("甲", (5, 4, 3, 1)), ("B", (5, 4, 1)))
        for n, (q, mark) in enumerate(zip(cases["question"], marks, strict=False))
    ]
    told = tally_marks(cases, pl.DataFrame(rows, schema=MARK_SCHEMA), dimensions=("b", "a"))
    assert [one["dimension"] for one in told["dimensions"]] == ["b", "a", "gone"]
    one = told["dimensions"][0]
    assert (one["n"], one["mean"], one["counts"]) == (4, 3.0, [2, 0, 1, 2, 2])
    assert one["low"] < 3 < one["high"] and 0.5 < one["alpha"] < 1 and one["judged_twice"] == 3
    assert (told["cases"], told["rated"], told["reviewers"]) == (4, 4, 2)
    assert [(c["by"], c["comment"]) for c in told["comments"]].count(("甲", "太长")) == 3


@pytest.mark.parametrize(
    ("names", "said"),
    [([], "1 to 9 different"), (["a", "a "], "1 to 9 different"), ([" "], "has not 1 to 40")],
)
def test_dimensions_that_cannot_be_told_apart_are_refused(names, said):
    with pytest.raises(ValueError, match=said):
        name_dimensions(dimensions=names)
