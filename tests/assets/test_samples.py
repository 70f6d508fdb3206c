"""Where people look first, a kind of error whose sample failed gets no rows that nobody judged."""

import itertools
from pathlib import Path

import pytest

from curation.accounts import Account, count_rows, prove_chain
from curation.bad_cases import add_bad_cases
from curation.lineage import explain_row
from curation.lineage.finding import row_places, rows_by_id
from curation.lineage.views import newest_view
from curation.review_rows import read_material
from curation.review_samples import sample_groups
from curation.reviews import INBOX, add_verdicts, read_said
from curation.scripted_llm import ScriptedLLM
from curation.waiting import find_reviewed
from tests.assets._project import HAN, PLAIN, SEEDS, Project, case_of, command, talk

THINGS = ["".join(pair) for pair in itertools.combinations(HAN, 2)]


def respond(request):
    """Rows about things that were not named before, as many as a call may ask for."""
    start = 20 * request["messages"][1]["content"].count("people: ") + 7
    rows = [command(what) for what in THINGS[start : start + 20]]
    return {"rows": [{"from": 1, **row} for row in rows]}


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEST_KEY", "secret-of-this-test")
    with ScriptedLLM(respond) as server:
        asked = {"use": "llm", "model": "m", "base_url": server.base_url, "api_key": "TEST_KEY"}
        asked |= {"look_first": "people", "per_call": 20, "min_yield": 0.0}
        project = Project(tmp_path, tiny_base, **PLAIN, augment=asked)
        project.write("seeds/1.jsonl", SEEDS)
        project.write("general/1.jsonl", talk(5))
        wrong = [case_of(command(f"车窗{n}号")) for n in range(12)]
        add_bad_cases(project.store, [(str(n), case) for n, case in enumerate(wrong)])
        project.build(last="kept_rows")
        yield project, server


def say(project, ids, verdict):
    records = [{"id": i, "verdict": verdict, "reason": "不自然", "by": "甲"} for i in ids]
    add_verdicts(project.store, [(f"{verdict}:{i['id']}", i) for i in records])
    project.build(last="kept_rows")


def samples_of(project):
    material = read_material(newest_view(project.store, project.recipe.name), project.recipe.keep)
    said = read_said(INBOX.read(project.store))
    return {one["group"]: one for one in sample_groups(material.rows, said)}


def test_rows_of_a_type_whose_sample_failed_wait_for_people(project):
    project, server = project
    first = project.head("augmented_rows").table("rows")
    (signature,) = project.head("error_types").table("rows")["signature"]
    assert first.height == 20 and samples_of(project)[signature]["rows"] == 20
    ids = first["id"].to_list()
    say(project, ids[:3], "reject")
    assert samples_of(project)[signature]["state"] == "failed"
    say(project, ids[3:4], "accept")  # and with any build from now on
    version, bought = project.head("augmented_rows"), server.count
    waiting = version.table("waiting")
    assert {*version.table("rows")["id"]} == {*ids[:4]} and {*waiting["id"]} == {*ids[4:]}
    account = Account.read(version)
    assert account and count_rows(account.left["waiting"]) == 16
    kept = {*project.head("kept_rows").table("rows")["id"]}
    assert ids[3] in kept and kept.isdisjoint({*ids[:3], *ids[4:]})
    assert all(link.holds for link in prove_chain(project.head("kept_rows")))
    # They are still asked about, and each that people accept is a row in the next build.
    view = newest_view(project.store, project.recipe.name)
    assert rows_by_id(row_places(view), ids[4:6]).height == 2
    assert samples_of(project)[signature]["rows"] == 20
    assert find_reviewed(project.store, "delta", [ids[4][:12]]) == ids[4:5]
    (why,) = explain_row(project.store, "delta", ids[4])
    assert why["verdict"].startswith(
        f"waits at augmented_rows: the sample of its error type {signature!r} f"
    )
    assert f"`winnow reviews accept {ids[4][:12]}`" in why["verdict"] and why["stems_from"]
    say(project, ids[4:6], "accept")
    assert {*ids[3:6]} <= {*project.head("kept_rows").table("rows")["id"]}
    (why,) = explain_row(project.store, "delta", ids[4])
    assert why["verdict"] == "kept at kept_rows; training_set has not been built yet"
    assert project.head("augmented_rows").table("waiting").height == 14 and server.count == bought
    (stopped,) = project.head("augmented_rows").table("types")["stopped"]
    assert stopped == "sample failed, 14 rows wait for verdicts"
