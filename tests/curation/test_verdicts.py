"""Verdicts are read line by line: the majority counts, and what is none costs itself."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.verdicts import Verdicts, count_verdicts, describe_verdicts, read_verdicts


def read(folder: Path, *lines: Any, **options: Any) -> Verdicts:
    path = folder / "verdicts.jsonl"
    said = [x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines]
    path.write_text("\n".join(said) + "\n", encoding="utf-8")
    return read_verdicts(verdicts=path, **options)


def said(row_id: str, *verdicts: str) -> list[dict[str, str]]:
    return [{"id": row_id, "verdict": v, "reviewer": "甲", "reason": "顺口"} for v in verdicts]


def test_the_majority_counts_and_a_tie_is_no_verdict(tmp_path):
    yes, no = "accept", "reject"
    lines = [*said("b", yes, no, no), *said("a", yes), *said("c", no, yes), *said("d", yes, yes)]
    found = read(tmp_path, *lines)
    assert found.rows.rows() == [("a", True), ("b", False), ("d", True)]
    assert found.tied == 1 and found.broken == [] and found.needed == 200


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "a", "verdict": "accept"', "JSON"),
        ('["a", "accept"]', "a list, not an object"),
        ({"verdict": "accept"}, "'id' is None, not the id of a row"),
        ({"id": 7, "verdict": "accept"}, "'id' is 7"),
        ({"id": "a", "verdict": "好"}, "'verdict' is '好', not 'accept' or 'reject'"),
        ({"id": "a", "verdict": ["accept"]}, r"'verdict' is \['accept'\]"),
        ({"id": "a", "verdict": True}, "'verdict' is True"),
        ({"id": "a", "verdict": "好" * 9999}, "'verdict' is '好{79}, not"),
    ],
)
def test_a_line_that_is_none_is_named_and_the_next_ones_go_on(tmp_path, line, why):
    found = read(tmp_path, *said("b", "accept"), line, *said("c", "reject"))
    assert found.rows["id"].to_list() == ["b", "c"]
    (named,) = found.broken
    assert named.startswith("verdicts.jsonl:2: ")
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(named)


def test_counts_say_what_became_of_every_verdict(tmp_path):
    found = read(
        tmp_path, *said("a", "accept"), *said("b", "reject"), *said("c", "reject"), "{",
        *said("d", "accept", "reject"), min_verdicts=3,
    )  # fmt: skip
    known = found.rows.filter(pl.col("id") != "c")
    assert count_verdicts(found, known) == {
        "accepted": 1, "rejected": 1, "needed": 3, "tied": 1, "unknown": 1, "broken": 1,
    }  # fmt: skip
    line = describe_verdicts(found, known)
    assert line.startswith("2 of 3 verdicts: 1 accepted, 1 rejected; tied 1; ")
    assert "; of ids that no row here has 1; broken 1, the first verdicts.jsonl:4: " in line


def test_an_empty_file_has_none_and_a_wrong_minimum_is_refused(tmp_path):
    found = read(tmp_path)
    assert found.rows.is_empty()
    assert describe_verdicts(found, found.rows) == "0 of 200 verdicts: 0 accepted, 0 rejected"
    with pytest.raises(ValueError, match="ensemble.min_verdicts is 0"):
        read(tmp_path, min_verdicts=0)
