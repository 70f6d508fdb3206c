"""The same rows give the same bytes whatever the number of threads that Polars works with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl

from curation.rows import digest
from curation.runs import put_run
from curation.store import Made, Store

ROWS = 100_000
AT = pl.int_range(ROWS, dtype=pl.Int64)
WRITER = "import sys; from tests.curation.test_threads import write; write(sys.argv[1])"


def talks() -> pl.DataFrame:
    """Rows that their ids tell apart, with texts."""
    turns = [
        pl.struct(role=pl.lit("user"), content=pl.format("打开第{}个天窗", AT % 70_000)),
        pl.struct(role=pl.lit("assistant"), content=pl.format("好的，{}", AT)),
    ]
    return pl.select(
        id=pl.Series([digest(n) for n in range(ROWS)]),
        messages=pl.concat_list(turns),
        tools=pl.when(AT % 3 == 0).then(pl.format("[{}]", AT % 11)).otherwise(pl.lit("")),
        said=pl.format("{}", AT % 13),
        score=pl.when(AT % 7 != 0).then((AT * 0.1).sin()),
    )


def facts() -> pl.DataFrame:
    """Rows whose ids repeat, so that only the whole row tells them apart."""
    return pl.select(
        id=pl.Series([digest(n % 30_000) for n in range(ROWS)]),
        said=pl.when(AT % 5 != 0).then(pl.format("{}", AT % 13)),
        value=pl.when(AT % 4 != 0).then((AT * 0.3).cos()),
        at=AT,
    )


def changed(frame: pl.DataFrame) -> pl.DataFrame:
    """Some rows gone, some different, some new."""
    new = frame.head(300).with_columns(id=pl.Series([digest(f"new {n}") for n in range(300)]))
    other = pl.when(AT % 700 == 2).then(pl.lit("other")).otherwise(pl.col("said"))
    return pl.concat([new, frame.with_columns(said=other).filter(AT % 500 != 1)])


def write(folder: str) -> None:
    """Both tables, each grown by a change; prints the threads and the versions."""
    store = Store(folder)
    for name, frame in (("x/talks", talks()), ("x/facts", facts())):
        for content in (frame, changed(frame)):
            store.publish(store.write_version(name, Made({"rows": content}), inputs={}, how={}))
    keys = {name: [version.key for version in store.history(name)] for name in store.names()}
    print(json.dumps([pl.thread_pool_size(), keys]))


def written(threads: int, folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Versions and object files of a process that works with so many threads."""
    limit = {"POLARS_MAX_THREADS": str(threads), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(folder)],
        env=os.environ | limit,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    used, keys = json.loads(done.stdout)
    assert used == threads
    return keys, Store(folder).blobs.list("objects")


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path):
    (keys, files), (others, other_files) = (written(n, tmp_path / str(n)) for n in (1, 4))
    assert keys == others and sorted(keys) == ["x/facts", "x/talks"]
    assert files == other_files
    version = Store(tmp_path / "1").head("x/talks")
    assert version and len(version.tables["rows"]["parts"]) == 2  # it grew by the change alone


def test_bytes_do_not_depend_on_the_chunks_that_a_frame_lies_in(tmp_path):
    store = Store(tmp_path)
    for frame in (talks(), talks().drop("messages", "tools")):
        frame = frame.sort("id")
        for size in (999, 70_001):
            chunked = pl.concat(frame.iter_slices(size), rechunk=False)
            assert chunked.n_chunks() > 1
            assert put_run(store, "x", chunked) == put_run(store, "x", frame)
