"""Which rows verdicts take out, and which conflicts are still open after them."""

from typing import Any

import polars as pl
import pytest

from curation.conflicts import find_rejected, list_open
from curation.dedup import CONFLICT_SCHEMA
from curation.reviews import DECIDED_SCHEMA


def ids(letters: str) -> list[str]:
    return [letter * 32 for letter in letters]


def decide(**verdicts: str) -> pl.DataFrame:
    said = [(x * 32, verdict, 1, 1, "", "") for x, verdict in verdicts.items()]
    return pl.DataFrame(said, schema=DECIDED_SCHEMA, orient="row")


def gone(**verdicts: str) -> dict[str, str]:
    """Of rows a b c that ask one thing, d e another and f g in general, those that go."""
    answers = {"a": "开", "b": "关", "c": "开", "d": "on", "e": "off", "f": "x", "g": "y"}
    prompts = dict.fromkeys("abc", "打开空调") | dict.fromkeys("defg", "turn it")
    rows = [
        ("train", "general" if x in "fg" else "domain", prompts[x], x * 32, answer, x not in "fg")
        for x, answer in answers.items()
    ]
    schema = ["split", "track", "prompt", "id", "answer", "labelled"]
    found = find_rejected(pl.DataFrame(rows, schema, orient="row"), decide(**verdicts))
    return {row_id[0]: into[:1] for row_id, into in found.iter_rows()}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, {}),
        ({"b": "reject"}, {"b": ""}),
        ({"b": "accept"}, {"a": "b", "c": "b"}),
        ({"c": "accept"}, {"b": "c"}),
        ({"a": "accept", "c": "accept"}, {"b": "a"}),
        ({"a": "accept", "b": "accept"}, {}),
        ({"a": "accept", "c": "reject"}, {"b": "a", "c": ""}),
        ({"a": "undecided", "b": "accept"}, {"a": "b", "c": "b"}),
        ({"a": "undecided"}, {}),
        ({"d": "accept"}, {"e": "d"}),
        ({"f": "accept"}, {}),
        ({"f": "accept", "g": "reject"}, {"g": ""}),
        ({"9": "reject"}, {}),
    ],
)
def test_a_rejected_row_goes_and_so_does_what_contradicts_an_accepted_one(verdicts, expected):
    assert gone(**verdicts) == expected


def waiting(**verdicts: str) -> list[Any]:
    conflicts = pl.DataFrame(
        [
            ("train", "turn it", ids("de"), ["on", "off"]),
            ("train", "打开空调", ids("abc"), ["开", "关", "开"]),
        ],
        schema=CONFLICT_SCHEMA,
        orient="row",
    )
    found = list_open(conflicts, decide(**verdicts))
    return [(one["kind"], *("".join(i[0] for i in some) for some in one["answers"]))
            for one in found]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, [("label_conflict", "ac", "b"), ("label_conflict", "d", "e")]),
        ({"b": "accept"}, [("label_conflict", "d", "e")]),
        ({"a": "reject"}, [("label_conflict", "d", "e"), ("label_conflict", "b", "c")]),
        ({"d": "reject", "a": "accept"}, []),
        ({"d": "reject", "b": "reject", "e": "undecided"}, [("tie", "e")]),
        ({"b": "accept", "d": "undecided"}, [("label_conflict", "d", "e")]),
    ],
)
def test_what_verdicts_settle_waits_no_more(verdicts, expected):
    assert waiting(**verdicts) == expected
