"""A store in a bucket, against a real S3-speaking server."""

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from curation.bucket import BucketBlobs
from curation.disk import Disk
from curation.store import Conflict, Corrupt, Made, Store
from curation.upkeep import collect_garbage, remove_damaged, verify_store
from tests.s3_server import BUCKET, KEYS

PLACE = f"s3://{BUCKET}/数据/车 载"
FRAME = pl.DataFrame({"id": ["甲", "b", "c"], "value": [1.0, None, 2.0]})


@pytest.fixture
def store(s3, tmp_path):
    return Store(PLACE, local=tmp_path / "here")


def write(store, frame=FRAME, name="tiny/sources/座舱", **made):
    return store.write_version(name, Made({"rows": frame}, **made), inputs={}, how={"code": "1"})


def publish(store, n=1, name="tiny/sources/座舱"):
    """`n` versions, the last with `n` rows."""
    versions = []
    for k in range(n):
        frame = pl.DataFrame({"id": [f"{i:03d}" for i in range(k + 1)]})
        versions.append(write(store, frame, name))
        store.publish(versions[-1])
    return versions


def test_a_second_machine_reads_all_that_the_first_wrote(store, tmp_path):
    model = tmp_path / "model"
    (model / "深").mkdir(parents=True)
    (model / "深" / "weights [1]~#%.bin").write_bytes(bytes(range(256)))
    (model / "config.json").write_text("{}")
    store.publish(write(store, folders={"model": model}, values={"n": 3}))
    store.remember("key", {"manifest": "m"})
    other = Store(PLACE, local=tmp_path / "there")
    head = other.head("tiny/sources/座舱")
    assert head is not None and head.table("rows").equals(FRAME.sort("id"))
    assert (head.folder("model") / "深" / "weights [1]~#%.bin").read_bytes() == bytes(range(256))
    assert other.names() == ["tiny/sources/座舱"] and other.recall("key") == {"manifest": "m"}
    assert verify_store(other) == []


def test_a_file_larger_than_a_part_of_an_upload_comes_back_whole(store, tmp_path):
    """Such as a model's weights: 12 MB go up in several parts, and only where nothing lies."""
    weights = random.Random(1).randbytes(12_000_000)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(weights)
    store.publish(write(store, folders={"model": tmp_path / "model"}))
    other = Store(PLACE, local=tmp_path / "there")
    head = other.head("tiny/sources/座舱")
    assert head is not None
    assert (head.folder("model") / "weights.safetensors").read_bytes() == weights
    assert verify_store(other) == []
    assert store.put_folder(tmp_path / "model") == head.manifest["folders"]["model"]


def test_nothing_is_visible_before_it_is_published(store):
    version = write(store)
    assert store.head(version.name) is None
    store.publish(version)
    store.publish(version)
    assert [v.key for v in store.history(version.name)] == [version.key]


def test_of_two_writers_at_once_one_wins_and_the_other_gets_a_conflict(store, tmp_path):
    publish(store)
    stores = [Store(PLACE, local=tmp_path / f"{i}") for i in range(4)]
    versions = [write(s, FRAME.head(i + 1)) for i, s in enumerate(stores[:3])]
    versions.append(write(stores[3], FRAME.clear()))
    gate, outcomes = threading.Barrier(4), []

    def race(one, version):
        seq, _, _ = one.newest(version.name)
        gate.wait()
        try:
            one.publish(version)
            outcomes.append(version.key)
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=race, args=pair) for pair in zip(stores, versions)]  # noqa: B905
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [key for key in outcomes if key != "conflict"]
    history = [v.key for v in store.history("tiny/sources/座舱")]
    assert sorted(history[:-1]) == sorted(won)  # each who did not hear of a conflict is there


RACER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from curation.store import Conflict, Store
    blobs = Store(sys.argv[1], local=Path(sys.argv[2])).blobs
    print("ready", flush=True)
    sys.stdin.readline()
    won = [n for n in range(30) if blobs.create(f"refs/x/{n:08d}.json", sys.argv[2].encode())]
    print(*won)
    """
)


def test_of_two_processes_exactly_one_creates_each_ref(s3, tmp_path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, PLACE, str(tmp_path / name)],
            env={**os.environ, "PYTHONPATH": "."},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for racer in racers:
        assert racer.stdout and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [set(racer.communicate(timeout=60)[0].split()) for racer in racers]
    assert won[0] | won[1] == {str(n) for n in range(30)} and not won[0] & won[1]


def test_the_loser_of_a_race_for_a_ref_gets_a_conflict(store, s3):
    publish(store)
    later = write(store, FRAME)
    key = "数据/车 载/refs/tiny/sources/座舱/00000002.json"

    class OtherWriterFirst(BucketBlobs):
        def create(self, name, data):
            s3.set(key, b'{"manifest": "another"}')
            return super().create(name, data)

    store.blobs = OtherWriterFirst(PLACE, store.root / "cache", Disk())
    with pytest.raises(Conflict):
        store.publish(later)


def test_a_lost_reply_is_no_conflict_for_the_winner(store, s3):
    lost = []

    def once(method, path):
        if method == "PUT" and "/refs/" in path and not lost:
            lost.append(path)
            return True
        return False

    version = write(store)
    s3.lose_reply = once
    store.publish(version)
    assert lost and [v.key for v in store.history(version.name)] == [version.key]


def test_a_bucket_that_ignores_conditional_writes_is_refused(s3, tmp_path):
    s3.ignores_conditions = True
    for _ in range(2):
        with pytest.raises(ValueError, match="ignores conditional writes"):
            Store(PLACE, local=tmp_path)


@pytest.mark.parametrize(
    ("environment", "place", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, PLACE, "cannot be used"),
        ({}, "s3://no-such-bucket/x", "NoSuchBucket"),
        (
            {
                "AWS_ACCESS_KEY_ID": "",
                "AWS_SECRET_ACCESS_KEY": "",
                "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
            },
            PLACE,
            "no credentials",
        ),
        ({"AWS_ACCESS_KEY_ID": ""}, PLACE, "no credentials"),
        ({}, "s3://key:hunter2@bucket/x", "holds credentials"),
        ({}, "gs://bucket/x", "s3://bucket/prefix"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line_without_secrets_and_soon(
    s3, tmp_path, monkeypatch, environment, place, said
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    start = time.monotonic()
    with pytest.raises((ValueError, OSError), match=said) as caught:
        Store(place, local=tmp_path)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500
    assert not any(secret in line for secret in [*list(KEYS.values())[:2], "hunter2"])
    assert time.monotonic() - start < 20


def test_a_bucket_that_goes_away_is_one_line_and_loses_nothing(store, s3, monkeypatch, tmp_path):
    publish(store)
    s3.lose_reply = lambda method, path: True
    with pytest.raises(OSError, match="cannot be used"):
        write(store, FRAME)
    s3.lose_reply = lambda method, path: False
    store.publish(write(store, FRAME))
    assert verify_store(store) == []


def damaged_object(s3):
    return next(key for key in s3.names() if "/objects/座舱/" in key)


def test_a_bit_flipped_in_the_bucket_is_noticed_by_reader_and_check(store, s3, tmp_path):
    publish(store)
    s3.flip_bit(damaged_object(s3))
    head = Store(PLACE, local=tmp_path / "there").head("tiny/sources/座舱")
    assert head is not None
    with pytest.raises(Corrupt, match="damaged"):
        head.table("rows")
    (damage,) = verify_store(store)  # though the cache of this machine is whole
    assert damage.versions == ("tiny/sources/座舱@1",)
    remove_damaged(store, [damage])
    store.publish(write(store, pl.DataFrame({"id": ["000"]})))
    assert verify_store(Store(PLACE, local=tmp_path / "there")) == []


def test_a_damaged_cache_is_fetched_anew(store, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"1")
    store.publish(write(store, folders={"model": model}))
    for path in (tmp_path / "here" / "cache" / "objects").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0" + path.read_bytes()[1:])
    again = Store(PLACE, local=tmp_path / "here").head("tiny/sources/座舱")
    assert again is not None and again.table("rows").height == FRAME.height
    assert (again.folder("model") / "weights").read_bytes() == b"1"


def test_a_bucket_of_a_newer_store_format_is_refused_and_left_as_it_is(store, s3, tmp_path):
    publish(store)
    s3.set("数据/车 载/format.json", b'{"format": 99}')
    before = s3.contents()
    with pytest.raises(ValueError, match="store format 99; this Winnow knows .*: upgrade"):
        Store(PLACE, local=tmp_path / "there")
    assert s3.contents() == before


def test_pins_and_rollback(store, tmp_path):
    first, second = publish(store, 2)
    store.pin("best", first)
    other = Store(PLACE, local=tmp_path / "there")
    assert {label: v.key for label, v in other.pins().items()} == {"best": first.key}
    other.rollback(first.name, first)
    assert [v.key for v in store.history(first.name)] == [first.key, second.key, first.key]
    store.unpin("best")
    assert other.pins() == {}


def test_garbage_older_than_the_grace_goes_and_what_is_young_stays(store, s3, tmp_path):
    versions = publish(store, 4)
    store.pin("first", versions[0])
    store.remember("young", {"manifest": versions[1].key})
    before = s3.names()
    spared = collect_garbage(store, keep=1)
    assert spared.refs == 2 and spared.objects == 0
    assert set(before) - set(s3.names()) == {k for k in before if "/refs/" in k and k[-6] in "23"}
    held = collect_garbage(store, keep=1, grace_s=-10)
    assert held.memos == 0 and store.find_version(versions[1].key) == versions[1]
    store.leases.release()  # the build that remembered it has come to its end
    gone = collect_garbage(store, keep=1, grace_s=-10)
    assert gone.objects and gone.bytes and gone.memos == 1
    again = Store(PLACE, local=tmp_path / "there")
    kept = [v.key for v in again.history(versions[0].name)]
    assert kept == [versions[3].key, versions[0].key]
    assert again.pins()["first"].table("rows").height == 1 and verify_store(again) == []
    assert again.find_version(versions[1].key) is None
    assert collect_garbage(store, keep=1, grace_s=-10).objects == 0


def test_a_collector_on_another_machine_takes_nothing_of_a_build_beside_it(store, s3, tmp_path):
    """What was garbage before goes meanwhile, and every version that is published is whole."""
    publish(store, 3)
    s3.make_old(days=2)
    other, done, found = Store(PLACE, local=tmp_path / "there"), threading.Event(), []

    def build():
        try:
            for n in range(8):
                frame = pl.DataFrame({"id": [f"{n}-{i}" for i in range(5)]})
                store.publish(write(store, frame))
        finally:
            done.set()

    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build)
        while not done.is_set():
            found.append(collect_garbage(other, keep=1))
        building.result()
    assert len(found) > 2 and sum(one.objects for one in found) and sum(one.refs for one in found)
    again = Store(PLACE, local=tmp_path / "third")
    head = again.head("tiny/sources/座舱")
    assert head and head.table("rows")["id"][0] == "7-0" and verify_store(again) == []


def test_a_store_of_this_folder_is_not_touched_by_upkeep_of_a_bucket(s3, tmp_path):
    local, remote = Store(tmp_path), Store(PLACE, local=tmp_path)
    mine, theirs = publish(local, 3), publish(remote, 3)
    assert mine[0].key == theirs[0].key
    collect_garbage(remote, keep=1, grace_s=-10)
    assert len(list(local.history(mine[0].name))) == 3
    assert verify_store(local) == []


def test_more_names_than_one_page_are_all_listed(store, s3):
    for n in range(1, 1101):
        s3.set(f"数据/车 载/refs/tiny/rows/{n:08d}.json", b'{"manifest": "x"}')
    s3.set("数据/车 载/refs/tiny/rows_2/00000001.json", b'{"manifest": "x"}')
    assert len(store.refs("tiny/rows")) == 1100 and len(store.refs()) == 1101


def test_few_requests(store, s3, tmp_path):
    versions = publish(store, 3)
    with s3.counted() as opening:
        other = Store(PLACE, local=tmp_path / "there")
    with s3.counted() as first_head:
        other.head(versions[0].name)
    with s3.counted() as next_head:
        other.head(versions[0].name)
    with s3.counted() as unchanged:
        assert other.find_version(versions[2].key)
        other.publish(versions[2])
    version = write(store, FRAME)
    with s3.counted() as publishing:
        store.publish(version)
    counts = [len(c) for c in (opening, first_head, next_head, unchanged, publishing)]
    assert counts == [2, 3, 1, len(versions[2].objects) + 1, 2], publishing
