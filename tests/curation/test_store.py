"""The store: what is published is whole, verified and never changes."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from unittest.mock import patch

import polars as pl
import pytest

from curation.disk import Disk
from curation.frames import frame_digest
from curation.store import Conflict, Corrupt, Made, Store

FRAME = pl.DataFrame({"id": ["b", "a"], "value": [1.0, None]})


def write(store, name="x/rows", frame=FRAME):
    return store.write_version(name, Made(tables={"rows": frame}), inputs={}, how={"code": "1"})


def test_nothing_is_visible_before_it_is_published(tmp_path):
    store = Store(tmp_path)
    version = write(store)
    assert store.head("x/rows") is None
    store.publish(version)
    head = store.head("x/rows")
    assert head is not None and head.key == version.key


def test_a_version_sent_to_another_process_is_opened_there(tmp_path):
    store = Store(tmp_path / "here")
    store.publish(write(store))
    head = store.head("x/rows")
    assert head is not None
    sent = pickle.dumps(head)
    opened = pickle.loads(sent)
    assert opened.store is not store and opened.published_at == head.published_at
    assert opened.table("rows").equals(head.table("rows"))
    assert pickle.loads(sent).store is opened.store, "once in each process"


def test_a_store_that_another_machine_cannot_reach_is_one_line_and_is_not_made(tmp_path):
    store = Store(tmp_path / "here")
    sent = pickle.dumps(write(store))
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="^the store '.*here' cannot be reached from .*"):
        pickle.loads(sent)
    assert not (tmp_path / "here").exists()


def test_row_order_changes_neither_bytes_nor_data_version(tmp_path):
    store = Store(tmp_path)
    assert write(store).key == write(store, frame=FRAME.reverse()).key


def test_other_content_has_another_data_version(tmp_path):
    store = Store(tmp_path)
    other = FRAME.with_columns(pl.col("value").fill_null(0.0))
    assert write(store).data_version != write(store, frame=other).data_version
    assert frame_digest(FRAME) != frame_digest(FRAME.rename({"value": "score"}))


def test_a_flipped_bit_is_noticed_on_reading(tmp_path):
    version = write(Store(tmp_path))
    path = tmp_path / "objects" / version.tables["rows"]["parts"][0][0][0][0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(Corrupt, match="damaged"):
        Store(tmp_path).version(version.key).table("rows")


def test_a_missing_object_is_named(tmp_path):
    version = write(Store(tmp_path))
    (tmp_path / "objects" / version.tables["rows"]["parts"][0][0][0][0]).unlink()
    with pytest.raises(Corrupt, match="missing"):
        Store(tmp_path).version(version.key).table("rows")


def test_many_objects_are_verified_once_each_and_a_damaged_one_is_named(tmp_path):
    frames = [pl.DataFrame({"id": [str(i)]}) for i in range(40)]
    keys = [Store(tmp_path).put_frame("some", frame) for frame in frames]
    store = Store(tmp_path)
    with patch.object(store.disk, "digest", wraps=store.disk.digest) as digests:
        read = [pl.read_parquet(path) for path in store.frame_paths([*keys, *keys])]
    assert all(one.equals(given) for one, given in zip(read, frames * 2, strict=True))
    assert digests.call_count == len(keys)
    (tmp_path / "objects" / keys[7]).write_bytes(b"PAR1")
    with pytest.raises(Corrupt, match=keys[7]):
        Store(tmp_path).frame_paths(keys)


def test_a_changed_file_in_a_model_folder_is_noticed(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    store = Store(tmp_path / "store")
    key = store.put_folder(model)
    assert (store.folder(key) / "weights").read_text() == "1"
    (store.root / "objects" / key / "weights").write_text("2")
    with pytest.raises(Corrupt):
        Store(tmp_path / "store").folder(key)


def test_the_second_writer_of_a_place_gets_a_conflict(tmp_path):
    store = Store(tmp_path)
    store.publish(write(store))
    later = write(store, frame=FRAME.head(1))
    place = tmp_path / "refs" / "x/rows" / "00000002.json"

    class OtherWriterFirst(Disk):
        def link(self, path, to):
            if to == place and not place.exists():
                place.write_text("{}")
            super().link(path, to)

    with pytest.raises(Conflict):
        Store(tmp_path, disk=OtherWriterFirst()).publish(later)


def test_publishing_the_head_again_adds_nothing(tmp_path):
    store = Store(tmp_path)
    for _ in range(2):
        store.publish(write(store))
    assert len(list(store.history("x/rows"))) == 1


def test_going_back_to_an_old_version_keeps_the_history(tmp_path):
    store = Store(tmp_path)
    first, second = write(store), write(store, frame=FRAME.head(1))
    for version in (first, second, first):
        store.publish(version)
    assert [v.key for v in store.history("x/rows")] == [first.key, second.key, first.key]


def test_a_newer_store_format_is_refused(tmp_path):
    Store(tmp_path)
    (tmp_path / "format.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        Store(tmp_path)


HOLDER = textwrap.dedent(
    """
    import sys, time
    from curation.store import Store
    Store(sys.argv[1]).lock_writer()
    print("held", flush=True)
    time.sleep(60)
    """
)


def test_one_process_writes_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=str(holder.pid)):
            Store(tmp_path).lock_writer()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    store = Store(tmp_path)
    store.lock_writer()
    store.lock_writer()  # the same process may ask again
    store.unlock_writer()


@pytest.mark.parametrize("point", range(12))
def test_killed_at_any_file_operation_the_store_is_whole(tmp_path, point):
    """It dies at its n-th rename, link or fsync; a re-run ends in the same state."""
    code = textwrap.dedent(
        f"""
        import os, sys, signal
        import polars as pl
        from curation.store import Made, Store
        count = 0
        def counted(real):
            def call(*args, **kwargs):
                global count
                count += 1
                if count == {point} + 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            return call
        store = Store(sys.argv[1])
        for name in ("rename", "replace", "link", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        frame = pl.DataFrame({{"id": ["a"], "value": [1.0]}})
        made = Made(tables={{"rows": frame}})
        store.publish(store.write_version("x/rows", made, inputs={{}}, how={{}}))
        """
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    store = Store(tmp_path)
    head = store.head("x/rows")
    assert head is None or head.table("rows")["id"].to_list() == ["a"]
    frame = pl.DataFrame({"id": ["a"], "value": [1.0]})
    version = store.write_version("x/rows", Made(tables={"rows": frame}), inputs={}, how={})
    store.publish(version)
    assert [v.key for v in store.history("x/rows")] == [version.key]
