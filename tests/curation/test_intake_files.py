"""Files, folders, prefixes and drops: read once, in any form, and never changed."""

import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest

from curation.bad_cases import read_deliveries, read_inbox, read_quarantine
from curation.intake import add_files, take_drops
from curation.store import Store
from tests.s3_server import BUCKET, serve

ZH = {"prompt": "打开空调", "gold": "好的，已打开空调", "predicted": "好的，已打开车窗"}
EN = {"prompt": "Open the sunroof", "gold": "Opening it", "predicted": "Closing it"}
CHAT = {
    "messages": [
        {"role": "user", "content": "关闭天窗"},
        {"role": "assistant", "content": "好的，已打开天窗"},
    ],
    "correction": "好的，已关闭天窗",
}
PROMPTS = {"打开空调", "Open the sunroof", "关闭天窗"}


def lines(*records: object) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def drop(path: Path, data: bytes, *, age_s: float = 60) -> Path:
    """A file that was written some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def fill(folder: Path) -> None:
    drop(folder / "a.jsonl", lines(ZH))
    drop(folder / "2026/11/b.json", json.dumps([EN, 3], ensure_ascii=False, indent=1).encode())
    drop(folder / "one.json", json.dumps(CHAT, ensure_ascii=False, indent=1).encode())
    drop(folder / "otlp.json", lines(ZH, EN))
    pl.DataFrame([EN, CHAT | {"prompt": None}]).select("prompt", "gold", "predicted").head(
        1
    ).write_parquet(folder / "c.parquet")
    os.utime(folder / "c.parquet", (1, 1))
    drop(folder / "half.jsonl.part", lines(CHAT | {"correction": "half"}))
    drop(folder / ".hidden.jsonl", lines(CHAT | {"correction": "hidden"}))
    drop(folder / "notes.txt", b"hello")
    (folder / "link.jsonl").symlink_to(drop(folder.parent / "elsewhere.jsonl", lines(CHAT)))


def check(store: Store) -> None:
    assert {case["prompt"] for case in read_inbox(store)} == PROMPTS
    reasons = {line["position"]: line["reason"] for line in read_quarantine(store)}
    assert "symbolic link that leads out" in reasons.pop("link.jsonl")
    assert "'.txt' is none of .jsonl" in reasons.pop("notes.txt")
    assert reasons == {"2026/11/b.json[1]": "a number, not an object"}


def test_a_folder_is_read_whole_whatever_its_files_hold(tmp_path):
    store, folder = Store(tmp_path / "s"), tmp_path / "drop"
    fill(folder)
    delivery = add_files(store, [folder, folder / "a.jsonl"])
    assert (len(delivery.new), delivery.duplicate, len(delivery.quarantined)) == (3, 4, 3)
    check(store)
    before = len(read_deliveries(store))
    assert add_files(store, [folder]).new == () and len(read_deliveries(store)) == before
    with pytest.raises(FileNotFoundError, match="'none.jsonl'"):
        add_files(store, [folder, "none.jsonl"])


def test_a_drop_is_read_once_by_its_content_and_stays_what_it_is(tmp_path):
    store, folder = Store(tmp_path / "s"), tmp_path / "drop"
    fill(folder)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said: list[str] = []
    assert len(take_drops(store, folder=folder, report=said.append)) == 7
    assert f"{folder}/a.jsonl: 1 new bad cases, 0 already known, 0 quarantined" in said
    check(store)
    assert take_drops(store, folder=folder) == []
    os.utime(folder / "a.jsonl", (5, 5))  # touched, and renamed: the same content
    (folder / "one.json").rename(folder / "two.json")
    drop(folder / "new.jsonl", lines(ZH, {**EN, "gold": "另一个"}))
    (delivery,) = take_drops(store, folder=folder)
    assert (len(delivery.new), delivery.duplicate) == (1, 1)
    files[folder / "two.json"] = files.pop(folder / "one.json")
    assert files.items() <= {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}.items()


def test_a_drop_that_grows_is_read_again_and_its_first_lines_are_known(tmp_path):
    store, path = Store(tmp_path / "s"), tmp_path / "drop/a.jsonl"
    drop(path, lines(ZH) + b'{"prompt": "Open')
    (first,) = take_drops(store, folder=path.parent)
    assert len(first.new) == 1 and first.quarantined[0][1].startswith("broken JSON")
    drop(path, lines(ZH, EN), age_s=30)
    (second,) = take_drops(store, folder=path.parent)
    assert (len(second.new), second.duplicate, second.quarantined) == (1, 1, ())


def test_a_wrong_form_is_said_although_nothing_was_dropped(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'langsmith'"):
        take_drops(Store(tmp_path / "s"), folder=tmp_path, form="langsmyth")


def test_a_file_that_was_just_written_is_waited_for(tmp_path):
    store, path = Store(tmp_path / "s"), tmp_path / "drop/a.jsonl"
    drop(path, lines(ZH), age_s=0.7)
    started = time.monotonic()
    assert len(take_drops(store, folder=path.parent)) == 1
    assert 0.1 < time.monotonic() - started < 1.5


def test_a_broken_file_costs_itself_and_is_told(tmp_path):
    store, folder = Store(tmp_path / "s"), tmp_path / "drop"
    drop(folder / "bad.parquet", b"PAR1 no")
    drop(folder / "packed.jsonl", b"\x1f\x8b\x08\x00")
    drop(folder / "good.jsonl", lines(ZH, EN))
    assert len(take_drops(store, folder=folder)) == 3
    assert len(read_inbox(store)) == 2
    reasons = {line["position"]: line["reason"] for line in read_quarantine(store)}
    assert "broken Parquet" in reasons["bad.parquet:1"]
    assert "gzip archive" in reasons["packed.jsonl"]


def test_what_is_forgotten_of_drops_costs_time_and_nothing_else(tmp_path):
    store, folder = Store(tmp_path / "s"), tmp_path / "drop"
    fill(folder)
    take_drops(store, folder=folder)
    before = read_deliveries(store)
    (store.root / "intake/taken.sqlite").unlink()
    assert len(take_drops(store, folder=folder)) == 7
    assert read_deliveries(store) == before


def test_a_prefix_of_a_bucket_is_read_like_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "drop"
    fill(folder)
    (folder / "link.jsonl").unlink()
    with serve() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        for path in folder.rglob("*"):
            if path.is_file():
                s3.set(f"座舱/drop/{path.relative_to(folder).as_posix()}", path.read_bytes())
        s3.set("座舱/other/x.jsonl", lines(CHAT | {"correction": "other"}))
        prefix, store = f"s3://{BUCKET}/座舱/drop", Store(tmp_path / "s")
        assert len(take_drops(store, prefix=prefix)) == 6
        assert {case["prompt"] for case in read_inbox(store)} == PROMPTS
        positions = {line["position"] for line in read_quarantine(store)}
        assert positions == {"2026/11/b.json[1]", "notes.txt"}
        assert take_drops(store, prefix=prefix) == []
        assert not [method for method, _ in s3.log if method not in ("GET", "HEAD")]
        other = Store(tmp_path / "t")
        assert len(add_files(other, [f"{prefix}/a.jsonl"]).new) == 1
        assert len(add_files(other, [prefix + "/"]).new) == 2
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        s3_gone = f"{prefix!r} cannot be used"
        with pytest.raises(OSError, match=s3_gone):
            take_drops(store, prefix=prefix)
    shutil.rmtree(folder)
