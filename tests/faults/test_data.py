"""Faults of the data: whatever is delivered, each record has one outcome and nothing raises."""

import json
import os
import random
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.ingest import source_stages
from assets.stage import ChangedMeanwhile, run_stage
from curation.accounts import Account
from curation.formats import write_record
from curation.plugins import find_plugin, plugin
from tests.faults._deliver import (
    PAIRS,
    counts,
    deliver,
    job_of,
    lines,
    numbered,
    occurrences,
    reading,
    reasons,
    write,
)

# half written ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "new", "reason"),
    [
        (b"", 4, ""),
        (b'"}\n', 3, "broken JSON"),  # in the middle of the last line
        ('打"}\n'.encode()[1:], 3, "not UTF-8"),  # in the middle of a character
    ],
)
def test_a_line_cut_in_the_middle_costs_that_line(tmp_path, cut, new, reason):
    whole = lines([*PAIRS[:3], ("拨打", "打")])
    path = write(tmp_path / "half.jsonl", whole.removesuffix(cut))
    rows = deliver(job_of(tmp_path, reading(path)))
    assert counts(rows).get("new") == new
    assert all(reason in said for said in reasons(rows)) and len(reasons(rows)) == 4 - new
    path.write_bytes(whole)  # once it is whole, all of it is there
    assert counts(deliver(job_of(tmp_path, reading(path)))) == {"new": 4}


@pytest.mark.parametrize("size", range(1, 60, 7))
@pytest.mark.parametrize("use", ["json", "csv", "parquet"])
def test_a_file_cut_anywhere_is_rows_and_reasons(tmp_path, use, size):
    frame = pl.DataFrame(PAIRS, schema=["prompt", "answer"], orient="row")
    path = tmp_path / f"half.{use}"
    if use == "parquet":
        frame.write_parquet(path)
    elif use == "csv":
        frame.write_csv(path, quote_style="always")
    else:
        path.write_text(json.dumps(frame.to_dicts(), ensure_ascii=False), encoding="utf-8")
    whole = path.read_bytes()
    path.write_bytes(whole[:-size])
    rows = deliver(job_of(tmp_path, reading(path, use)))
    found = counts(rows)
    assert found.get("new", 0) <= 4 and (use != "parquet" or found == {"quarantined": 1})
    if use == "json":
        assert found["quarantined"] >= 1
    known = {tuple(m["content"] for m in row[1:]) for row in rows.table("rows")["messages"]}
    # Never a row of half an answer; a CSV line may end anywhere (RFC 4180), so its last cell can.
    assert use == "csv" or known <= set(PAIRS)


# changed while it is read -----------------------------------------------------------------------


def changing(change):
    """The factory of a source that has `change(path)` happen after its second record."""

    @plugin()
    def jsonl(*, path: Path):
        inner = find_plugin("curation.sources", "jsonl")(path=path)

        def read():
            for number, record in enumerate(inner()):
                if number == 2:
                    change(path)
                yield record

        return read

    return jsonl


def append(path):
    with path.open("ab") as handle:
        handle.write(lines([("新的", "一行")]))


def overwrite(path):
    path.write_bytes(lines()[:-4] + b'x"}\n')


def swap(path):
    write(path.with_suffix(".new"), path.read_bytes()).replace(path)


def take_away(path):
    path.rename(path.with_suffix(".gone"))


def put_back(path):
    """Other bytes, and then the former ones again: only the file's times tell."""
    before = path.read_bytes()
    path.write_bytes(before.replace(b"radio", b"RADIO"))
    path.write_bytes(before)


@pytest.mark.parametrize("change", [append, overwrite, swap, take_away, put_back])
def test_a_file_that_changes_while_it_is_read_publishes_and_remembers_nothing(tmp_path, change):
    path = write(tmp_path / "live.jsonl", lines())
    plug = replace(reading(path), factory=changing(change))
    job = job_of(tmp_path, plug)
    (stage,) = source_stages(job.recipe)
    with pytest.raises(ChangedMeanwhile, match=r"live.jsonl' changed while it was read; run again"):
        run_stage(job, stage)
    assert job.store.names() == [] and job.store.blobs.list("memo") == []
    write(path, lines())
    calm = job_of(tmp_path, reading(path))
    outcome = run_stage(calm, source_stages(calm.recipe)[0])
    assert not outcome.recalled and outcome.version.values["fates"] == {"new": 4}


def test_a_file_added_to_a_folder_while_it_is_read_is_noticed(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.jsonl", lines())

    def add(path):
        write(path / "0.jsonl", lines([("更多", "行")]))

    job = job_of(tmp_path, replace(reading(folder), factory=changing(add)))
    with pytest.raises(ChangedMeanwhile, match="0.jsonl"):
        run_stage(job, source_stages(job.recipe)[0])


def test_a_file_that_was_only_looked_at_is_no_change(tmp_path):
    path = write(tmp_path / "live.jsonl", lines())
    plug = replace(reading(path), factory=changing(Path.read_bytes))
    assert counts(deliver(job_of(tmp_path, plug))) == {"new": 4}


# poison -----------------------------------------------------------------------------------------

REFUSED = ["\ud800", "\udfff", "\0", "\x1b", "\u202e", "\u2066", "\U000e0041"]
KEPT = ["\ufeff", "\u0301", "\u0301" * 50, "\u200d", "שלום", "مرحبا", "\u2028", "\ufffd", "👩‍🚗"]
NEVER, UNREAD = REFUSED[:3], ("extra", "key")
FIELDS = ["prompt", "answer", "system", "category", "difficulty", "extra", "key", "rejected"]


def poisoned(poison, field):
    record = {"prompt": f"问 {field} {ascii(poison)}", "answer": "答"}
    return record | {f"k{poison}" if field == "key" else field: f"前{poison}后{field}"}


@pytest.mark.parametrize("use", ["jsonl", "json"])
@pytest.mark.parametrize("escaped", [True, False])
def test_poison_in_any_field_costs_that_record_alone(tmp_path, use, escaped):
    said = [(p, f) for p in REFUSED + KEPT for f in FIELDS]
    records = [poisoned(*one) for one in said]
    texts = [json.dumps(r, ensure_ascii=escaped) for r in records]
    joined = "\n".join(texts) if use == "jsonl" else "[" + ",".join(texts) + "]"
    path = write(tmp_path / f"poison.{use}", joined.encode("utf-8", "surrogatepass"))
    rows = deliver(job_of(tmp_path, reading(path, use)))
    refused = occurrences(rows).filter(outcome="quarantined")["position"].to_list()
    # What nobody reads and UTF-8 can hold is left where it is.
    wrong = [p in REFUSED and (f not in UNREAD or p in NEVER) for p, f in said]
    assert sum(counts(rows).values()) == len(said)
    assert sorted(refused) == sorted(
        f"{path.name}:{n + 1}" if use == "jsonl" else f"{path.name}[{n}]"
        for n in range(len(said)) if wrong[n]
    )  # fmt: skip
    kept = rows.table("rows")
    for column in ("messages", "category", "difficulty", "tools", "lang", "source"):
        text = json.dumps(kept[column].to_list(), ensure_ascii=False)
        assert not [p for p in REFUSED if p in text], column
    others = [json.loads(meta or "{}").get("rejected", "") for meta in kept["meta"]]
    assert any(others) and not [p for p in REFUSED if p in "".join(others)]
    texts = [m["content"] for turns in kept["messages"] for m in turns]
    assert "前后prompt" in texts and "前שלום后answer" in texts  # a BOM goes, foreign letters stay
    for form in ("messages", "alpaca", "sharegpt"):
        for row in kept.iter_rows(named=True):
            json.dumps(write_record(row, form=form), ensure_ascii=False).encode()
    occurrences(rows).write_ndjson(tmp_path / "raw.ndjson")  # what was refused, too


@pytest.mark.parametrize("poison", [*REFUSED[2:], *KEPT])
def test_poison_in_a_parquet_or_csv_cell_costs_that_record_alone(tmp_path, poison):
    records = [{"prompt": "好", "answer": "的"}, {"prompt": f"前{poison}后", "answer": "的"}]
    table = pa.Table.from_pylist(records)
    pq.write_table(table, tmp_path / "p.parquet")
    text = "prompt,answer\n" + "\n".join(f'"{r["prompt"]}","{r["answer"]}"' for r in records)
    write(tmp_path / "p.csv", text.encode())
    plugs = [reading(tmp_path / "p.parquet", "parquet"), reading(tmp_path / "p.csv", "csv")]
    found = counts(deliver(job_of(tmp_path, *plugs)))
    refused = poison in REFUSED
    assert found == ({"new": 1, "duplicate": 1, "quarantined": 2} if refused else
                     {"new": 2, "duplicate": 2})  # fmt: skip


# size -------------------------------------------------------------------------------------------

CHILD = textwrap.dedent(
    """
    import resource, sys, time
    from pathlib import Path
    from curation.ingest import read_source
    from curation.plugins import find_plugin
    path, use = Path(sys.argv[1]), sys.argv[2]
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    read = read_source(find_plugin("curation.sources", use)(path=path)(), source="s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    n = read.counts
    print(n["new"], n["quarantined"], peak // 1024, time.process_time() - start)

    print(*read.occurrences["reason"].to_list(), sep="\\n")
    """
)


def ingest_in_child(path, use):
    """New and quarantined records, MB at the peak beyond the start, CPU seconds, reasons."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), use],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    first, *reasons = done.stdout.splitlines()
    new, quarantined, peak_mb, seconds = first.split()
    return int(new), int(quarantined), int(peak_mb), float(seconds), reasons


@pytest.mark.parametrize(
    ("use", "limit_mb"), [("jsonl", 30), ("json", 60), ("csv", 300), ("parquet", 400)]
)
def test_a_row_of_fifty_megabytes_is_quarantined_by_the_stated_limit(tmp_path, use, limit_mb):
    path = tmp_path / f"big.{use}"
    large = "大" + random.Random(1).randbytes(25_000_000).hex()  # does not look like a bomb
    pairs = [PAIRS[0], (large, "的"), PAIRS[1]]
    if use == "jsonl":
        path.write_bytes(lines(pairs))
    elif use == "json":
        records = [{"prompt": p, "answer": a} for p, a in pairs]
        path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    elif use == "csv":
        path.write_text("prompt,answer\n" + "\n".join(f"{p},的" for p, _ in pairs), "utf-8")
    else:
        pl.DataFrame(pairs, schema=["prompt", "answer"], orient="row").write_parquet(path)
    new, quarantined, peak_mb, seconds, said = ingest_in_child(path, use)
    assert (new, quarantined) == (2, 1) and re.search("1,?000,?000", said[1])
    assert peak_mb < limit_mb and seconds < 20, (peak_mb, seconds)


def test_a_parquet_bomb_stays_small_in_memory(tmp_path):
    path = tmp_path / "bomb.parquet"
    text = pa.array(["长" * 1_100_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"prompt": column, "answer": ["a"] * 200}), path)
    assert path.stat().st_size < 1 << 20  # and 660 MB unfolded
    new, quarantined, peak_mb, seconds, _ = ingest_in_child(path, "parquet")
    assert new == 0 and quarantined and peak_mb < 300 and seconds < 30, (peak_mb, seconds)


# drift and repeats ------------------------------------------------------------------------------


def test_columns_renamed_retyped_and_added_between_deliveries(tmp_path):
    path = tmp_path / "drift.jsonl"
    first = deliver(job_of(tmp_path, reading(write(path, lines()))))
    renamed = [{"question": p, "response": a} for p, a in PAIRS]
    path.write_text("\n".join(json.dumps(r) for r in renamed))
    again = deliver(job_of(tmp_path, reading(path)))
    assert again.table("rows")["id"].equals(first.table("rows")["id"])
    drifted = [
        {"prompt": "几度", "answer": 22},
        {"prompt": "哪里", "answer": {"do": "导航"}},
        {"prompt": ["开", "窗"], "answer": "好"},
        {"prompt": "谁", "answer": None},
        {"prompt": "早", "answer": "好", "more": {"deep": [1, None, 2.5]}},
        {"frage": "wer", "antwort": "ich"},
        {"messages": "not a list"},
        {},
    ]
    path.write_text("\n".join(json.dumps(r) for r in drifted))
    rows = deliver(job_of(tmp_path, reading(path)))
    found = counts(rows)
    assert sum(found.values()) == len(drifted) and found["new"] >= 3, reasons(rows)
    answers = {t[-2]["content"]: t[-1]["content"] for t in rows.table("rows")["messages"]}
    assert answers["几度"] == "22" and json.loads(answers["哪里"]) == {"do": "导航"}


def test_parquet_files_of_different_columns_in_one_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    pl.DataFrame(PAIRS, schema=["prompt", "answer"], orient="row").write_parquet(
        folder / "a.parquet"
    )
    other = pl.DataFrame(
        {"query": [p for p, _ in PAIRS], "output": [a for _, a in PAIRS], "n": 1.5}
    )
    other.write_parquet(folder / "b.parquet")
    pl.DataFrame({"prompt": [1, 2], "answer": [[1.5], None]}).write_parquet(folder / "c.parquet")
    pl.DataFrame({"x": [b"\xff\0"]}).write_parquet(folder / "d.parquet")
    found = counts(deliver(job_of(tmp_path, reading(folder, "parquet"))))
    assert found == {"new": 5, "duplicate": 4, "quarantined": 2}


def test_the_same_file_twice_and_the_same_rows_in_another_order_add_no_row(tmp_path):
    pairs = numbered(20)
    path = write(tmp_path / "a.jsonl", lines(pairs))
    first = deliver(job_of(tmp_path, reading(path)))
    twice = deliver(job_of(tmp_path, reading(path), reading(path)))
    assert counts(twice) == {"new": 20, "duplicate": 20}
    assert twice.table("rows")["id"].equals(first.table("rows")["id"])
    account = Account.read(twice)
    assert account and {label: sum(n for n, _ in t.values()) for label, t in account.left.items()} \
        == {"train": 20, "merged": 20}  # fmt: skip
    write(path, lines(random.Random(1).sample(pairs, 20)))
    shuffled = deliver(job_of(tmp_path, reading(path)))
    assert shuffled.tables["rows"]["digest"] == first.tables["rows"]["digest"]
    write(path, lines(pairs + pairs[::-1]))
    again = deliver(job_of(tmp_path, reading(path)))
    assert counts(again) == {"new": 20, "duplicate": 20}
    assert again.tables["rows"]["digest"] == first.tables["rows"]["digest"]
