"""The exam: what is measured on is never trained on, whatever way it comes in."""

import polars as pl
import pytest

from curation.bad_cases import BAD_CASE_SCHEMA
from curation.exam import keep_exam, set_exam
from curation.fates import prove_conservation
from curation.once import REASON
from curation.rows import EDGE_SCHEMA, dialogue, make_row, rows_frame
from curation.split import half_of, name_clusters
from curation.tasks.free_text import free_text

TASK = free_text()
NO_PAIRS = pl.DataFrame(schema={"id": pl.String, "into": pl.String})
NO_EDGES, NO_CASES = EDGE_SCHEMA.to_frame(), BAD_CASE_SCHEMA.to_frame()


def rows(*prompts, answer="好", split="train", origin="import", track="domain"):
    talks = [dialogue(prompt, f"{answer}{prompt}") for prompt in prompts]
    return rows_frame(
        make_row(talk, split=split, origin=origin, track=track, source="s") for talk in talks
    )


def made_from(child, parent):
    edge = {"child": child["id"][0], "parent": parent["id"][0], "kind": "augment_seed", "call": ""}
    return pl.DataFrame([edge], schema=EDGE_SCHEMA)


def exam(
    candidates, imported=None, cases=NO_CASES, edges=NO_EDGES, pairs=NO_PAIRS, once=None, **options
):
    imported = candidates if imported is None else imported
    return set_exam(candidates, imported, cases, edges, pairs, once, task=TASK, **options)


def reasons(found):
    return dict(found.fates.select("id", "reason").iter_rows())


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
    found = exam(made, test, edges=made_from(made, test))
    assert found.rows.is_empty() and found.fates["reason"].to_list() == ["leak"]


WITHDRAWN = [
    ("打开空调", "打開空調！", "请把冷气开开"),
    ("Open the window", "open THE window!", "let air in"),
]


@pytest.mark.parametrize(("prompt", "same", "other"), WITHDRAWN)
def test_what_was_in_the_exam_once_is_not_trained_on_nor_what_stems_from_it(prompt, same, other):
    test, others = rows(prompt, split="test"), rows("关闭车窗", prompt + "吧", answer="行")
    then = exam(others, pl.concat([others, test]))
    again, made = rows(prompt, same, answer="行"), rows(other, origin="transform")
    pool, edges = pl.concat([others, again, made]), made_from(made, again)
    for _ in range(2):  # however often the exam is set without it
        now = exam(pool, edges=edges, once=then.once)
        assert set(now.rows["id"]) == set(others["id"]) and now.exam.is_empty()
        gone = now.fates.filter(pl.col("fate") == "dropped")
        assert set(gone["reason"]) == {REASON} and set(gone["into"]) == {""}
        assert now.once.equals(then.once)
        then = now
    assert exam(pool, edges=edges).rows.height == 5  # nobody remembers


@pytest.mark.parametrize(("prompt", "same", "other"), WITHDRAWN)
def test_a_row_that_one_was_merged_into_goes_with_it_and_a_near_one_alone_stays(
    prompt, same, other
):
    test, again, near = rows(prompt, split="test"), rows(same), rows(prompt + "吧")
    then = exam(near, pl.concat([near, test]))
    pairs = pl.DataFrame({"id": again["id"], "into": near["id"]})
    merged = exam(near, pl.concat([near, again]), pairs=pairs, once=then.once)
    assert reasons(merged) == {near["id"][0]: REASON}
    assert exam(near, once=merged.once).rows.height == 1


@pytest.mark.parametrize(("prompt", "same", "other"), WITHDRAWN)
def test_a_row_from_which_a_prompt_was_made_that_was_in_the_exam_once_stays(prompt, same, other):
    test, seed, made = rows(prompt, split="test"), rows(other), rows(same, origin="transform")
    then = exam(seed, pl.concat([seed, test]))
    pool, edges = pl.concat([seed, made]), made_from(made, seed)
    now = exam(pool, seed, edges=edges, once=then.once)
    assert reasons(now) == {seed["id"][0]: "", made["id"][0]: REASON}


def test_a_general_row_that_was_in_the_exam_once_is_known_by_its_very_prompt():
    test = rows("天空为什么是蓝的", "Why is the sky blue", split="test", track="general")
    then = exam(test.clear(), test)
    again = rows("天空为什么是蓝的", "Why is the sky blue", answer="因为", track="general")
    other = rows("天空为什么是蓝的？", "why is the sky blue?", answer="因为", track="general")
    pool = pl.concat([again, other])
    now = exam(pool, once=then.once)
    wanted = dict.fromkeys(other["id"], "") | dict.fromkeys(again["id"], REASON)
    assert reasons(now) == wanted
    then = (now.exam, now.clusters, now.once, now.withdrawn)
    kept = keep_exam(*then, pool, NO_CASES, NO_PAIRS, examined=test["id"], task=TASK)
    assert reasons(kept) == wanted


def test_of_what_is_in_the_exam_again_a_row_leaks_as_before():
    test, train = rows("打开空调", split="test"), rows("打开空调！", answer="行")
    then = exam(train, pl.concat([train, test]))
    without = exam(train, once=then.once)
    now = exam(train, pl.concat([train, test]), once=without.once)
    assert [*without.fates["reason"], *now.fates["reason"]] == [REASON, "leak"]
    assert now.fates["into"].to_list() == test["id"].to_list()


def test_a_row_that_gives_away_the_exam_of_now_names_the_row_it_gives_away():
    stays, gone = rows("打开空调", split="test"), rows("Open the window", split="test")
    again, merged = rows("open the window", answer="行"), rows("打开空调！", answer="行")
    then = exam(again, pl.concat([again, stays, gone]))
    pairs = pl.DataFrame({"id": merged["id"], "into": again["id"]})
    now = exam(again, pl.concat([again, merged, stays]), pairs=pairs, once=then.once)
    assert now.fates.select("reason", "into").rows() == [("leak", stays["id"][0])]


def test_nothing_is_withdrawn_while_the_exam_stays():
    """A held bad case guards its prompt, and not every talk that ends with the same words."""
    case = dict.fromkeys(BAD_CASE_SCHEMA, "") | {"prompt": "继续", "gold": "x", "half": "hold"}
    cases = pl.DataFrame([case], schema=BAD_CASE_SCHEMA)
    said = [*dialogue("讲个故事", "从前有座山"), *dialogue("继续", "山里有座庙")]
    talk = rows_frame([make_row(said, source="s")])
    then = exam(talk, cases=cases)
    now = exam(talk, cases=cases, once=then.once)
    assert then.rows.height == 1
    assert now.fates.equals(then.fates) and now.once.equals(then.once)
    assert exam(talk, once=then.once).rows.is_empty()


def test_a_row_that_became_the_repeat_of_another_is_not_withdrawn():
    """What is a repeat depends on what else came; what was delivered does not."""
    pool = rows(*(f"第{i}条路怎么走" for i in range(40)), *(f"Way {i}, please" for i in range(40)))
    then = exam(pool, test=0.2)
    gone, *_ = then.exam.filter("guarded")["id"]
    keeper = then.rows.head(1)
    pairs = pl.DataFrame({"id": [gone], "into": keeper["id"]})
    others = pool.filter(pl.col("id") != gone)
    now = exam(others, pool, pairs=pairs, once=then.once, test=0.2)
    assert now.withdrawn.is_empty() and now.once.equals(then.once)
    fresh = exam(others, pool, pairs=pairs, test=0.2)
    assert now.rows.equals(fresh.rows) and now.once.equals(fresh.once)
    withdrawn = exam(others, others, pairs=pairs, once=then.once, test=0.2)
    assert withdrawn.withdrawn.height == 2


def test_a_smaller_share_to_test_on_withdraws_what_it_no_longer_holds():
    pool = rows(*(f"第{i}条路怎么走" for i in range(40)), *(f"Way {i}, please" for i in range(40)))
    then = exam(pool, test=0.4)
    now = exam(pool, once=then.once, test=0.2)
    gone = {*then.exam["id"]} - {*now.exam["id"]}
    assert gone and {i for i, said in reasons(now).items() if said == REASON} == gone


@pytest.mark.parametrize("prompt", ["打开空调", "Close the trunk"])
def test_a_row_of_the_exam_that_another_source_calls_general_leaves_no_trace(prompt):
    domain, other = rows(prompt, split="heldout"), rows(prompt + "吧", split="test")
    general = domain.with_columns(track=pl.lit("general"), split=pl.lit("test"))
    train = rows(prompt + "！", answer="行")
    then = exam(train, pl.concat([train, domain, other]))
    given = pl.concat([train, general, other])
    now, fresh = exam(train, given, once=then.once), exam(train, given)
    assert now.once.equals(fresh.once) and now.fates.equals(fresh.fates)


def test_another_edition_of_the_exam_begins_anew():
    test, train = rows("打开空调", split="test"), rows("打开空调", answer="行")
    then = exam(train, pl.concat([train, test]))
    now = exam(train, once=then.once, edition=2)
    assert now.rows.height == 1 and now.once.is_empty()
    with pytest.raises(ValueError, match="split.edition is 0; editions count from 1"):
        exam(train, edition=0)


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
