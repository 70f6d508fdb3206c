"""Bad cases are asked beside the exam, the newest first, and what is fixed or broken is counted."""

import polars as pl

from curation.bad_cases import BAD_CASE_SCHEMA, add_bad_cases, read_inbox, snapshot_inbox
from curation.store import Store
from curation.tasks.free_text import free_text
from evaluation.bad_cases import cases_to_ask, count_fixed_cases, fixed_table

TASK = free_text()
PROMPTS = [f"把{n}号窗关上" for n in range(9)] + ["close the roof", "mute the radio"]


def snapshot(folder, prompts=PROMPTS) -> tuple[pl.DataFrame, list[str]]:
    """The snapshot of cases delivered one by one, and their ids in that order."""
    store = Store(folder)
    for prompt in prompts:
        add_bad_cases(store, [("1", {"prompt": prompt, "gold": "好", "predicted": "不"})])
    return snapshot_inbox(store, task=TASK), [case["id"] for case in read_inbox(store)]


def marked(cases: pl.DataFrame, arm: str, right: list[str]) -> pl.DataFrame:
    exact = cases["prompt"].is_in(right)
    return cases.select(id="row_id", arm=pl.lit(arm), exact=exact)


def test_the_newest_cases_are_asked_and_the_rest_is_counted(tmp_path):
    cases, delivered = snapshot(tmp_path)
    rows, left = cases_to_ask(cases, [], delivered, task=TASK, limit=3)
    asked = {turn["content"] for turns in rows["messages"] for turn in turns} - {"好"}
    assert asked == set(PROMPTS[-3:]) and left == len(PROMPTS) - 3
    assert set(rows["split"]) == {"badcase"} and rows["id"].is_in(cases["row_id"].implode()).all()


def test_what_the_exam_asks_and_the_same_question_are_not_asked_again(tmp_path):
    cases, delivered = snapshot(tmp_path)
    twice = cases.with_columns(id=pl.col("id").str.reverse(), signature=pl.lit("another"))
    rows, left = cases_to_ask(
        pl.concat([cases, twice]), cases["row_id"].head(6), delivered, task=TASK, limit=9
    )
    assert sorted(rows["id"]) == sorted(cases["row_id"].tail(-6)) and not left


def test_fixed_and_broken_are_counted_by_half_and_type_and_a_question_once(tmp_path):
    cases, _ = snapshot(tmp_path)
    learn = cases.filter(pl.col("half") == "learn")["prompt"].to_list()
    twice = cases.with_columns(id=pl.col("id").str.reverse(), signature=pl.lit("another|type"))
    both = [marked(cases, "candidate", learn[1:]), marked(cases, "champion", learn[:2])]
    said = count_fixed_cases(pl.concat(both), pl.concat([cases, twice]))
    n = len(learn)
    assert said["halves"]["learn"] == {"n": n, "asked": n, "fixed": n - 1, "broken": 1}
    held = len(PROMPTS) - n
    assert said["halves"]["hold"] == {"n": held, "asked": held, "fixed": 0, "broken": 0}
    assert [*said["types"]] == sorted(["another|type", *cases["signature"].unique()])
    table = fixed_table(said)
    assert f"| {n} | {n - 1} | 1 |" in table and "another|type" not in table


def test_without_a_champion_or_an_answer_nothing_is_broken_or_fixed(tmp_path):
    cases, _ = snapshot(tmp_path)
    few = marked(cases, "candidate", PROMPTS).head(2)
    halves = count_fixed_cases(few, cases)["halves"].values()
    assert sum(h["asked"] for h in halves) == sum(h["fixed"] for h in halves) == 2
    assert sum(h["broken"] for h in halves) == 0
    none = pl.DataFrame(schema=BAD_CASE_SCHEMA)
    assert fixed_table(count_fixed_cases(few, none)) == ""
    assert cases_to_ask(none, [], [], task=TASK, limit=3)[1] == 0
