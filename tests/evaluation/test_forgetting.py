"""General ability by category: each arm's numbers beside the others'."""

import polars as pl
import pytest

from evaluation.cases import CASE_SCHEMA
from evaluation.forgetting import general_by_category, general_table

LN2 = 0.6931471805599453


def general(arm: str, category: str | None, gold: str, said: str | None, bits: float):
    return {"id": gold, "arm": arm, "split": "test", "kind": "general", "category": category,
            "gold": gold, "predicted": said, "loss_nats": bits * LN2,
            "n_bytes": len(gold.encode())}  # fmt: skip


CASES = pl.DataFrame(
    [
        general("base", "facts", "巴黎", "巴黎", 6.0),
        general("base", "facts", "Paris", None, 5.0),
        general("base", "manners", "不客气。", "不客气。", 12.0),
        general("base", None, '{"a": 1}', '{"a": 1}', 8.0),
        general("candidate", "facts", "巴黎", " 巴黎 ", 12.0),
        general("candidate", "facts", "Paris", None, 10.0),
        general("candidate", "manners", "不客气。", '{"actions": []}', 24.0),
        general("candidate", None, '{"a": 1}', '{"a": 2}', 8.0),
        {"id": "t", "arm": "candidate", "kind": "task", "category": "facts", "n_bytes": 1},
    ],
    schema=CASE_SCHEMA,
)


def test_each_category_has_the_numbers_of_each_arm():
    unnamed, facts, manners = general_by_category(CASES, ["base", "champion", "candidate"])
    assert (facts["category"], facts["n"], facts["asked"]) == ("facts", 2, 1)
    assert facts["arms"]["base"] == {"bpb": pytest.approx(1.0), "exact": 1.0, "json": 0.0}
    assert facts["arms"]["candidate"] == {"bpb": pytest.approx(2.0), "exact": 1.0, "json": 0.0}
    assert manners["arms"]["candidate"]["json"] == 1.0
    assert manners["arms"]["candidate"]["exact"] == 0.0 and "champion" not in manners["arms"]
    assert unnamed["category"] == "" and unnamed["arms"]["candidate"]["json"] is None


def test_the_table_leaves_out_what_was_not_asked():
    found = general_by_category(CASES, ["base", "candidate"])
    assert "| manners | 1 | 1 | 1.000 | 2.000 | 1.000 | 0.000 | 0.000 | 1.000 |" in (
        general_table(found)
    )
    silent = CASES.with_columns(predicted=pl.lit(None, pl.String))
    assert "| manners | 1 | 1.000 | 2.000 |" in general_table(
        general_by_category(silent, ["base", "candidate"])
    )
    task = CASES.filter(pl.col("kind") == "task")
    assert general_table(general_by_category(task, ["candidate"])) == ""
