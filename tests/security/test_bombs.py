"""A small file stays small: what would unfold into gigabytes is refused before it is decoded.

Peak memory is measured from outside, in a process that does nothing but read the file.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq
import pytest

from curation.sources._parquet_pages import unfolded_bytes
from curation.sources.parquet import parquet

ROOT = Path(__file__).parents[2]
MB = 1 << 20
READ = """
import json, resource, sys
from pathlib import Path
import pyarrow.parquet
from curation.ingest import read_source
from curation.plugins import find_plugin
def peak_kb():
    # Not ru_maxrss where there is another: it begins with the peak of the process that forked us.
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # bytes on macOS
    return next(int(l.split()[1]) for l in status.read_text().splitlines() if "VmHWM" in l)
before = peak_kb()
records = find_plugin("curation.sources", sys.argv[1])(path=Path(sys.argv[2]))()
read = read_source(records, source="s")
reasons = read.occurrences["reason"].unique().to_list()
print(json.dumps([read.counts, reasons, (peak_kb() - before) / 1024]))
"""


def read_apart(kind: str, path: Path) -> tuple[dict[str, int], list[str], float]:
    """Counts, reasons and the MB by which reading the file raised a process's peak memory."""
    command = [sys.executable, "-c", READ, kind, str(path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def repeated(n_rows: int, cell: str) -> pyarrow.Array:
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * n_rows, pyarrow.int32()), [cell])


def dictionary_bomb(path: Path) -> int:
    """18 KB of dictionary pages that decode to 3 GB; returns the bytes it decodes to."""
    table = pyarrow.table({"prompt": repeated(60, "x" * 50_000_000), "answer": repeated(60, "y")})
    pq.write_table(table, path, compression="zstd")
    return 60 * 50_000_000


def nested_bomb(path: Path) -> int:
    turn = pyarrow.StructArray.from_arrays([repeated(60, "x" * 20_000_000)], ["content"])
    turns = pyarrow.ListArray.from_arrays(pyarrow.array(range(61), pyarrow.int32()), turn)
    pq.write_table(pyarrow.table({"messages": turns}), path, compression="zstd")
    return 60 * 20_000_000


def one_cell_bomb(path: Path) -> int:
    table = pyarrow.table({"prompt": ["x" * 400_000_000], "answer": ["y"]})
    pq.write_table(table, path, compression="brotli", use_dictionary=False, write_statistics=False)
    return 400_000_000


def row_bomb(path: Path) -> int:
    table = pyarrow.table({"prompt": pyarrow.nulls(10_000_000, pyarrow.string())})
    pq.write_table(table, path, compression="zstd", row_group_size=10_000_000)
    return 10_000_000


BOMBS: dict[str, Callable[[Path], int]] = {
    "dictionary": dictionary_bomb,
    "nested": nested_bomb,
    "one cell": one_cell_bomb,
    "rows": row_bomb,
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_parquet_bomb_is_one_refused_record_and_costs_no_memory(tmp_path, make):
    path = tmp_path / "bomb.parquet"
    unfolds = make(path)
    assert path.stat().st_size < 25_000 and unfolds / path.stat().st_size > 400
    counts, reasons, grown_mb = read_apart("parquet", path)
    assert counts == {"delivered": 1, "new": 0, "duplicate": 0, "quarantined": 1}
    (reason,) = reasons
    assert "unfolds" in reason or "not rows of text" in reason
    assert grown_mb < 60


def understated(path: Path) -> None:
    """The file with a footer that claims a hundred bytes where its pages hold millions."""
    raw = path.read_bytes()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    true = varint(2 * pq.read_metadata(path).row_group(0).total_byte_size)
    claim = bytes([200 & 127 | 128, 1 | 128, *[128] * (len(true) - 3), 0])
    footer = raw[start:-8]
    assert footer.count(true) >= 1
    path.write_bytes(raw[:start] + footer.replace(true, claim) + raw[-8:])
    assert pq.read_metadata(path).row_group(0).total_byte_size == 100


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@pytest.mark.parametrize("make", [dictionary_bomb, nested_bomb, one_cell_bomb])
def test_a_footer_that_understates_its_pages_hides_no_bomb(tmp_path, make):
    path = tmp_path / "bomb.parquet"
    if make is dictionary_bomb:  # one column, so that the claim of the group is that of the column
        table = pyarrow.table({"prompt": repeated(60, "x" * 50_000_000)})
        pq.write_table(table, path, compression="zstd")
    elif make is one_cell_bomb:
        table = pyarrow.table({"prompt": ["x" * 400_000_000]})
        options: dict[str, Any] = {"use_dictionary": False, "write_statistics": False}
        pq.write_table(table, path, compression="brotli", **options)
    else:
        make(path)
    understated(path)
    counts, reasons, grown_mb = read_apart("parquet", path)
    assert counts["delivered"] == counts["quarantined"] == 1 and "unfolds" in reasons[0]
    assert grown_mb < 60


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("page", ["1.0", "2.0"])
def test_pages_of_ordinary_files_are_counted_right_and_their_rows_read(tmp_path, compression, page):
    path = tmp_path / "rows.parquet"
    rows = [
        {
            "messages": [{"role": "user", "content": f"打开{i}号灯"}],
            "n": i,
            "ok": None if i % 3 else 1,
        }
        for i in range(3000)
    ]
    table = pyarrow.Table.from_pylist(rows)
    options = {"row_group_size": 1000, "write_page_index": True, "data_page_size": 4096}
    pq.write_table(table, path, compression=compression, data_page_version=page, **options)
    metadata = pq.read_metadata(path)
    claimed = [metadata.row_group(i).total_byte_size for i in range(3)]
    # The claim counts the headers too, which the pages do not.
    for held, claim in zip(unfolded_bytes(path), claimed, strict=True):
        assert 0.5 * claim < held <= claim
    records = list(parquet(path=path)())
    assert [r.data["n"] for r in records if r.data] == list(range(3000))


def test_no_damage_to_a_footer_ends_the_process_or_raises(tmp_path):
    path, rng = tmp_path / "rows.parquet", random.Random(1)
    pq.write_table(pyarrow.table({"a": [f"打开{i}" for i in range(200)]}), path)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole) - 400, len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            assert all(held >= 0 for held in unfolded_bytes(path))
        except ValueError as error:
            assert "\n" not in str(error)


def test_repeated_rows_of_an_ordinary_file_are_no_bomb(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(
        pyarrow.table({"prompt": ["打开空调"] * 50_000, "answer": ["好"] * 50_000}), path
    )
    assert sum(r.data is not None for r in parquet(path=path)()) == 50_000


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "bad_cases"])
def test_a_gzip_bomb_is_refused_unread(tmp_path, kind):
    import gzip

    path = tmp_path / "bomb.file"
    with gzip.GzipFile(path, "wb") as packed:
        for _ in range(80):
            packed.write(b"x" * MB)
    counts, reasons, grown_mb = read_apart(kind, path)
    assert counts["delivered"] == counts["quarantined"] == 1 and "gzip archive" in reasons[0]
    assert grown_mb < 60


@pytest.mark.parametrize(("kind", "head"), [("jsonl", b'{"a": "'), ("json", b'[{"a": "')])
def test_a_line_without_end_is_refused_without_being_held(tmp_path, kind, head):
    path = tmp_path / "long.file"
    with path.open("wb") as file:
        file.write(head)
        for _ in range(120):
            file.write(b"x" * MB)
    counts, reasons, grown_mb = read_apart(kind, path)
    assert counts["delivered"] == counts["quarantined"] <= 2 and grown_mb < 60, grown_mb
    assert any("longer than" in reason for reason in reasons)
