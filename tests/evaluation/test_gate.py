"""The gate: every way to each verdict, with its reason; and arms held against each other."""

import polars as pl
import pytest

from curation.tasks.free_text import free_text
from curation.tasks.json_slots import json_slots
from evaluation.cases import CASE_SCHEMA
from evaluation.compare import pair_arms, weigh_pairs
from evaluation.gate import gate_values, judge_candidate
from evaluation.metrics.exact_match import exact_match
from evaluation.metrics.slot_f1 import slot_f1
from evaluation.metrics.task_bpb import task_bpb
from evaluation.paired import Comparison, compare_pairs

NO_CLUSTERS = pl.DataFrame(schema={"id": pl.String, "cluster": pl.String})
NO_TYPES = pl.DataFrame(schema={"id": pl.String, "error_type": pl.String})
BAD_SLICE = {"label": "lang", "value": "en", "n": 40, "old": 0.9, "new": 0.6, "gain": -0.3,
             "p": 0.001, "worse": True}  # fmt: skip
FINE_SLICE = {**BAD_SLICE, "worse": False}


def paired(n: int, *, fixed: int = 0, broken: int = 0) -> Comparison | None:
    gains = [1.0] * fixed + [-1.0] * broken + [0.0] * (n - fixed - broken)
    ids = [str(i) for i in range(n)]
    return compare_pairs(
        pl.DataFrame({"id": ids, "cluster": ids, "old": gains, "new": gains, "gain": gains})
    )


FEW, MANY = paired(60), paired(300)
BETTER, WORSE = paired(60, fixed=20, broken=2), paired(300, fixed=2, broken=20)


@pytest.mark.parametrize(
    ("rules_hold", "compared", "slices", "decision", "reason"),
    [
        (True, MANY, [FINE_SLICE], "promote", ""),
        (True, BETTER, [], "promote", ""),  # few cases, but enough to see it
        (True, FEW, [], "needs_people", "cannot be told from the champion on 60 cases; 200"),
        (True, None, [], "needs_people", "no test case of which the main metric"),
        (True, MANY, [BAD_SLICE], "needs_people", "worse where lang is en: 0.900 -> 0.600 on 40"),
        (True, BETTER, [BAD_SLICE], "needs_people", "lang is en"),
        (True, WORSE, [], "reject", "clearly worse than the champion"),
        (True, WORSE, [BAD_SLICE], "reject", "clearly worse than the champion"),
        (False, MANY, [], "reject", "leaks = 0 is not met (leaks 1)"),
        (False, BETTER, [], "reject", "leaks = 0"),
        (False, FEW, [BAD_SLICE], "reject", "leaks = 0"),
        (False, None, [], "reject", "leaks = 0"),
    ],
)
def test_every_verdict_has_its_reason(rules_hold, compared, slices, decision, reason):
    values = gate_values({"candidate": {}}, leaks=0 if rules_hold else 1, n_cases=9)
    verdict = judge_candidate(["leaks = 0"], values, paired=compared, slices=slices)
    assert verdict.decision == decision and verdict.promote == (decision == "promote")
    assert reason in verdict.line() and bool(verdict.reasons) == bool(reason)
    assert verdict.to_dict()["promote"] == verdict.promote


def test_what_so_few_cases_can_show_is_said_aloud():
    values = gate_values({"candidate": {}}, leaks=0, n_cases=60)
    verdict = judge_candidate(["leaks = 0"], values, paired=FEW, min_cases=50)
    assert verdict.decision == "promote"
    assert verdict.note.startswith("only 60 test cases, which show a difference of 0.13 or more")
    assert judge_candidate([], values, paired=MANY).note == ""


def test_a_missing_value_rejects_whatever_the_pairs_say():
    values = gate_values({"candidate": {"bleu": None}}, leaks=0, n_cases=60)
    verdict = judge_candidate(["bleu > 1", "leaks = 0"], values, paired=BETTER)
    assert verdict.decision == "reject" and "bleu is missing" in verdict.line()


def cases(arm: str, answers: dict[str, str], *, split: str = "test", lang: str = "zh"):
    rows = [
        {"id": prompt, "arm": arm, "split": split, "kind": "task", "lang": lang, "prompt": prompt,
         "gold": prompt.upper(), "predicted": said, "loss_nats": float(len(said)), "n_bytes": 1}
        for prompt, said in answers.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CASE_SCHEMA)


def test_arms_are_held_against_each_other_on_what_both_answered():
    every = pl.concat([
        cases("champion", {"a": "A", "b": "x", "c": "x", "only": "x"}),
        cases("candidate", {"a": "x", "b": "B", "c": "C", "new": "x"}),
        cases("champion", {"held": "HELD"}, split="heldout"),
        cases("candidate", {"held": "x"}, split="heldout"),
        cases("base", {"a": "x", "b": "x"}),
    ])  # fmt: skip
    clusters = pl.DataFrame({"id": ["b", "c"], "cluster": ["bc", "bc"]})
    types = pl.DataFrame({"id": ["held"], "error_type": ["too_short"]})
    pairs = pair_arms(
        every, clusters, types, arms=("champion", "candidate"), metric=exact_match(),
        better="higher", task=free_text(),
    )  # fmt: skip
    paired, _ = weigh_pairs(pairs)
    assert paired is not None and (paired.n, paired.clusters) == (3, 2)
    assert (paired.fixed, paired.broken) == (2, 1)
    assert pairs.select("id", "gain", "error_type").rows() == [
        ("a", -1.0, ""), ("b", 1.0, ""), ("c", 1.0, ""), ("held", -1.0, "too_short")
    ]  # fmt: skip


def test_error_types_are_a_slice_of_what_was_only_measured():
    names = [f"车窗{n}" for n in range(30)]
    every = pl.concat([
        cases("champion", dict.fromkeys(names, "x"), split="heldout"),
        cases("candidate", {name: name.upper() for name in names}, split="heldout"),
    ])  # fmt: skip
    types = pl.DataFrame({"id": names[:25], "error_type": ["too_short"] * 25})
    pairs = pair_arms(
        every, NO_CLUSTERS, types, arms=("champion", "candidate"), metric=exact_match(),
        better="higher", task=free_text(),
    )  # fmt: skip
    paired, (found,) = weigh_pairs(pairs)
    assert (found["label"], found["value"], found["n"], found["gain"]) == (
        "error_type", "too_short", 25, 1.0
    )  # fmt: skip
    assert paired is None  # there is no test case


def test_a_metric_of_which_less_is_better_gains_by_less():
    every = pl.concat([cases("champion", {"a": "long"}), cases("candidate", {"a": "x"})])
    pairs = pair_arms(
        every, NO_CLUSTERS, NO_TYPES, arms=("champion", "candidate"), metric=task_bpb(),
        better="lower", task=free_text(),
    )  # fmt: skip
    assert pairs["gain"].item() > 0


def test_a_case_of_which_a_metric_knows_nothing_is_no_pair():
    task = json_slots(fields=["actions"], grounded=False)
    every = pl.concat([cases("champion", {"a": "x"}), cases("candidate", {"a": "x"})])
    pairs = pair_arms(
        every, NO_CLUSTERS, NO_TYPES, arms=("champion", "candidate"), metric=slot_f1(),
        better="higher", task=task,
    )  # fmt: skip
    assert pairs.is_empty() and weigh_pairs(pairs) == (None, [])
