"""What was bought from a language model is read again and never bought again."""

from dataclasses import replace

import polars as pl
import pytest

from curation.augmenters._base import BOUGHT_SCHEMA, Bought
from curation.llm_ledger import LEDGER, read_calls
from curation.scripted_llm import ScriptedLLM
from tests.curation.test_llm_augmenter import CASES, answer, bad_case, good_rows, key, run, work

WRONG, MISSING = "wrong_value:actions.value", "missing:actions"
NEW = bad_case(7, "后窗28度", answer("后窗", "28度"), answer("后窗", "27度"))

__all__ = ["key"]


def bought(made, folder, cases):
    """What an earlier version that made this hands on."""
    calls = pl.DataFrame(made.bought, schema=BOUGHT_SCHEMA)
    answers = read_calls(folder / LEDGER, set(calls["call"]))
    return Bought(calls, answers, frozenset(case["id"] for case in cases))


@pytest.fixture
def first(tmp_path, key):
    """Eight rows of one type from two calls, and what is handed on of them."""
    folder = tmp_path / "first"
    with ScriptedLLM(good_rows) as server:
        made = run(server, key, work(folder), per_call=5)
        assert server.count == 2 and len(made.rows) == 8
    return made, bought(made, folder, CASES)


def again(tmp_path, key, handed, *, respond=good_rows, **said):
    """A later version on another machine: the augmented rows, and the texts of its new calls."""
    given = replace(work(tmp_path / "later", **said), bought=handed)
    with ScriptedLLM(respond) as server:
        made = run(server, key, given, per_call=5)
        return made, [r["messages"][1]["content"] for r in server.requests]


def test_the_same_cases_and_quota_cost_nothing_without_the_ledger(tmp_path, key, first):
    made, asked = again(tmp_path, key, first[1])
    assert not asked and made.rows == first[0].rows and made.edges == first[0].edges
    assert made.bought == first[0].bought and made.rejected == first[0].rejected


def test_another_quota_buys_what_is_missing_and_keeps_what_is_too_much(tmp_path, key, first):
    more, asked = again(tmp_path, key, first[1], quotas={WRONG: 10})
    assert len(asked) == 1 and more.rows[:8] == first[0].rows and len(more.rows) == 10
    less, asked = again(tmp_path, key, first[1], quotas={WRONG: 3})
    assert not asked and less.rows == first[0].rows[:3] and less.bought == first[0].bought


def test_a_new_case_of_a_known_type_is_what_the_new_call_shows(tmp_path, key, first):
    many = [bad_case(n, f"座椅{n}度", answer("座椅", f"{n}度"), "{}") for n in range(10, 18)]
    said = {"cases": [*CASES, *many, NEW], "quotas": {WRONG: 18}}
    handed = replace(first[1], known=frozenset(c["id"] for c in [*CASES, *many]))
    made, asked = again(tmp_path, key, handed, **said)
    assert made.rows[:8] == first[0].rows and len(asked) == 2
    shown = [set(call["cases"]) for call in made.bought[2:]]
    assert len(shown[0]) == 5 and shown[0] | shown[1] >= {case["id"] for case in [*many, NEW]}
    assert not shown[0] & {case["id"] for case in CASES}


def test_another_type_costs_its_own_calls(tmp_path, key, first):
    case = bad_case(3, "开灯", answer("灯", "开"), "{}", MISSING)
    made, asked = again(
        tmp_path, key, first[1], cases=[*CASES, case], quotas={WRONG: 8, MISSING: 2}
    )
    assert len(asked) == 1 and MISSING in asked[0]
    assert made.rows[:8] == first[0].rows


def test_what_showed_a_case_that_is_gone_is_bought_anew(tmp_path, key, first):
    made, asked = again(tmp_path, key, first[1], cases=[CASES[1], NEW])
    assert asked and not any(CASES[0]["prompt"] in text for text in asked)
    assert all(CASES[0]["id"] not in call["cases"] for call in made.bought)


def test_a_type_that_was_stopped_stays_so_until_a_new_case_comes(tmp_path, key):
    def refused(request):
        return {"rows": [row | {"answer": "?"} for row in good_rows(request)["rows"]]}

    folder = tmp_path / "first"
    with ScriptedLLM(refused) as server:
        made = run(server, key, work(folder))
        assert server.count == 1 and not made.rows
    handed = bought(made, folder, CASES)
    assert again(tmp_path, key, handed)[1] == []
    later, asked = again(tmp_path, key, handed, cases=[*CASES, NEW])
    assert NEW["prompt"] in asked[0] and "not_json" in asked[0]
    assert len(later.rows) == 8


def test_rows_are_judged_by_the_checks_of_today(tmp_path, key, first):
    prompt = first[0].rows[0]["messages"][1]["content"]
    known = bad_case(9, prompt, answer("水温", "1度"), "{}")
    made, _ = again(tmp_path, key, first[1], cases=[*CASES, known])
    assert prompt not in [row["messages"][1]["content"] for row in made.rows]
    assert "repeats_a_known_prompt" in {said["reason"] for said in made.rejected}
