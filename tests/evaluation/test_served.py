"""What is said of served versions: counts that add up, and chance that is called chance."""

import random

import polars as pl
import pytest

from curation.served import RATED_SCHEMA
from evaluation.served import chance_of_difference, report_served


def served(version: int, units: int, wrong: float, *, each: int = 3, start: float = 0.0, seed=0):
    """Answers to users of whom a share finds all answers wrong, all within a minute."""
    rng = random.Random(f"{version} {seed}")
    lines = []
    for unit in range(units):
        rating = "corrected" if rng.random() < wrong else None
        for turn in range(each):
            lines.append(
                {"id": f"{version}-{unit}-{turn}", "at": start + 60 * rng.random(), "arm": "a",
                 "version": version, "unit": f"用户{version}-{unit}", "error": "", "rating": rating,
                 "latency_s": rng.random(), "prompt_tokens": 9, "completion_tokens": 5}
            )  # fmt: skip
    return pl.DataFrame(lines, schema=RATED_SCHEMA)


def test_counts_latencies_and_shares_are_those_of_the_answers():
    answers = served(1, 100, 0.2).with_columns(
        error=pl.when(pl.col("id") == "1-0-0").then(pl.lit("503")).otherwise("error")
    )
    (one,) = report_served(answers)["versions"]
    assert (one["requests"], one["failed"], one["units"]) == (300, 1, 100)
    whole = answers.filter(pl.col("error") == "")
    assert one["bad"] == whole["rating"].drop_nulls().len() == one["rated"] > 0
    assert one["bad_share"] == one["bad"] / 299 and one["completion_tokens"] == 5 * 299
    assert 0.4 < one["p50_s"] < 0.6 < 0.9 < one["p95_s"] <= 1


def test_a_large_difference_is_told_and_a_small_one_is_called_chance():
    said = report_served(pl.concat([served(1, 200, 0.3), served(2, 200, 0.05)]))
    (pair,) = said["against"]
    assert pair["tests"]["bad"]["p"] < 0.001
    assert pair["lines"][0].endswith("v2 clearly has fewer")
    said = report_served(pl.concat([served(1, 30, 0.2, seed=1), served(2, 30, 0.2, seed=1)]))
    assert "that can be chance; a gap of " in said["against"][0]["lines"][0]
    assert said["against"][0]["lines"][1].endswith("nothing tells them apart")  # none failed


def test_many_answers_to_few_users_are_no_evidence():
    """A user who finds everything wrong counts once, however often he asks."""
    few = [served(1, 4, 0.0, each=200), served(2, 4, 0.0, each=200)]
    few[0] = few[0].with_columns(
        rating=pl.when(pl.col("unit").str.ends_with("-0")).then(pl.lit("down"))
    )
    assert chance_of_difference(_marked(few), "bad")["p"] > 0.2


def test_chance_is_said_to_be_unlikely_as_rarely_as_it_should():
    ps = [
        chance_of_difference(
            _marked([served(1, 40, 0.3, seed=seed), served(2, 60, 0.3, seed=seed)]), "bad"
        )["p"]
        for seed in range(100)
    ]
    assert sum(p < 0.05 for p in ps) <= 11  # of 100 at 5 %, more come once in 500 times


def test_versions_that_did_not_answer_at_one_time_are_not_compared():
    one, other = served(1, 20, 0.1), served(2, 20, 0.9, start=3600.0)
    (pair,) = report_served(pl.concat([one, other]))["against"]
    assert pair["lines"] == ["v1 and v2 did not answer at the same time"] and "tests" not in pair
    before = served(1, 50, 1.0, start=-3600.0, seed=9).with_columns(unit="earlier" + pl.col("unit"))
    both = pl.concat([before, one, served(2, 20, 0.1)])
    (pair,) = report_served(both)["against"]
    assert pair["tests"]["bad"]["old"] < 0.5  # all were wrong before v2 came
    assert report_served(RATED_SCHEMA.to_frame()) == {"versions": [], "against": []}


def _marked(sides: list[pl.DataFrame]) -> list[pl.DataFrame]:
    return [side.with_columns(bad=pl.col("rating").is_not_null()) for side in sides]


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_no_difference_at_all_is_no_evidence(wrong):
    sides = _marked([served(1, 9, wrong), served(2, 9, wrong)])
    assert chance_of_difference(sides, "bad")["p"] == 1.0
