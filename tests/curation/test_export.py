"""Export: what came in goes out, complete or not at all, in files that other tools read."""

import json
import os

import polars as pl
import pytest

from curation.export import export_rows, safe_cell
from curation.ingest import read_source
from curation.rows import dialogue, make_row, rows_frame
from curation.sources.csv import csv
from curation.sources.json import json as json_array
from curation.sources.jsonl import jsonl
from curation.sources.parquet import parquet

CALL = '[{"type":"function","function":{"name":"f","arguments":{}}}]'
PLAIN = [make_row(dialogue(f"问{i}", '{"actions":[]}', system="你是助手。")) for i in range(3)]
LONG = make_row([*dialogue("一", "1"), *dialogue("二", "2")])
TOOLS = make_row(
    [
        {"role": "user", "content": "查"},
        {"role": "assistant", "content": "", "tool_calls": CALL},
        {"role": "tool", "content": "[]"},
        {"role": "assistant", "content": "没有"},
    ],
    tools='[{"type":"function","function":{"name":"f"}}]',
)
SOURCES = {"alpaca": jsonl, "sharegpt": jsonl, "messages": jsonl, "parquet": parquet}


@pytest.mark.parametrize("form", ["sharegpt", "messages", "parquet"])
def test_an_export_read_again_gives_the_same_rows(tmp_path, form):
    rows = rows_frame([*PLAIN, LONG, TOOLS])
    path = tmp_path / "out.file"
    assert export_rows(rows, path, form=form) == 5
    again = read_source(SOURCES[form](path=path)(), source="out")
    assert again.rows["id"].to_list() == rows["id"].to_list() and again.counts["quarantined"] == 0


def test_alpaca_keeps_history_and_answers_stay_text(tmp_path):
    path = tmp_path / "out.json"
    assert export_rows(rows_frame([*PLAIN, LONG]), path, form="alpaca") == 4
    records = json.loads(path.read_text())
    assert [["一", "1"]] in [r.get("history") for r in records]
    assert {type(r["output"]) for r in records} == {str}
    assert len(list(json_array(path=path)())) == 4


def test_records_leave_as_they_came(tmp_path):
    delivered = [
        {"instruction": "翻译", "input": "hello", "output": "你好", "difficulty": 2, "tags": ["a"]},
        {"instruction": "再见", "input": "", "output": "bye", "system": "", "history": []},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in delivered))
    rows = read_source(jsonl(path=source)(), source="in").rows
    export_rows(rows, tmp_path / "out.jsonl", form="alpaca")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(written, key=str) == sorted(delivered, key=str)


def test_rows_without_a_place_in_the_form_stop_the_export_before_it_begins(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(ValueError, match=f"1 of 4 rows do not fit, first {TOOLS['id']}"):
        export_rows(rows_frame([*PLAIN, TOOLS]), path, form="alpaca")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\tx", "'=1", "''@x", "plain", "'quoted'", ""]
)
def test_a_spreadsheet_runs_no_cell_and_none_is_changed_for_good(tmp_path, cell):
    assert safe_cell(cell)[:1] not in tuple("=+-@\t\r")
    row = make_row(dialogue("问" + cell, cell or "空"))
    export_rows(rows_frame([row]), tmp_path / "out.csv", form="csv")
    records = list(csv(path=tmp_path / "out.csv", unprefix=True)())
    assert records[0].data and records[0].data["answer"] == (cell or "空")


def test_csv_keeps_longer_conversations_whole(tmp_path):
    rows = rows_frame([*PLAIN, LONG, TOOLS])
    export_rows(rows, tmp_path / "out.csv", form="csv")
    again = read_source(csv(path=tmp_path / "out.csv", unprefix=True)(), source="out")
    assert again.rows["id"].to_list() == rows["id"].to_list()


def test_parquet_has_plain_strings_and_all_columns(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = rows_frame([*PLAIN, TOOLS])
    export_rows(rows, tmp_path / "out.parquet", form="parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    assert schema.field("id").type == pyarrow.string()
    assert schema.field("messages").type.value_type.field("content").type == pyarrow.string()
    assert pl.read_parquet(tmp_path / "out.parquet").equals(rows)


def test_an_empty_set_is_an_empty_file(tmp_path):
    for form in ("messages", "csv", "parquet"):
        assert export_rows(rows_frame([]), tmp_path / form, form=form) == 0


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        export_rows(rows_frame(PLAIN), tmp_path, form="csv")


def test_what_a_killed_export_left_goes_with_a_later_one_and_nothing_else_does(tmp_path):
    names = [f".winnow-{c * 32}" for c in "abcd"] + [".winnow-notes", f".{'e' * 32}"]
    dead, young, link, folder, notes, other = (tmp_path / name for name in names)
    for path in (dead, young, notes, other):
        path.write_text("half")
    link.symlink_to(notes)
    folder.mkdir()
    for path in (dead, folder, notes, other):
        os.utime(path, (0, 0))
    os.utime(link, (0, 0), follow_symlinks=False)
    to = tmp_path / "out.jsonl"
    export_rows(rows_frame(PLAIN), to, form="messages")
    assert set(tmp_path.iterdir()) == {young, link, folder, notes, other, to}


@pytest.mark.slow
def test_hf_datasets_reads_the_parquet_export(tmp_path):
    from datasets import Dataset

    export_rows(rows_frame([*PLAIN, TOOLS]), tmp_path / "out.parquet", form="parquet")
    read = Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert read.features["id"].dtype == "string" and len(read) == 4
    assert read[0]["messages"][0]["role"] in ("system", "user")
