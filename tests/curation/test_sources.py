"""Sources: one broken record costs one record, and says where it stood and why."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow
import pyarrow.parquet
import pytest

from curation.ingest import read_source
from curation.plugins import check_options, find_plugin, plugin_names
from curation.sources.bad_cases import bad_cases
from curation.sources.csv import csv
from curation.sources.hub import hub
from curation.sources.json import json as json_array
from curation.sources.jsonl import jsonl
from curation.sources.parquet import parquet

GOOD = {"prompt": "打开空调", "answer": "好"}


def test_every_source_is_found_by_its_file():
    assert {"jsonl", "json", "csv", "parquet", "hub"} <= set(plugin_names("curation.sources"))
    assert find_plugin("curation.sources", "csv") is csv


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1,}', "broken JSON"),
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b'{"a": "\\ud800"}', "lone surrogate U+D800"),
        (b'{"a": {"b": ["\\u0000"]}}', "NUL character"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "number 1e999 is out of range"),
        (b'["a"]', "a list, not an object"),
        (b"null", "a null, not an object"),
        (b'{"a": "\xff\xfe"}', "not UTF-8: byte 0xff"),
        (b'{"a": "' + b"x" * 3000 + b'"}', "longer than 2,000 bytes"),
        (b"[" * 1500, "nested too deeply"),
        (b'{"a": ' + b"9" * 1900 + b"e9}", "out of range"),
    ],
)
def test_a_broken_line_costs_one_line(tmp_path, line, reason):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"\n".join([b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), line, b"", b'{"b": 2}\r'])
    )
    first, broken, last = jsonl(path=path, max_chars=2000)()
    assert (first.data, last.data) == (GOOD, {"b": 2})
    assert last.position == "rows.jsonl:4"
    assert broken.data is None and broken.position == "rows.jsonl:2" and reason in broken.error
    assert broken.raw.encode()[:1] == line[:1]


def test_text_that_only_looks_like_an_escape_is_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": r"\ud800 and \u0000", "b": "😀"}))
    assert [r.error for r in jsonl(path=path)()] == [""]


def test_a_folder_is_read_by_file_name(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"name": name}))
    assert [r.position for r in jsonl(path=tmp_path)()] == ["a.jsonl:1", "b.jsonl:1"]


def test_an_array_is_read_past_its_broken_elements(tmp_path):
    path = tmp_path / "rows.json"
    elements = [
        '{"a": "],}"}',
        '{"a": 1 "b"}',
        "7",
        '{"a": 1, "a": 2}',
        '{"a": {"b": [1, 2]}}}',
        '{"z": 1}',
    ]
    path.write_text(f"[{', '.join(elements)}]")
    records = list(json_array(path=path)())
    assert [r.data for r in records if r.data] == [{"a": "],}"}, {"a": {"b": [1, 2]}}, {"z": 1}]
    assert records[-1].position == f"rows.json[{len(records) - 1}]"
    reasons = " ".join(r.error for r in records)
    assert all(r in reasons for r in ("broken JSON", "a number, not", "duplicate key"))


def test_an_array_larger_than_the_window_is_read_whole(tmp_path):
    path = tmp_path / "rows.json"
    rows = [{"n": i, "text": '雨\\"]}' * 2000} for i in range(300)]
    path.write_text(json.dumps(rows, ensure_ascii=False))
    assert [r.data for r in json_array(path=path)()] == rows


def test_an_element_past_the_cap_is_passed_over(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"a": "}]\\" * 2_000_000}, {"b": "x" * 5000}, {"c": 1}]))
    first, second, third = json_array(path=path, max_chars=1000)()
    assert "longer than" in first.error and "longer than" in second.error and third.data == {"c": 1}
    assert len(first.raw) <= 2000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}', "does not hold a JSON array; one object a line is `use: jsonl`"),
        ("", "does not hold a JSON array"),
        ('[{"a": 1}', "ends before the array does"),
        ('[{"a": "', "ends inside this element"),
    ],
)
def test_a_file_that_is_no_whole_array_says_so(tmp_path, text, reason):
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert reason in list(json_array(path=path)())[-1].error


def test_a_csv_line_of_another_length_costs_that_line(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(
        '\ufeffprompt,answer\n"多\n行",a\nx,y,z\n\n乱,"b\n'.encode() + b'",\xff\nlast,c\n'
    )
    records = list(csv(path=path)())
    assert records[0].data == {"prompt": "多\n行", "answer": "a"}
    assert [r.error for r in records[1:-1]][0] == "3 cells, but the header has 2"
    assert records[1].position == "rows.csv:4"
    assert all(r.data is None for r in records[1:-1]) and records[-1].data == {
        "prompt": "last",
        "answer": "c",
    }


def test_a_csv_of_an_office_program_is_read_in_its_encoding(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("prompt,answer\n打开空调,好\n".encode("gb18030"))
    assert next(csv(path=path, encoding="gb18030")()).data == GOOD
    assert "not UTF-8" in next(csv(path=path)()).error
    with pytest.raises(ValueError, match="unknown encoding 'gbx'"):
        csv(path=path, encoding="gbx")


def test_a_parquet_table_is_read_with_its_positions(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}], "score": float("nan")}
        for i in range(5)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    records = list(parquet(path=path)())
    assert [r.position for r in records] == [f"rows.parquet:{i}" for i in range(1, 6)]
    assert records[4].data == {"messages": [{"role": "user", "content": "q4"}], "score": None}


def test_a_long_cell_is_refused_without_being_unfolded_for_every_row(tmp_path):
    path = tmp_path / "long.parquet"
    cells = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 300, pyarrow.int32()), ["x" * 10_000_000]
    )
    pyarrow.parquet.write_table(pyarrow.table({"a": cells}), path, compression="none")
    before = pyarrow.total_allocated_bytes()
    records = parquet(path=path)()
    reasons = {r.error for r in (next(records) for _ in range(20))}
    assert reasons == {"cell 'a' is longer than 1,000,000 characters"}
    assert pyarrow.total_allocated_bytes() - before < 256 << 20


def test_parquet_limits_are_said_and_not_raised(tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [b"x", b"y"]}), path)
    assert [r.error for r in parquet(path=path)()] == ["column 'a' holds bytes, not text"] * 2
    assert "2 rows, more than 1" in next(parquet(path=path, max_file_rows=1)()).error
    path.write_bytes(path.read_bytes()[:-8])
    assert next(parquet(path=path)()).error.startswith("broken Parquet")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_no_damaged_file_raises_and_every_record_is_data_or_reason(tmp_path, kind):
    path, rng = tmp_path / f"rows.{kind}", random.Random(kind)
    rows = [{"prompt": f'问{i}, "x"', "answer": f"{{[{i}"} for i in range(12)]
    whole = {
        "jsonl": "\n".join(json.dumps(r) for r in rows).encode(),
        "json": json.dumps(rows, ensure_ascii=False).encode(),
        "csv": ("prompt,answer\n" + "".join(f'"问{i}, ""x""",{i}\n' for i in range(12))).encode(),
    }
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        whole[kind] = path.read_bytes()
    source = {"jsonl": jsonl, "json": json_array, "csv": csv, "parquet": parquet}[kind]
    for _ in range(150):
        damaged = bytearray(whole[kind])
        for _ in range(rng.choice([1, 2, 5])):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randrange(3)] = rng.choice(
                [b"", b"\xff", b"{", b'"', b"]", b"\\", b"\0"]
            )
        path.write_bytes(damaged)
        records = list(source(path=path)())
        assert all((r.data is None) == bool(r.error) for r in records) and records


def test_a_hub_revision_must_be_a_commit():
    with pytest.raises(ValueError, match="revision 'main' is not a commit hash"):
        hub(repo="a/b", revision="main")
    _, errors = check_options(hub, {"repo": "a/b"}, where="sources.general")
    assert errors == ["sources.general: 'revision' is missing"]


@pytest.mark.slow
def test_a_hub_copy_is_read_offline_and_a_missing_one_is_one_line(tmp_path):
    commit = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
    folder = tmp_path / "hub" / "datasets--acme--tiny" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(json.dumps(GOOD))
    code = (
        "from curation.sources.hub import hub\n"
        "print(next(hub(repo='acme/tiny', revision='1a2b3c4')()))\n"
        "try: next(hub(repo='acme/none', revision='1a2b3c4')())\n"
        "except FileNotFoundError as error: print(error)\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": "."}
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    record, line = run.stdout.strip().splitlines()
    assert "acme/tiny/train:1" in record and "打开空调" in record
    assert "hf download acme/none --repo-type dataset --revision 1a2b3c4" in line


def test_corrected_bad_cases_become_rows_with_the_wrong_answer_beside_them(tmp_path):
    path = tmp_path / "cases.jsonl"
    good = {"prompt": "打开空调", "gold": "好", "predicted": "坏", "ticket": 7}
    path.write_text(json.dumps(good, ensure_ascii=False) + '\n{"prompt": "关窗", "gold": "好"}\n')
    read = read_source(bad_cases(path=path)(), source="cases")
    (row,) = read.rows.iter_rows(named=True)
    assert [m["content"] for m in row["messages"]] == ["打开空调", "好"]
    assert json.loads(row["meta"])["rejected"] == "坏"
    refused = read.occurrences.filter(pl.col("outcome") == "quarantined")
    assert refused["reason"].to_list() == ["no text under 'predicted'"]
