"""Drift: scores without a frozen reference are held against those of the version before."""

from pathlib import Path

import pytest

from tests.assets._project import SEEDS, Project, talk

NOTHING = (True, "no scores to compare with those of the version before")
ENGLISH = [
    {"prompt": f"What is number {n} of the list?", "answer": f"It is {n}."} for n in range(60)
]


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    """A built project of some 360 rows, Chinese and English, with a number and a flag for each."""
    scorers = {"length": {}, "repetition": {}, "special_tokens": {}}
    project = Project(tmp_path, tiny_base, scorers=scorers, keep=[], guard={"max_share": 1.0})
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", [*talk(300), *ENGLISH])
    project.build(last="kept_rows")
    return project


def drift(project: Project, name: str = "length") -> tuple[bool, str]:
    passed, said = project.head(f"facts/{name}").checks["drift"]
    return passed, said


def test_rows_like_those_before_are_no_drift(project):
    assert drift(project) == NOTHING
    project.write("general/2.jsonl", talk(60, start=300))
    project.build(last="kept_rows")
    passed, said = drift(project)
    assert passed and said.startswith("scores against the version before: the same (PSI 0.0")


def test_longer_rows_fail_the_check_of_length_alone_and_stop_no_build(project):
    longer = [line | {"answer": line["answer"] * 9} for line in talk(300, start=300)]
    project.write("general/2.jsonl", longer)
    project.build(last="kept_rows")
    passed, said = drift(project)
    assert not passed and "against the version before: another distribution" in said
    assert drift(project, "special_tokens")[0]
    assert project.head("kept_rows").tables["rows"]["rows"] > 600
    project.write("general/3.jsonl", talk(20, start=600))
    project.build(last="kept_rows")
    assert drift(project)[0]  # it moved once


def test_a_flag_that_was_rare_and_is_common_is_drift(project):
    marked = [line | {"answer": line["answer"] + "<|im_end|>"} for line in talk(200, start=300)]
    project.write("general/2.jsonl", marked)
    project.build(last="kept_rows")
    assert not drift(project, "special_tokens")[0]


def test_what_is_measured_otherwise_now_is_not_compared(project):
    project.change(scorers={"length": {}, "repetition": {"n": 2}, "special_tokens": {}})
    project.build(last="kept_rows")
    assert drift(project, "repetition") == NOTHING


def test_fewer_than_200_scores_are_not_compared(tmp_path, tiny_base):
    project = Project(tmp_path, tiny_base, scorers={"length": {}}, keep=[])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(20))
    project.build(last="kept_rows")
    longer = [line | {"answer": line["answer"] * 9} for line in talk(20, start=300)]
    project.write("general/2.jsonl", longer)
    project.build(last="kept_rows")
    assert drift(project) == NOTHING
