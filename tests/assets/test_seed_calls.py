"""Seeds answered by a model in a build: edges, accounts, and what a delivery costs."""

import json
from pathlib import Path
from typing import Any

import pytest

from curation.scripted_llm import ScriptedLLM
from tests.assets._project import PLAIN, SEEDS, Project, command, talk

GOLD = {seed["prompt"]: seed["answer"] for seed in [*SEEDS, command("香薰机")]}


def respond(request: dict[str, Any]) -> dict[str, Any]:
    user = request["messages"][1]["content"]
    return {"answer": GOLD[json.loads(user.split("<data>\n")[1].split("\n</data>")[0])]}


def test_a_delivery_of_seeds_costs_its_own_calls(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TEST_KEY", "secret-of-this-test")
    with ScriptedLLM(respond) as server:
        asked = {"use": "distill", "model": "m", "base_url": server.base_url, "shots": 2}
        asked |= {"api_key": "TEST_KEY", "form": "few_shot", "perplexity": [0.0, 1.0]}
        project = Project(tmp_path, tiny_base, **PLAIN, augment=asked)
        project.write("seeds/1.jsonl", SEEDS)
        project.write("general/1.jsonl", talk(5))
        project.build(last="augmented_rows")
        first = project.head("augmented_rows")
        frozen = first.input("reference").data_version
        made, edges = first.table("rows"), first.table("edges")
        assert made.height == server.count > 0 and {*made["n_turns"]} == {3}
        assert dict(edges["kind"].value_counts().iter_rows()) == {
            "transform": made.height,
            "fewshot": 2 * made.height,
        }
        project.write("seeds/2.jsonl", [command("香薰机")])
        project.build(last="augmented_rows")
        later = project.head("augmented_rows").table("rows")
        assert server.count == made.height + 1
    assert project.head("augmented_rows").input("reference").data_version == frozen
    assert {*later["id"]} > {*made["id"]} and later.height == made.height + 1
