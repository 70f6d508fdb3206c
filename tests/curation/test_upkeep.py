"""Upkeep: what is needed stays, what is not goes once, and damage is said with whom it hits."""

import json

import polars as pl
import pytest

from curation.registry import champion_now, next_number
from curation.store import Corrupt, Made, Store
from curation.upkeep import collect_garbage, remove_damaged, verify_store


def frame(*ids):
    return pl.DataFrame({"id": ids}, schema={"id": pl.String})


def publish(store, name, rows, memos=(), folder=None, **inputs):
    made = Made({"rows": rows}, memos=memos, folders={"model": folder} if folder else {})
    version = store.write_version(name, made, inputs=inputs, how={"code": "1"})
    store.publish(version)
    return version


def release(store, number, *, promoted):
    """A model version of its own data."""
    source = publish(store, "r/来源", frame(f"model-{number}"))
    made = Made(values={"number": number, "id": f"{number:032x}", "promoted": promoted})
    version = store.write_version("r/model_version", made, inputs={"training_set": source}, how={})
    store.publish(version)
    return version


@pytest.fixture
def store(tmp_path):
    """Five versions of a source, and five of a step made from them."""
    store = Store(tmp_path / "store")
    for n in range(5):
        source = publish(store, "r/来源", frame(*(f"{n}-{i}" for i in range(n + 1))))
        publish(store, "r/rows", frame(f"{n}"), 来源=source)
    return store


def versions(store, name):
    return list(store.history(name))[::-1]


def files(store):
    kinds = ("objects", "refs", "memo", "pins", "tmp")
    return {
        path.relative_to(store.root): path.read_bytes()
        for kind in kinds
        for path in (store.root / kind).rglob("*")
        if path.is_file()
    }


def damage(store, key):
    path = store.root / "objects" / key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def table_key(version):
    return version.tables["rows"]["parts"][0][0][0][0]


def test_the_last_versions_and_what_they_were_made_from_stay(store):
    made = versions(store, "r/rows")
    collect_garbage(store, keep=2)
    assert [v.key for v in store.history("r/rows")] == [made[4].key, made[3].key]
    assert [v.input("来源").table("rows").height for v in store.history("r/rows")] == [5, 4]
    assert store.find_version(made[2].key) is None
    assert verify_store(store) == []


def test_what_a_kept_step_was_made_from_stays_though_its_own_ref_goes(store):
    for n in range(3):  # the source moves on, the step does not
        publish(store, "r/来源", frame(f"new-{n}"))
    collect_garbage(store, keep=1)
    (rows,) = store.history("r/rows")
    assert rows.input("来源").table("rows").height == 5
    assert len(store.refs("r/来源")) == 1


def test_a_pinned_version_stays_with_all_it_was_made_from_until_it_is_unpinned(store):
    first = versions(store, "r/rows")[0]
    store.pin("发布-1", first)
    spared = collect_garbage(store, keep=1).spared
    assert spared == ("r/rows@1 stays: pin 发布-1",)
    assert store.pins()["发布-1"].input("来源").table("rows").height == 1
    assert [v.key for v in store.history("r/rows")][1:] == [first.key] and not verify_store(store)
    store.unpin("发布-1")
    assert collect_garbage(store, keep=1).objects == 4  # manifest and table of both
    assert store.find_version(first.key) is None


def test_the_champion_outlives_all_that_were_rejected_since(store):
    for number in range(1, 9):
        release(store, number, promoted=number <= 2)
    found = collect_garbage(store, keep=2)
    assert found.spared == ("r/model_version@2 stays: v2 is the champion",)
    champion = champion_now(Store(store.root), "r")
    assert champion is not None and champion.values["number"] == 2 and champion.published_at
    assert champion.input("training_set").table("rows")["id"].to_list() == ["model-2"]
    assert [v.values["number"] for v in store.history("r/model_version")] == [8, 7, 2]
    assert next_number(store, "r", "another") == 9
    assert verify_store(store) == []
    before = files(store)
    assert collect_garbage(store, keep=2).refs == 0 and files(store) == before


def test_a_champion_goes_when_another_takes_its_place(store):
    for number in range(1, 7):
        release(store, number, promoted=number in (1, 5))
        collect_garbage(store, keep=1)
    assert [v.values["number"] for v in store.history("r/model_version")] == [6, 5]
    assert collect_garbage(store, keep=2).spared == ()
    assert verify_store(store) == []


def test_a_champion_by_rollback_stays_and_the_one_it_replaced_goes(store):
    first = release(store, 1, promoted=True)
    release(store, 2, promoted=True)
    store.rollback("r/model_version", first)
    for number in (3, 4):
        release(store, number, promoted=False)
    assert collect_garbage(store, keep=1).spared[0].startswith("r/model_version@3 stays: v1 is")
    assert [v.values["number"] for v in store.history("r/model_version")] == [4, 1]
    assert verify_store(store) == []


def test_a_version_that_was_rejected_later_is_no_champion(store):
    release(store, 1, promoted=True)
    release(store, 1, promoted=False)
    release(store, 2, promoted=False)
    assert collect_garbage(store, keep=1).spared == ()
    assert len(store.refs("r/model_version")) == 1


def test_a_ref_that_is_lost_beside_those_that_were_collected_is_named(store):
    for number in range(1, 9):
        release(store, number, promoted=number == 1)
    collect_garbage(store, keep=3)
    (store.root / "refs/r/model_version/00000007.json").unlink()
    assert [d.key for d in verify_store(store)] == ["refs/r/model_version/00000007.json"]
    (store.root / "refs/r/model_version/00000006.json").unlink()
    remove_damaged(store, verify_store(store))
    assert verify_store(store) == [] and champion_now(store, "r")


def test_no_champion_is_guessed_where_a_newer_verdict_is_damaged(store):
    first = release(store, 1, promoted=True)
    damage(store, release(store, 2, promoted=True).key)
    release(store, 3, promoted=False)
    before = files(store)
    with pytest.raises(Corrupt, match="nothing was removed: which version of 'r'"):
        collect_garbage(Store(store.root), keep=1)
    assert files(store) == before
    remove_damaged(store, verify_store(store))
    assert collect_garbage(Store(store.root), keep=1).refs > 0
    champion = champion_now(store, "r")
    assert champion is not None and champion.key == first.key


def test_a_memo_that_a_kept_version_names_stays_with_its_objects(store):
    entry = store.remember_table("facts-1", "facts", frame("a", "b"))
    store.remember_table("facts-0", "facts", frame("old"))
    store.remember("stage-new", {"manifest": versions(store, "r/rows")[4].key})
    store.remember("stage-old", {"manifest": versions(store, "r/rows")[0].key})
    publish(store, "r/facts", frame("a"), memos=["facts-1"])
    found = collect_garbage(store, keep=1)
    assert found.memos == 2
    assert store.recall_table("facts-1") == json.loads(json.dumps(entry))
    assert store.recall("stage-new") and not store.recall("stage-old")
    assert not store.recall("facts-0")


def test_a_folder_goes_whole_with_the_last_version_that_has_it(store, tmp_path):
    for n in range(2):
        model = tmp_path / f"model{n}"
        (model / "sub").mkdir(parents=True)
        (model / "sub" / "weights").write_text(str(n))
        (model / "config").write_text("{}")
        publish(store, "r/model", frame("m"), folder=model)
    collect_garbage(store, keep=1)
    (left,) = store.history("r/model")
    assert (left.folder("model") / "sub" / "weights").read_text() == "1"
    assert len(store.blobs.list("objects/folders")) == 2


def test_a_second_collection_removes_nothing(store):
    assert collect_garbage(store, keep=2).refs == 6
    before = files(store)
    again = collect_garbage(store, keep=2)
    assert (again.refs, again.memos, again.objects, again.bytes) == (0, 0, 0, 0)
    assert files(store) == before


def test_a_dry_run_says_the_same_and_changes_nothing(store):
    before = files(store)
    said = collect_garbage(store, keep=1, dry_run=True)
    assert files(store) == before
    assert collect_garbage(store, keep=1) == said and said.bytes > 0


def test_at_least_the_present_version_is_kept(store):
    with pytest.raises(ValueError, match="keep is 0"):
        collect_garbage(store, keep=0)


def test_a_build_that_goes_on_keeps_what_it_has_in_hand(store):
    mine = Store(store.root)
    written = mine.write_version("r/new", Made({"rows": frame("x")}), inputs={}, how={})
    collect_garbage(store, keep=1)
    mine.publish(written)
    assert verify_store(store) == []


def test_a_build_that_recalled_an_old_version_may_publish_it(store):
    mine, old = Store(store.root), versions(store, "r/rows")[0]
    entry = store.remember_table("facts", "facts", frame("a"))
    store.leases.release()
    assert mine.find_version(old.key) and mine.recall_table("facts")
    assert collect_garbage(store, keep=1).memos == 1
    mine.publish(old)
    assert verify_store(store) == []
    assert mine.frame_path(entry["parts"][0][0][0][0]).is_file()


def test_a_build_that_failed_while_writing_does_not_stop_the_collector(store):
    with store.leases.adding("manifests/00/" + "0" * 64 + ".json"):
        pass
    assert collect_garbage(store, keep=1).refs == 8


def test_the_collector_refuses_to_guess_when_a_kept_version_is_damaged(store):
    damage(store, versions(store, "r/rows")[4].key)
    before = files(store)
    with pytest.raises(Corrupt, match="damaged"):
        collect_garbage(Store(store.root), keep=1)
    assert files(store) == before


def test_damage_names_every_version_it_hits(store):
    source, rows = versions(store, "r/来源")[1], versions(store, "r/rows")[3]
    store.pin("best", versions(store, "r/rows")[1])
    damage(store, table_key(source))
    (store.root / "objects" / table_key(rows)).unlink()
    (store.root / "refs/r/rows/00000005.json").write_text("{")
    found = {d.key: d for d in verify_store(store)}
    assert found[table_key(source)].versions == ("pin best", "r/rows@2", "r/来源@2")
    assert found[table_key(rows)].versions == ("r/rows@4",)
    assert "missing" in found[table_key(rows)].problem
    assert found["refs/r/rows/00000005.json"].versions == ("r/rows@5",)
    assert len(found) == 3


@pytest.mark.parametrize("what", ["table", "manifest", "ref", "input"])
def test_what_was_removed_as_damaged_is_made_again(store, what):
    head = versions(store, "r/rows")[4]
    if what == "ref":
        (store.root / "refs/r/rows/00000005.json").write_text("")
    elif what == "input":
        damage(store, table_key(head.input("来源")))
    else:
        damage(store, head.key if what == "manifest" else table_key(head))
    remove_damaged(store, verify_store(store))
    source = publish(store, "r/来源", frame(*(f"4-{i}" for i in range(5))))
    again = publish(store, "r/rows", frame("4"), 来源=source)
    assert again.data_version == head.data_version
    assert verify_store(store) == []
