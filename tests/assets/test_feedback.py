"""The feedback stages: every bad case in the inbox is in the snapshot, or the run stops."""

import shutil

import pytest

from assets import feedback
from assets.stage import CheckFailed
from curation.accounts import prove_chain
from curation.bad_cases import add_bad_cases
from tests.assets._project import SEEDS, Project, talk

CASES = [
    {"prompt": f"能不能打开{thing}", "gold": "{}", "predicted": "好的"}
    for thing in ("空调", "天窗", "车灯", "雨刮", "the radio")
]


@pytest.fixture
def project(tmp_path, tiny_base) -> Project:
    project = Project(tmp_path, tiny_base)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(5))
    add_bad_cases(project.store, [(str(i), case) for i, case in enumerate(CASES)])
    return project


def test_the_account_of_the_inbox_stands_in_the_chain(project):
    add_bad_cases(project.store, [("9", {"prompt": "没有答案"})])
    project.build(last="split_rows")
    links = prove_chain(project.head("split_rows"))
    (line,) = [link.line for link in links if link.step == "bad_cases"]
    assert all(link.holds for link in links), links
    halves = project.head("bad_cases").values["halves"]
    assert line == f"6 in = {halves['hold']} hold + {halves['learn']} learn + 1 quarantined"


def test_a_bad_case_that_the_snapshot_loses_stops_the_run(project, monkeypatch):
    project.build(last="bad_cases")
    whole, take = project.head("bad_cases"), feedback.snapshot_inbox
    add_bad_cases(project.store, [("9", CASES[0] | {"predicted": "别的"})])
    monkeypatch.setattr(feedback, "snapshot_inbox", lambda *a, **k: take(*a, **k)[1:])
    with pytest.raises(CheckFailed, match="bad_cases: conservation: source 'inbox': 6 rows"):
        project.build(last="bad_cases")
    assert project.head("bad_cases").key == whole.key


def test_a_machine_whose_inbox_is_empty_does_not_build_over_a_snapshot_with_cases(project):
    project.build(last="bad_cases")
    head = project.head("bad_cases").key
    shutil.rmtree(project.store.root / "intake")
    with pytest.raises(ValueError, match="inbox here is empty and the newest snapshot has 5"):
        project.build(last="bad_cases")
    assert project.head("bad_cases").key == head
