"""An index of ids leaves out slices that hold none of them, and never one that does."""

import hashlib

import polars as pl

from curation.id_index import LEAST, held_ids, index_ids
from curation.runs import IDS, look_in, put_run
from curation.store import Store


def some_ids(first: int, n: int) -> pl.Series:
    return pl.Series("id", [hashlib.md5(b"%d" % i).hexdigest() for i in range(first, first + n)])


def test_every_id_that_is_there_is_held_and_next_to_none_that_is_not():
    there, other = some_ids(0, LEAST), some_ids(LEAST, 50_000)
    index = index_ids(there)
    assert index is not None and index.schema == {"start": pl.UInt32}
    assert held_ids(index, there).equals(there)
    assert len(held_ids(index, other)) < 5
    assert held_ids(index, pl.Series(["", "0", "开空调开空调开空调", "zzzzzzzzz"])).is_empty()


def test_ids_that_are_no_digests_have_no_index():
    there = some_ids(0, LEAST)
    assert index_ids(there[1:]) is None
    for other in ("", "1234567", "车机" * 8):
        assert index_ids(there.set(pl.Series([True] + [False] * (LEAST - 1)), other)) is None


def test_a_look_up_reads_only_the_slices_that_hold_a_row(tmp_path):
    store, there = Store(tmp_path), some_ids(0, 2 * LEAST)
    runs = [
        put_run(store, "rows", pl.DataFrame({"id": ids, "n": range(len(ids))}))
        for ids in (there[:LEAST], there[LEAST:], some_ids(10**6, 100))
    ]
    assert [one.index.startswith(f"{IDS}/") for run in runs for one in run] == [True, True, False]
    read = []
    store.frame_paths, paths = lambda keys: read.extend(keys) or paths(keys), store.frame_paths
    asked = there[[3, LEAST - 1]].sort()
    found = pl.concat(look_in(store, runs, asked))
    assert found["id"].to_list() == asked.to_list() and set(found["__run"]) == {0}
    assert runs[0][0].key in read and runs[1][0].key not in read
    read.clear()
    assert sum(frame.height for frame in look_in(store, runs, some_ids(10**7, 40).sort())) == 0
    assert not {runs[0][0].key, runs[1][0].key} & {*read}


def test_many_ids_are_looked_for_without_the_index(tmp_path):
    store, there = Store(tmp_path), some_ids(0, LEAST).sort()
    run = put_run(store, "rows", pl.DataFrame({"id": there}))
    assert pl.concat(look_in(store, [run], there))["id"].sort().equals(there)
