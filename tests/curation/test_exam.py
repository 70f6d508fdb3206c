"""The exam: what is measured on is never trained on, whatever way it comes in."""

import polars as pl

from curation.bad_cases import BAD_CASE_SCHEMA
from curation.exam import name_clusters, set_exam
from curation.fates import prove_conservation
from curation.rows import EDGE_SCHEMA, dialogue, make_row, rows_frame
from curation.split import half_of
from curation.tasks.free_text import free_text

TASK = free_text()
NO_PAIRS = pl.DataFrame(schema={"id": pl.String, "into": pl.String})
NO_EDGES, NO_CASES = EDGE_SCHEMA.to_frame(), BAD_CASE_SCHEMA.to_frame()


def rows(*prompts, split="train", origin="import", answer="好"):
    return rows_frame(
        make_row(dialogue(p, f"{answer}{p}"), split=split, origin=origin, source="s")
        for p in prompts
    )


def exam(candidates, imported=None, cases=NO_CASES, edges=NO_EDGES, **shares):
    imported = candidates if imported is None else imported
    return set_exam(candidates, imported, cases, edges, NO_PAIRS, task=TASK, **shares)


def by_half(n=20):
    """Held-out rows of the half to learn from, and of the half that is held back."""
    pool = rows(*(f"第{i}条路怎么走" for i in range(n)), split="heldout")
    halves = {i: half_of(name) for i, name in name_clusters(pool).iter_rows()}
    sides = pl.col("id").replace_strict(halves)
    return pool.filter(sides == "learn"), pool.filter(sides == "hold")


def test_a_candidate_with_the_prompt_of_a_test_row_is_a_leak():
    test = rows("打开空调", split="test")
    found = exam(rows("打开空调", "关闭车窗", answer="行"), test)
    assert found.rows.height == 1 and found.exam["guarded"].all()
    assert dict(found.fates.group_by("reason").len().iter_rows()) == {"": 1, "leak": 1}


def test_what_is_made_from_a_test_row_leaks_with_it():
    test, made = rows("打开空调", split="test"), rows("请把冷气开开", origin="transform")
    edge = {"child": made["id"][0], "parent": test["id"][0], "kind": "augment_seed", "call": ""}
    found = exam(made, test, edges=pl.DataFrame([edge], schema=EDGE_SCHEMA))
    assert found.rows.is_empty() and found.fates["reason"].to_list() == ["leak"]


def test_the_learn_half_may_be_trained_on_and_the_hold_half_may_not():
    learn, hold = by_half()
    assert learn.height and hold.height
    heldout = pl.concat([learn, hold])
    corrected = heldout.with_columns(split=pl.lit("train"), origin=pl.lit("badcase"))
    found = exam(corrected, heldout)
    assert set(found.rows["id"]) == set(learn["id"])
    assert set(found.exam.filter("guarded")["id"]) == set(hold["id"])


def test_a_held_bad_case_is_guarded_although_no_source_delivered_it():
    case = {name: "" for name in BAD_CASE_SCHEMA} | {
        "prompt": "打开空调",
        "gold": "x",
        "half": "hold",
    }
    found = exam(rows("打开空调", "关闭车窗"), cases=pl.DataFrame([case], schema=BAD_CASE_SCHEMA))
    assert found.rows.height == 1


def test_shares_hold_out_rows_that_stay_held_out_when_the_pool_grows():
    small = rows(*(f"去第{i}号车站" for i in range(200)))
    large = pl.concat([small, rows(*(f"去第{i}号机场" for i in range(50)))])
    first, second = (exam(pool, test=0.1, heldout=0.2) for pool in (small, large))
    assert 0.04 < first.exam.filter(pl.col("split") == "test").height / 200 < 0.2
    assert set(first.exam["id"]) <= set(second.exam["id"])
    assert not set(first.exam["id"]) & set(second.rows["id"])


def test_every_candidate_has_one_fate():
    candidates = rows(*(f"去第{i}号车站" for i in range(50)))
    found = exam(candidates, test=0.2, heldout=0.2)
    assert prove_conservation(candidates, found.fates)["conserved"].all()
