"""An index of ids leaves out slices that hold none of them, and never one that does."""

import hashlib

import polars as pl
import pytest

from curation import frames, id_index
from curation.id_index import IDS, LEAST, IdIndexes, first_bits, index_ids, may_hold
from curation.runs import look_in, put_run
from curation.store import Store
from curation.text_index import index_texts


def some_ids(first: int, n: int) -> pl.Series:
    return pl.Series("id", [hashlib.md5(b"%d" % i).hexdigest() for i in range(first, first + n)])


def held(index: pl.DataFrame, ids: pl.Series) -> pl.Series:
    return ids.filter(pl.Series(may_hold(index["start"].to_numpy(), first_bits(ids))))


def test_every_id_that_is_there_is_held_and_next_to_none_that_is_not():
    there, other = some_ids(0, LEAST), some_ids(LEAST, 50_000)
    index = index_ids(there)
    assert index is not None and index.schema == {"start": pl.UInt32}
    found = [held(index, ids) for ids in (there, other)]
    assert found[0].equals(there) and len(found[1]) < 5
    assert held(index, pl.Series(["", "0", "开空调开空调开空调", "zzzzzzzzz"])).is_empty()


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
    del read[:]
    assert sum(frame.height for frame in look_in(store, runs, some_ids(10**7, 40).sort())) == 0
    assert not {runs[0][0].key, runs[1][0].key} & {*read}


@pytest.mark.parametrize("older", [False, True])
def test_a_few_texts_are_read_from_the_slice_that_holds_them(tmp_path, older):
    store, there = Store(tmp_path), some_ids(0, 2 * LEAST)
    said = [[{"role": "user", "content": "打开空调"}]] * LEAST
    index = (lambda texts: index_texts(texts).drop("starts")) if older else index_texts
    runs = [
        put_run(store, "texts", pl.DataFrame({"id": ids, "messages": said}), index)
        for ids in (there[:LEAST], there[LEAST:])
    ]
    read = []
    store.frame_paths, paths = lambda keys: read.extend(keys) or paths(keys), store.frame_paths
    found = pl.concat(look_in(store, runs, there[:40].sort()))
    assert found["id"].to_list() == there[:40].sort().to_list() and set(found["__run"]) == {0}
    assert (runs[1][0].key in read) == older


def test_many_ids_are_looked_for_without_the_index(tmp_path):
    store, there = Store(tmp_path), some_ids(0, LEAST).sort()
    run = put_run(store, "rows", pl.DataFrame({"id": there}))
    assert pl.concat(look_in(store, [run], there))["id"].sort().equals(there)


def test_indexes_are_read_once_and_forgotten_when_there_are_too_many(tmp_path, monkeypatch):
    store, asked = Store(tmp_path), []
    runs = [put_run(store, "rows", pl.DataFrame({"id": some_ids(n, 500)})) for n in (0, 500, 1000)]
    keys = [one.key for run in runs for one in run]
    indexes = IdIndexes()

    def read(some):
        return indexes.read(some, lambda new: asked.extend(new) or store.frame_paths(new))

    monkeypatch.setattr(id_index, "ROOM", 1200)
    assert [len(read(keys[:2])[key]) for key in keys[:2]] == [500, 500]
    read(keys[:2])
    assert asked == keys[:2]
    assert len(read(keys)) == 3 and asked == keys
    read(keys[:1])
    assert asked == [*keys, keys[0]]
    other = put_run(store, "n", pl.DataFrame({"id": ["开空调"]}))[0].key
    assert read([other]) == {other: None}


def test_many_slices_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    store, there = Store(tmp_path), some_ids(0, 600)
    runs = [
        put_run(store, "rows", pl.DataFrame({"id": there[n : n + 50]})) for n in range(0, 600, 50)
    ]
    whole, asked = pl.concat(look_in(store, runs, there.sort())), []
    collect = pl.collect_all
    monkeypatch.setattr(pl, "collect_all", lambda some: asked.append(len(some)) or collect(some))
    monkeypatch.setattr(frames, "_AT_ONCE", 5)
    found = pl.concat(look_in(Store(tmp_path), runs, there.sort()))
    assert found.sort("id").equals(whole.sort("id")) and max(asked) == 5 and sum(asked) > 12
