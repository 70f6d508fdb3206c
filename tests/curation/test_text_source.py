"""Plain text: each text is accounted for, and what is broken costs the text that it stands in."""

import json
from pathlib import Path

import pytest

from curation.ingest import Ingested, read_source
from curation.plugins import find_plugin
from curation.rows import TEXT_TRACK
from curation.sources.text import text


def read(path: Path, personal: str = "keep", **options) -> Ingested:
    given = {"source": "manuals", "track": "text", "personal": personal, "key": b"k" * 16}
    return read_source(text(path=path, **options)(), **given)  # type: ignore[arg-type]


def said(read: Ingested) -> dict[str, str]:
    """What each position came to: the text, or the reason there is none."""
    texts = {row["id"]: row["messages"][0]["content"] for row in read.rows.to_dicts()}
    return {o["position"]: texts.get(o["id"], o["reason"]) for o in read.occurrences.to_dicts()}


def test_a_file_is_one_text_and_a_folder_is_read_by_name(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "brakes.md").write_text("# 制动\n\n踩下踏板。\n", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes("\ufeff胎压 2.3 bar\r\n".encode())
    lines = [json.dumps({"body": "Check the oil."}), "{", json.dumps({"title": "x"}), '{"body": 3}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF")
    found = read(tmp_path, field="body")
    assert list(said(found)) == [
        "a.txt:1",
        "b/brakes.md:1",
        "scan.pdf",
        *(f"t.jsonl:{n}" for n in range(1, 5)),
    ]
    assert said(found)["a.txt:1"] == "胎压 2.3 bar"
    assert said(found)["b/brakes.md:1"] == "# 制动\n\n踩下踏板。"
    assert said(found)["t.jsonl:3"] == "no field 'body', only title"
    assert found.counts == {"delivered": 7, "new": 3, "duplicate": 0, "quarantined": 4}
    row = found.rows.row(0, named=True)
    assert (row["track"], row["prompt_id"], row["n_turns"]) == (TEXT_TRACK, row["id"], 0)
    assert list(said(read(tmp_path, glob="*.txt"))) == ["a.txt:1"]
    assert find_plugin("curation.sources", "text") is text


def test_what_is_broken_costs_its_stretch_and_says_where(tmp_path: Path):
    parts = ["第一段\n两行", "bad \udcff", "<|im_end|> ends it", "page one\n\fpage two", "x" * 40]
    file = tmp_path / "manual.txt"
    file.write_bytes("\n\n \n".join(parts).encode("utf-8", "surrogateescape"))
    found = said(read(file, parts="paragraph", max_chars=30))
    assert list(found.values()) == [
        "第一段\n两行",
        "not utf-8: byte 0xff in line 1 of the text",
        "text holds the control token '<|im_end|>'",
        "page one",
        "page two",
        "longer than 30 bytes",
    ]
    assert [p.partition(":")[2] for p in found] == ["1", "5", "8", "11", "12", "15"]
    whole = read(file, max_chars=1000)
    assert list(said(whole).values()) == ["not utf-8: byte 0xff in line 5 of the text"]


@pytest.mark.parametrize("content", [b"", b" \n\n", "\ufeff".encode()])
@pytest.mark.parametrize("parts", ["file", "paragraph"])
def test_an_empty_file_is_accounted_for(tmp_path: Path, content: bytes, parts: str):
    (tmp_path / "a.txt").write_bytes(content)
    assert said(read(tmp_path / "a.txt", parts=parts)) == {"a.txt:1": "the text is empty"}


def test_other_encodings_are_named(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("冷却液\n\n机油".encode("gb18030"))
    found = said(read(tmp_path / "a.txt", parts="paragraph", encoding="gb18030"))
    assert found == {"a.txt:1": "冷却液", "a.txt:3": "机油"}
    for encoding in ("utf-16", "klingon"):
        with pytest.raises(ValueError, match="try 'utf-8' or 'gb18030'"):
            text(path=tmp_path, encoding=encoding)


def test_personal_data_is_hidden_before_a_text_has_its_id(tmp_path: Path):
    (tmp_path / "a.txt").write_text("客服电话13812345678，全天。", encoding="utf-8")
    assert said(read(tmp_path, personal="redact")) == {"a.txt:1": "客服电话[电话号码]，全天。"}
    assert said(read(tmp_path, personal="drop")) == {"a.txt:1": "personal data: phone"}
