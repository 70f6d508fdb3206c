"""What lies in a folder is read only if it lies there; what is packed is not read at all."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from assets.recipe import Plug
from curation.bad_cases import add_bad_cases, read_inbox
from curation.ingest import read_source
from curation.plugins import find_plugin
from curation.rebuilds import waiting_cases
from curation.sources.csv import csv
from curation.sources.json import json as json_array
from curation.sources.jsonl import jsonl
from curation.sources.parquet import parquet
from curation.store import Store
from pipelines.cli import main

SECRET = {"prompt": "密码是什么 what is it", "answer": "canary-7f3a"}
FOLDERS: dict[str, Callable[..., Any]] = {"jsonl": jsonl, "json": json_array, "parquet": parquet}


def write_rows(path: Path, kind: str, rows: list[dict]) -> None:
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_link_out_of_a_source_folder_is_one_refused_record(tmp_path, kind):
    folder, good = tmp_path / "in", {"prompt": "开灯", "answer": "好"}
    folder.mkdir()
    write_rows(tmp_path / f"secret.{kind}", kind, [SECRET])
    write_rows(folder / f"b.{kind}", kind, [good])
    (folder / f"a.{kind}").symlink_to(tmp_path / f"secret.{kind}")
    (folder / f"c.{kind}").symlink_to("../secret." + kind)
    (folder / f"d.{kind}").symlink_to(folder / f"d.{kind}")
    (folder / f"e.{kind}").symlink_to(folder / f"b.{kind}")  # stays inside
    os.mkfifo(folder / f"f.{kind}")  # would wait for ever
    (folder / f"g.{kind}").mkdir()
    read = read_source(FOLDERS[kind](path=folder)(), source="s")
    assert read.counts == {"delivered": 7, "new": 1, "duplicate": 1, "quarantined": 5}
    refused = read.occurrences.filter(read.occurrences["outcome"] == "quarantined")
    reasons = dict(refused.select("position", "reason").iter_rows())
    assert "leads out of the folder" in reasons[f"a.{kind}"]
    assert "leads out of the folder" in reasons[f"c.{kind}"]
    assert reasons[f"f.{kind}"] == reasons[f"g.{kind}"] == "no regular file"
    assert all("\n" not in reason for reason in reasons.values())
    assert "canary" not in str(read.rows.to_dicts()) + str(read.occurrences.to_dicts())


def test_a_link_that_the_user_names_is_read(tmp_path):
    write_rows(tmp_path / "rows.jsonl", "jsonl", [SECRET])
    (tmp_path / "named").symlink_to(tmp_path / "rows.jsonl")
    assert next(jsonl(path=tmp_path / "named")()).data == SECRET


def test_what_a_link_leads_to_does_not_even_enter_the_digest_of_a_source(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "secret.jsonl"
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(outside)
    plug = Plug("s", "jsonl", jsonl, {"path": folder})
    digests = set()
    for text in ("one", "two"):
        outside.write_text(text)
        digests.add(plug.files_digest())
    assert len(digests) == 1
    (folder / "b.jsonl").write_text("{}")
    assert plug.files_digest() not in digests


def test_a_link_planted_in_the_inbox_is_refused_and_not_read(tmp_path):
    store = Store(tmp_path / "s")
    case = {"prompt": "打开空调", "gold": "好", "predicted": "坏"}
    add_bad_cases(store, [("line 1", case)])
    assert len(read_inbox(store)) == 1
    outside = tmp_path / "secret.jsonl"
    outside.write_text(json.dumps(case | {"id": "canary-7f3a", "found_by": "", "at": 0.0}))
    planted = store.root / "intake" / "99999999.jsonl"
    planted.symlink_to(outside)
    for use in (read_inbox, lambda s: waiting_cases(s, ())):
        with pytest.raises(ValueError, match="99999999.jsonl") as stop:
            use(store)
        assert "canary" not in str(stop.value) and "\n" not in str(stop.value)
    planted.unlink()
    os.mkfifo(planted)
    with pytest.raises(ValueError, match="99999999.jsonl"):
        read_inbox(store)


LINES = json.dumps(SECRET).encode() + b"\n"


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../rows.jsonl", LINES)
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("../../rows.jsonl")
            entry.size = len(LINES)
            archive.addfile(entry, io.BytesIO(LINES))
    elif kind == "zstd":
        buffer.write(pyarrow.compress(LINES, codec="zstd", asbytes=True))
    else:
        pack = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}
        buffer.write(pack[kind](LINES))
    return buffer.getvalue()


ARCHIVES = ["zip", "tar", "gzip", "xz", "zstd", "bzip2"]


@pytest.mark.parametrize("source", ["jsonl", "json", "csv", "parquet", "bad_cases"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_one_refused_record_whatever_its_name(tmp_path, kind, source):
    path = tmp_path / f"rows.{source}"
    path.write_bytes(packed(kind))
    (record,) = find_plugin("curation.sources", source)(path=path)()
    assert record.data is None and record.position == path.name
    assert record.error.startswith(f"a {kind} archive; nothing is unpacked here")


def test_an_archive_in_a_folder_costs_itself(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(packed("gzip"))
    (tmp_path / "b.jsonl").write_bytes(LINES)
    first, second = jsonl(path=tmp_path)()
    assert "a gzip archive" in first.error and second.data == SECRET


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_of_bad_cases_is_one_line_and_nothing_delivered(tmp_path, capsys, kind):
    file = tmp_path / "cases.jsonl"
    file.write_bytes(packed(kind))
    assert main(["bad-cases", "add", str(file), "--store", str(tmp_path / "s")]) == 1
    out = capsys.readouterr()
    assert out.err.startswith(f"cases.jsonl: a {kind} archive") and out.err.count("\n") == 1
    assert "0 new bad cases" in out.out and read_inbox(Store(tmp_path / "s")) == []


def test_ordinary_files_are_taken_for_no_archive(tmp_path):
    for name, text in {"a.csv": "prompt,answer\nPK,7z\n", "b.csv": "BZ,Rar!\nx,y\n"}.items():
        (tmp_path / name).write_text(text)
        assert next(csv(path=tmp_path / name)()).data is not None
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert list(jsonl(path=tmp_path / "empty.jsonl")()) == []
