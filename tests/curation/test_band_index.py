"""Indexes of bands: they find what looking through all rows finds, and are written once."""

import polars as pl
import pytest

from curation import band_index
from curation.band_index import COMPARED, read_indexes, remember_indexes, scan_bands
from curation.dedup import sign_rows
from curation.frames import Change
from curation.related import find_alike
from curation.rows import dialogue, make_row, rows_frame
from curation.store import Store

MEMO = "signatures-1"


@pytest.fixture(autouse=True)
def small_indexes(monkeypatch):
    monkeypatch.setattr(band_index, "LEAST", 10)


SAID = (
    "请把左边的车窗打开一半", "播放一首轻松愉快的老歌", "Navigate to the nearest station",
    "明天早上八点提醒我开会", "座椅加热调到最高一档吧", "What is the weather in Shanghai",
    "给妈妈打个电话说我晚点回家",
)  # fmt: skip


def signed(start, number):
    """Signatures of rows that ask nearly what every seventh other one asks."""
    said = [f"{SAID[i % 7]}{'吧' * (i // 7 % 2)}" for i in range(start, start + number)]
    made = [make_row(dialogue(text, f"好的{i}")) for i, text in enumerate(said, start)]
    return sign_rows(rows_frame(made))


def grow(store, entry, more):
    return store.remember_table(MEMO, "signatures", Change(more, more.select("id").clear()), entry)


def indexes(store):
    return sorted((store.root / "objects" / "bands").rglob("*.arrow"))


def test_an_index_is_written_once_for_a_run_and_finds_what_a_scan_finds(tmp_path):
    store = Store(tmp_path)
    first, large, small = signed(0, 100), signed(100, 12), signed(112, 3)
    entry = store.remember_table(MEMO, "signatures", first)
    key = remember_indexes(store, entry, MEMO)
    assert len(before := indexes(store)) == 1
    for more in (large, small):
        entry = grow(store, entry, more)
        assert remember_indexes(store, entry, MEMO) == key
    assert len(indexes(store)) == 2 and before[0] in indexes(store)
    among = read_indexes(store, entry, key)
    every = pl.concat([first, large, small])
    for asked in (first[:1], large[3:5], small):
        found = find_alike(among, asked.select(COMPARED))
        assert set(asked["id"]) <= set(found) < set(every["id"])
        assert found == find_alike([scan_bands(every)], asked.select(COMPARED))
    assert find_alike(among, first[:0].select(COMPARED)) == []


def test_an_index_that_was_damaged_is_written_anew_and_one_of_no_run_is_forgotten(tmp_path):
    store = Store(tmp_path)
    entry = store.remember_table(MEMO, "signatures", signed(0, 40))
    key = remember_indexes(store, entry, MEMO)
    path, whole = indexes(store)[0], indexes(store)[0].read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-9] + b"damaged!!")
    again = Store(tmp_path)
    assert remember_indexes(again, entry, MEMO) == key and path.read_bytes() == whole
    other = again.remember_table(MEMO, "signatures", signed(500, 40))
    remember_indexes(again, other, MEMO)
    named = (again.recall(key) or {})["objects"]
    assert len(named) == 1 and path.stem not in named[0]
