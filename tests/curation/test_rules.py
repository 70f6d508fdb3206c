"""One rule language for rows and models: what is missing never passes."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.fates import FATE_SCHEMA
from curation.rules import judge_rows, judge_values, parse_rules


def scored(**columns):
    n = len(next(iter(columns.values())))
    return pl.DataFrame({"id": [f"{i:032x}" for i in range(n)], "source": ["s"] * n, **columns})


def reasons(rows, rules):
    return judge_rows(rows, rules)["reason"].to_list()


def test_the_first_broken_rule_is_the_reason_with_its_numbers():
    rows = scored(perplexity=[100.0, 400.0, 500.0], task_valid=[True, True, False])
    fates = judge_rows(rows, ["task_valid", "perplexity < 300"])
    assert fates.schema == FATE_SCHEMA
    assert fates.select("fate", "reason", "value", "threshold").rows() == [
        ("kept", "", None, None),
        ("dropped", "perplexity < 300", 400.0, 300.0),
        ("dropped", "task_valid", None, None),
    ]


def test_missing_score_breaks_a_rule_and_its_opposite():
    rows = scored(
        s=[None, math.nan, math.inf, -math.inf], ok=pl.Series([None] * 4, dtype=pl.Boolean)
    )
    for rule in ("s > 0.5", "s <= 0.5", "not s > 0.5", "s <> 1", "s not in (1, 2)", "ok", "not ok"):
        assert reasons(rows, [rule]) == [rule] * 4


def test_a_row_may_be_exempt_from_a_score_it_does_not_have():
    rows = scored(reward=[None, None, 0.5], track=["domain", "general", "general"])
    rule = "reward > 0.02 or track = 'domain'"
    assert reasons(rows, [rule]) == ["", rule, ""]


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="unknown column 'perplexty'.*did you mean 'perplexity'"):
        parse_rules(["perplexty < 300"], ["id", "perplexity"])
    with pytest.raises(ValueError, match="text stands in single quotes: 'domain'"):
        parse_rules(['track = "domain"'], ["track"])


@pytest.mark.parametrize(
    "rule",
    [
        "a <",
        "",
        "select 1",
        "a; b",
        "avg(a) > 1",
        "a > max(a) * 0.5",
        "rank() over (order by a) > 1",
    ]
    + ["a / b > 1", "a % 2 = 0", "coalesce(a, 1) > 0", "1 = 1", "a > (select 1)", "a > 1 -- no"],
)
def test_what_is_not_a_condition_on_one_row_is_refused_in_one_line(rule):
    with pytest.raises(ValueError) as error:
        parse_rules([rule], ["a", "b"])
    assert repr(rule) in str(error.value) and "\n" not in str(error.value)


def test_with_a_schema_a_number_is_not_taken_for_a_condition():
    with pytest.raises(ValueError, match="'perplexity' is Float64, not a condition"):
        parse_rules(["perplexity"], {"perplexity": pl.Float64()})
    with pytest.raises(ValueError, match="'track < 3'"):
        judge_rows(scored(track=["a"]), ["track < 3"])
    assert len(parse_rules(["not pii"], pl.Schema({"pii": pl.Boolean}))) == 1


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [("a<3", 3), (" a >= -1.5e-2 ", -0.015), ("a <> 0", 0), ("a < b", None), ("3 > a", None)],
)
def test_the_threshold_is_that_of_a_column_against_a_number(rule, threshold):
    assert parse_rules([rule], ["a", "b"])[0].threshold == threshold


def test_no_rules_keep_every_row():
    assert judge_rows(scored(a=[1.0, None]), [])["fate"].to_list() == ["kept", "kept"]
    assert judge_rows(scored(a=[1.0]).clear(), ["a > 0"]).schema == FATE_SCHEMA


def test_models_are_judged_in_the_same_language():
    rules = ["exact_match >= champion_exact_match", "bpb <= base_bpb * 1.03", "leaks = 0", "signed"]
    values = {"exact_match": 0.71, "champion_exact_match": 0.46, "bpb": 1.05, "base_bpb": 1.0}
    verdicts = judge_values(rules, {**values, "leaks": 0, "signed": True})
    assert [ok for _, ok, _ in verdicts] == [True, False, True, True]
    assert verdicts[0][2] == "exact_match 0.71, champion_exact_match 0.46"


def test_a_model_without_a_measurement_does_not_pass():
    rules = ["f1 > 0.5", "not f1 > 0.5", "signed", "not signed", "f1 > other"]
    for missing in (None, math.nan, math.inf):
        verdicts = judge_values(rules, {"f1": missing, "signed": None, "other": None})
        assert [ok for _, ok, _ in verdicts] == [False] * 5
    assert verdicts[0][2] == "f1 is missing"


@given(st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=20), st.floats(-5, 5))
def test_a_rule_and_its_negation_split_the_rows_that_have_a_value(values, threshold):
    rows = scored(s=pl.Series(values, dtype=pl.Float64))
    text = f"{threshold:.3f}"
    under = judge_rows(rows, [f"s < {text}"])["fate"] == "kept"
    over = judge_rows(rows, [f"not s < {text}"])["fate"] == "kept"
    finite = pl.Series([v is not None and math.isfinite(v) for v in values])
    assert (under ^ over).to_list() == finite.to_list()
    assert not (under & over).any()


@given(st.permutations(range(8)))
def test_a_row_is_judged_without_its_neighbours(order):
    rows = scored(s=[0.1 * i for i in range(8)])
    rules = ["s < 0.5", "s > 0.15"]
    alone = {row["id"]: row for i in range(8) for row in judge_rows(rows[i], rules).to_dicts()}
    assert {r["id"]: r for r in judge_rows(rows[list(order)], rules).to_dicts()} == alone
