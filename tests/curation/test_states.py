"""States: every bad case has one with its reason, of all at once the same as of each."""

import random

import polars as pl
import pytest

from curation.bad_cases import add_bad_cases
from curation.lineage import trace_case
from curation.lineage.states import STATES, judge_answers, list_states, say_state
from curation.store import Store
from tests.curation.lineage_world import Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
GOLD = answer("关闭", "雨刮")
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水"
PROMPTS = ["".join(random.Random(n).sample(HAN, 6 + n)) for n in range(24)]  # no two are alike
EVERY = [case(prompt, GOLD) for prompt in PROMPTS]
LEARN = [c for c in EVERY if c["half"] == "learn"]
HELD = [c for c in EVERY if c["half"] == "hold"]
WRONG = "{}"


def fix(of):
    return (of["prompt"], of["gold"], of["id"], "fix")


def build(store, cases, *, answers=None, made=(), drop="", promoted=True, turn=0):
    """One version; `drop` are prompts whose rows no rule keeps."""
    keep = [f"n_chars <> {len(drop) + len(GOLD)}"] if drop else ["n_chars <= 400"]
    publish(store, Plan(sources={"seeds": SEEDS}, cases=cases, made=[*made], keep=keep,
                        answers=answers or {}, promoted=promoted,
                        recipe={"mix": {"general": turn}}))  # fmt: skip


def traced(store, of):
    said = trace_case(store, "w", of["id"])
    assert said is not None
    return said["state"], said["why"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([], None),
        ([None, False], None),
        ([False, True], ("fixed", "v2")),
        ([True, None, True], ("fixed", "v1")),
        ([True, False], ("regressed", "v2")),
        ([True, False, False], ("regressed", "v2")),
        ([True, False, True], ("fixed", "v3")),
    ],
)
def test_the_last_turn_of_the_answers_is_the_state(answers, said):
    assert judge_answers((f"v{n}", right) for n, right in enumerate(answers, 1)) == said


def test_each_case_has_the_state_and_reason_that_its_life_gave_it(store):
    refixed, broken, stuck, dropped, unmade, late = LEARN[:6]
    asked = [refixed, broken, stuck, dropped, unmade]
    cases = [*asked, HELD[0], HELD[1]]
    wrong = {c["prompt"]: WRONG for c in cases}
    made = [fix(refixed), fix(broken), fix(stuck), fix(dropped)]
    right = {refixed["prompt"]: GOLD, broken["prompt"]: GOLD, HELD[1]["prompt"]: GOLD}
    build(store, cases, answers=wrong, made=made, drop=dropped["prompt"])
    build(store, cases, answers=wrong | right, made=made, drop=dropped["prompt"], promoted=False,
          turn=1)  # fmt: skip
    again = wrong | right | {broken["prompt"]: WRONG}
    build(store, cases, answers=again, made=made, drop=dropped["prompt"], turn=2)
    add_bad_cases(store, [("1", {n: late[n] for n in ("prompt", "gold", "predicted")})])
    said = {
        refixed["id"]: ("fixed in v2", "v2 answers it right, but the gate rejected it"),
        broken["id"]: ("regressed in v3", "v3 answers it wrong, and a version before"),
        stuck["id"]: ("trained on in v3", "made from it (1 of 1 rows) and answers it wrong"),
        dropped["id"]: ("augmented", "1 of 1: dropped at kept_rows: n_chars <>"),
        unmade["id"]: ("open", "v3 was built with it and made no row of it"),
        late["id"]: ("open", "it waits for the next build"),
        HELD[0]["id"]: ("held back, to be measured on", "this half; v3 answers it wrong"),
        HELD[1]["id"]: ("fixed in v2", "v2 answers it right"),
    }
    listed = list_states(store, "w")
    assert {c["id"]: say_state(c["state"], c["version"]) for c in listed} == {
        id: state for id, (state, _) in said.items()
    }
    for one in [*cases, late]:
        state, why = traced(store, one)
        assert state == said[one["id"]][0] and said[one["id"]][1] in why, (state, why)
    counts = {s: len(list_states(store, "w", state=s)) for s in STATES}
    assert counts == {"open": 2, "held": 1, "augmented": 1, "trained": 1, "fixed": 2,
                      "regressed": 1}  # fmt: skip


def test_a_refused_correction_is_the_reason_why_nothing_was_made(store):
    refused = [(LEARN[0]["prompt"], "ungrounded", "c")]
    publish(store, Plan(sources={"seeds": SEEDS}, cases=LEARN[:1], rejected=refused))
    assert traced(store, LEARN[0]) == (
        "open",
        "v1 was built with it and made no row of it; its correction was refused: ungrounded",
    )


def test_what_stems_from_a_case_in_two_steps_or_through_its_row_counts(store):
    child = (
        "请关闭副驾氛围灯",
        answer("关闭", "副驾氛围灯"),
        LEARN[0]["row_id"],
        "augment_badcase",
    )
    build(store, LEARN[:2], made=[child])
    said = {c["id"]: c["state"] for c in list_states(store, "w")}
    assert said == {LEARN[0]["id"]: "trained", LEARN[1]["id"]: "open"}


def test_before_the_first_model_the_inbox_is_listed_in_order_and_both_halves_are_told(store):
    some = [LEARN[0], HELD[0], LEARN[1]]
    add_bad_cases(store, [("1", {n: c[n] for n in ("prompt", "gold", "predicted")}) for c in some])
    listed = pl.DataFrame(list_states(store, "w"))
    assert listed["id"].to_list() == [c["id"] for c in some]
    assert listed["state"].to_list() == ["open", "held", "open"]
    assert listed["at"].null_count() == 0
