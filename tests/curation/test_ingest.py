"""Ingest: every delivered record has one outcome, and order changes nothing."""

import itertools

import polars as pl
import pytest

from curation.formats import write_record
from curation.ingest import SHARED_SCHEMA, count_line, merge_sources, read_source
from curation.rows import OCCURRENCE_SCHEMA, ROW_SCHEMA
from curation.sources._base import Record
from curation.sources.jsonl import jsonl


def records(*pairs, start=1):
    data = [p if isinstance(p, dict) else {"prompt": p[0], "answer": p[1]} for p in pairs]
    return [Record(f"f:{i}", d) for i, d in enumerate(data, start)]


def test_every_record_is_new_duplicate_or_quarantined():
    delivered = [
        *records(
            ("问", "答"), ("问", "答 "), ("问", "答"), {"x": 1}, ("问", ""), ("问", "<\u202e>")
        ),
        Record("f:7", None, "broken JSON", "{"),
    ]
    got = read_source(delivered, source="seeds", revision="r1", license="MIT")
    assert got.counts == {"delivered": 7, "new": 2, "duplicate": 1, "quarantined": 4}
    assert got.rows.schema == ROW_SCHEMA and got.occurrences.schema == OCCURRENCE_SCHEMA
    reasons = got.occurrences.filter(pl.col("outcome") == "quarantined").select(
        "position", "reason", "raw"
    )
    assert reasons.rows() == [
        ("f:4", "no known form has the keys x", '{"x":1}'),
        ("f:5", "the answer is empty", '{"prompt":"问","answer":""}'),
        ("f:6", "text holds the unsafe character U+202E", '{"prompt":"问","answer":"<\u202e>"}'),
        ("f:7", "broken JSON", "{"),
    ]
    assert set(got.rows["license"]) == {"MIT"} and set(got.rows["revision"]) == {"r1"}


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": "q", "answer": "a", "note": "\ud800"},
        {"prompt": "q", "answer": "a", "category": "\udfff"},
        {"prompt": "q", "answer": object()},
        {"messages": [None]},
        {
            "messages": [
                {"role": "user", "content": 3},
                {"role": "assistant", "content": {"a": set()}},
            ]
        },
        {"prompt": "q", "answer": "a", 3: object()},
    ],
)
def test_no_record_raises(data):
    got = read_source([Record("f:1", data), *records(("问", "答"), start=2)], source="s")
    assert got.counts == {"delivered": 2, "new": 1, "duplicate": 0, "quarantined": 1}
    assert got.occurrences["reason"][0] and got.occurrences["raw"][0]


def test_a_file_is_read_with_its_line_numbers(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"prompt": "问", "answer": "答"}\n{"prompt": \n')
    got = read_source(jsonl(path=path)(), source="seeds")
    assert got.occurrences["position"].to_list() == ["seeds.jsonl:1", "seeds.jsonl:2"]
    assert count_line(got.counts) == "2 records = 1 new + 0 duplicate + 1 quarantined"


def test_labels_of_the_record_go_before_those_of_the_source():
    given = {"prompt": "问", "answer": "答", "category": "音乐", "difficulty": "hard"}
    got = read_source(
        records(given, ("问", "答二")), source="s", category="车控", system="你是助手。"
    )
    assert set(got.rows["category"]) == {"音乐", "车控"} and "hard" in got.rows["difficulty"]
    assert {m[0]["content"] for m in got.rows["messages"]} == {"你是助手。"}
    delivered = [write_record(r, form="prompt_answer") for r in got.rows.iter_rows(named=True)]
    assert given in delivered


def test_reading_stops_at_max_rows_without_asking_for_more():
    endless = (Record(f"f:{i}", {"prompt": "问", "answer": str(i)}) for i in itertools.count())
    assert read_source(endless, source="s", max_rows=5).counts["delivered"] == 5


def test_unknown_columns_are_a_mistake_of_the_recipe():
    with pytest.raises(ValueError, match="columns: unknown part 'question'"):
        read_source([], source="s", columns={"question": "q"})


def test_merging_keeps_one_row_and_says_whose_copies_gave_way_in_any_order():
    parts = [
        read_source(records(("a", "1"), ("b", "1"), ("b", "1")), source="zeta", track="domain"),
        read_source(records(("b", "1"), ("c", "1")), source="alpha", track="general"),
        read_source(records(("c", "1"), {"x": 1}), source="beta", track="general"),
    ]
    merged = [merge_sources([p.rows for p in order]) for order in itertools.permutations(parts)]
    rows, shared = merged[0]
    assert all(m[0].equals(rows) and m[1].equals(shared) for m in merged)
    labels = {r["id"]: r["source"] for r in rows.iter_rows(named=True)}
    prompts = {r["messages"][0]["content"]: r["source"] for r in rows.iter_rows(named=True)}
    assert prompts == {"a": "zeta", "b": "zeta", "c": "alpha"}
    assert sorted(shared["source"]) == ["alpha", "beta"]
    assert [labels[i] for i in shared["id"]] == shared["kept_source"].to_list()
    assert rows.height + shared.height == sum(p.rows.height for p in parts)


@pytest.mark.parametrize(("tested", "held"), [("打开空调", "关闭车窗"), ("turn it on", "the fan")])
def test_a_row_that_one_source_holds_out_no_other_trains_on(tested, held):
    both = records((tested, "1"), (held, "1"))
    parts = [
        read_source(both, source="a_train", split="train", track="domain"),
        read_source(both, source="b_held", split="heldout", track="general"),
        read_source(both[:1], source="c_test", split="test", track="general"),
    ]
    for order in itertools.permutations(parts):
        rows, shared = merge_sources([part.rows for part in order])
        told = {r["messages"][0]["content"]: (r["split"], r["source"]) for r in rows.to_dicts()}
        assert told == {tested: ("test", "c_test"), held: ("heldout", "b_held")}
        assert sorted(shared["source"]) == ["a_train", "a_train", "b_held"]


def test_two_sources_of_one_name_are_refused():
    part = read_source(records(("a", "1")), source="s")
    with pytest.raises(ValueError, match="two sources are called 's'"):
        merge_sources([part.rows, part.rows])


def test_nothing_delivered_is_an_empty_frame():
    rows, shared = merge_sources([read_source([], source="s").rows])
    assert rows.is_empty() and rows.schema == ROW_SCHEMA and shared.schema == SHARED_SCHEMA
