"""A bad case that was only a pair is found by every question about what a version learned."""

from typing import Any

import pytest

from curation.lineage import explain_model, find_model_leaks, find_users, trace_case, training_pairs
from curation.lineage.states import list_states
from curation.store import Store
from pipelines.cli_answers import say_model, say_users
from pipelines.cli_cases import say_case
from tests.curation.lineage_world import TASK, Plan, answer, case, publish
from tests.curation.test_lineage_cases import LEARN, deliver, plan

WRONG = {LEARN["prompt"]: "{}"}


@pytest.fixture
def store(tmp_path):
    """v1 was made without the case, v2 was preferred on it and made no row of it."""
    store = Store(tmp_path)
    deliver(store, LEARN)
    publish(store, plan())
    publish(store, plan(cases=[LEARN], taught=[LEARN], answers=WRONG))
    return store


def test_a_case_that_was_a_pair_is_trained_on(store: Store):
    said: Any = trace_case(store, "w", LEARN["prompt"])
    assert said["state"] == "trained on in v2"
    assert [version["pairs"] for version in said["versions"]] == [0, 1]
    why = "v2 was taught its right answer over the wrong one and answers it wrong"
    assert said["why"] == why
    assert any("0 and as a pair" in line for line in say_case(said))
    (listed,) = list_states(store, "w")
    assert (listed["state"], listed["version"]) == ("trained", "v2")


@pytest.mark.parametrize("word", ["id", "row_id", "prompt"])
def test_who_used_a_case_names_the_version_that_was_taught_by_it(store: Store, word: str):
    said = find_users(store, "w", LEARN[word])
    assert [(v["version"], v["pairs"], v["n_rows"]) for v in said["versions"]] == [("v2", 1, 0)]
    assert any("in a pair" in line for line in say_users(said))


def test_the_pairs_of_a_version_are_listed_and_counted(store: Store):
    pairs = training_pairs(store, "w", "v2")
    assert pairs.select("of", "chosen", "rejected").row(0) == (LEARN["id"], LEARN["gold"], "{}")
    assert training_pairs(store, "w", "v1").is_empty()
    told = explain_model(store, "w", "v2")
    assert told["lineage"]["pairs"] == 1
    shown: Any = {**told, "metrics": {"candidate": {"exact_match": 0.5}}}
    assert any("1 pairs of a right" in line for line in say_model(shown))


def test_a_pair_that_gives_the_exam_away_is_a_leak(tmp_path):
    store, asked = Store(tmp_path), ("把天窗打开一点", answer("打开", "天窗"))
    labels = {"exam": {"split": "test"}}
    taught = {**case(asked[0] + "！", asked[1]), "half": "learn"}
    sources = {"exam": [asked], "seeds": [("关闭车灯", answer("关闭", "车灯"))]}
    publish(store, Plan(sources=sources, labels=labels, recipe={"mix": {"general": 0}}))
    assert not find_model_leaks(store, "w", "v1", task=TASK)["leaks"]
    publish(
        store, Plan(sources=sources, labels=labels, recipe={"mix": {"general": 0}}, taught=[taught])
    )
    leaks = find_model_leaks(store, "w", "v2", task=TASK)["leaks"]
    assert [leak["how"] for leak in leaks] == ["exact"]
