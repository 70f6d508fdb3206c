"""Parts of the test set: their means and gap, and whether so wide a gap can be chance."""

import random

import polars as pl
import pytest

from curation.rows import make_row, rows_frame
from curation.tasks.free_text import free_text
from evaluation.cases import CASE_SCHEMA
from evaluation.fairness import find_gaps, gaps_table, permutation_p, read_labels
from evaluation.metrics.exact_match import exact_match

NO_CLUSTERS = pl.DataFrame(schema={"id": pl.String, "cluster": pl.String})


def cases(right: list[bool]) -> pl.DataFrame:
    rows = [
        {"id": f"{n:03d}", "arm": "candidate", "split": "test", "kind": "task", "prompt": "开窗",
         "gold": "好", "predicted": "好" if one else "不", "loss_nats": 1.0, "n_bytes": 3}
        for n, one in enumerate(right)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CASE_SCHEMA)


def find(right: list[bool], clusters: pl.DataFrame = NO_CLUSTERS, **labels: list[str]):
    named = pl.DataFrame({"id": [f"{n:03d}" for n in range(len(right))], **labels})
    how = {"metric": exact_match(), "task": free_text()}
    return find_gaps(cases(right), named, clusters, **how)


def units(number: list[float], part: list[str], cluster: list[str] | None = None) -> pl.DataFrame:
    names = cluster or [str(n) for n in range(len(number))]
    return pl.DataFrame({"cluster": names, "number": number, "part": part})


def test_a_gap_is_from_the_worst_part_to_the_best():
    right = [True] * 30 + [True] * 24 + [False] * 6 + [False] * 30 + [True] * 5
    dialect = ["普通话"] * 30 + ["粤语"] * 30 + ["English"] * 30 + ["few"] * 4 + [""]
    (found,) = find(right, dialect=dialect)
    assert [(p["value"], p["n"], p["mean"]) for p in found["parts"]] == [
        ("English", 30, 0.0), ("普通话", 30, 1.0), ("粤语", 30, 0.8),
    ]  # fmt: skip
    assert found["gap"] == 1.0 and found["p"] == pytest.approx(1 / 2001)
    cantonese = found["parts"][2]
    assert 0.6 < cantonese["low"] < 0.8 < cantonese["high"] < 0.95
    table = gaps_table([found], metric="exact_match")
    assert "| dialect | 粤语 | 30 | 0.800 |" in table and "gap 1.000, p 0.0005, more than" in table


def test_one_part_alone_has_no_gap_and_several_labels_are_looked_at_together():
    right = [n % 5 != 0 if n < 40 else n % 2 == 0 for n in range(80)]
    side = ["zh"] * 40 + ["en"] * 40
    alone, lang, same = find(right, one=["zh"] * 80, lang=side, same=["a", "a", "b", "b"] * 20)
    assert alone["gap"] is None and alone["p"] is None and len(alone["parts"]) == 1
    assert "fewer than two parts of 20 cases" in gaps_table([alone], metric="exact_match")
    (only,) = find(right, lang=side)
    assert lang["gap"] == only["gap"] == 0.3 and lang["p"] == 2 * only["p"] < 0.05
    assert same["p"] > 0.05


def test_the_p_is_the_share_of_all_deals():
    # Of the 20 ways to deal six numbers to two parts of three, two lie as far apart.
    seen = permutation_p(units([1, 1, 1, 0, 0, 0], ["女"] * 3 + ["男"] * 3), "part")
    assert seen == pytest.approx(0.1, abs=0.02)


def test_cases_of_a_cluster_are_dealt_together():
    number, part = [1.0] * 30 + [0.0] * 30, ["a"] * 30 + ["b"] * 30
    assert permutation_p(units(number, part), "part") < 0.01
    assert permutation_p(units(number, part, part), "part") == 1.0


def test_chance_alone_is_called_chance():
    draw, wrong = random.Random(0), 0
    for seed in range(100):
        number = [float(draw.random() < 0.7) for _ in range(60)]
        part = [draw.choice("abcd") for _ in number]
        wrong += permutation_p(units(number, part), "part", rounds=200, seed=seed) < 0.05
    assert wrong <= 10


def test_labels_are_those_of_rows_or_of_their_records():
    turns = [{"role": "user", "content": "开窗"}, {"role": "assistant", "content": "好"}]
    said = {"difference": {"set": {"dialect": {"=": "粤语"}, "age": {"=": 30}}}}
    rows = rows_frame([make_row(turns, source="test", meta=said)])
    assert read_labels(rows, ["lang", "dialect", "age", "region"]).drop("id").row(0) == (
        "zh", "粤语", "", "",
    )  # fmt: skip
