"""Every change to what a store wrote is noticed, named and, where it can be, made good again."""

import json
import random
import shutil
from pathlib import Path

import polars as pl
import pytest

from curation.bad_cases import read_inbox
from curation.id_index import IDS
from curation.store import Corrupt, Store
from curation.table_parts import parts_of
from curation.tables import read_table
from curation.upkeep import collect_garbage, remove_damaged, verify_store
from tests.faults._graph import SCENARIOS, build, cut_small, find_problems, observe, open_store
from tests.faults._shim import UnsyncedDisk


@pytest.fixture(scope="module", autouse=True)
def small():
    """Tables here have several slices and indexes."""
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch.setattr)
        yield


@pytest.fixture(scope="module")
def grown(tmp_path_factory, small):
    """A world of three versions and two pins, for tests to copy."""
    folder = tmp_path_factory.mktemp("grown")
    SCENARIOS["collect"].prepare(folder)
    collect_garbage(open_store(folder, UnsyncedDisk()), keep=3)
    return folder


@pytest.fixture
def world(grown, tmp_path):
    return Path(shutil.copytree(grown, tmp_path / "world"))


def objects(world):
    """Every file of an object that a published version leads to, and its key."""
    store = open_store(world, UnsyncedDisk())
    versions = [v for name in store.names() for v in store.history(name)]
    keys = sorted({key for version in versions for key in version.objects})
    root = world / "store" / "objects"
    return {
        path: key
        for key in keys
        for path in (
            [p for p in (root / key).rglob("*") if p.is_file()]
            if key.startswith("folders/")
            else [root / key]
        )
    }


def test_the_world_has_what_large_tables_have(grown):
    """Tables of several slices, indexes of their ids and of their texts."""
    store = open_store(grown, UnsyncedDisk())
    head = store.head("storm/rows")
    assert head is not None
    (rows, _), *_ = parts_of(head.tables["rows"])
    kinds = {key.partition("/")[0] for key in objects(grown).values()}
    assert len(rows) > 1 and {IDS, "texts-index"} <= kinds


def read(world, key):
    store = open_store(world, UnsyncedDisk())
    return store.folder(key) if key.startswith("folders/") else store.frame_path(key)


def changed(data):
    """The bytes cut at several lengths, and with single bits flipped all over."""
    rng = random.Random(len(data))
    cuts = {0, 1, len(data) // 2, len(data) - 1} - {len(data)}
    spots = {0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(8))}
    for cut in sorted(cuts):
        yield f"cut to {cut}", data[:cut]
    for spot in sorted(spots):
        flipped = bytearray(data)
        flipped[spot] ^= 1 << rng.randrange(8)
        yield f"bit flipped in byte {spot}", bytes(flipped)
    yield "lengthened", data + b"\n"


def test_every_cut_and_flipped_object_is_noticed(world):
    tried = 0
    for path, key in objects(world).items():
        whole = path.read_bytes()
        for how, damaged in changed(whole):
            path.write_bytes(damaged)
            with pytest.raises(Corrupt) as error:
                read(world, key)
            assert key in str(error.value), how
            tried += 1
        path.write_bytes(whole)
    assert tried > 500 and find_problems(world) == []


def test_a_damaged_object_is_named_with_every_version_it_is_part_of(world):
    """Its own versions, those made from them however far on, and pins; and no others."""
    store = open_store(world, UnsyncedDisk())
    made_of = {f"pin {label}": all_objects(version) for label, version in store.pins().items()}
    for ref in store.refs():
        label = f"{ref[5:-14]}@{int(ref[-13:-5])}"
        made_of[label] = all_objects(store.version(store.ref_target(ref)))
    sizes = set()
    for path, key in objects(world).items():
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        found = {damage.key: damage for damage in verify_store(open_store(world, UnsyncedDisk()))}
        hit = sorted(label for label, keys in made_of.items() if key in keys)
        assert list(found) == [key] and sorted(found[key].versions) == hit
        sizes.add(len(hit))
        path.write_bytes(data)
    assert min(sizes) == 1 and len(sizes) > 3 and max(sizes) < len(made_of)


def all_objects(version):
    """Keys of what a version is made of and of what it was made from."""
    found = set(version.objects)
    for name in version.manifest["inputs"]:
        found |= all_objects(version.input(name))
    return found


def test_an_edited_manifest_is_noticed_although_it_is_valid_json(world):
    path, key = next((p, k) for p, k in objects(world).items() if k.startswith("manifests/"))
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"values": {"fates": {"kept": 1}}}))
    with pytest.raises(Corrupt, match="no longer match"):
        read(world, key)
    assert [damage.key for damage in verify_store(open_store(world, UnsyncedDisk()))] == [key]


def test_an_object_under_the_name_of_another_is_noticed(world):
    paths = [p for p, k in objects(world).items() if k.startswith("kept/")]
    shutil.copyfile(paths[0], paths[1])
    assert len(verify_store(open_store(world, UnsyncedDisk()))) == 1


def test_a_file_more_or_less_in_a_model_folder_is_noticed(world):
    path, key = next((p, k) for p, k in objects(world).items() if k.startswith("folders/"))
    (path.parent / "more.txt").write_text("1")
    with pytest.raises(Corrupt, match="changed"):
        read(world, key)


@pytest.mark.parametrize(
    "pattern", ["refs/storm/kept/00000003.json", "pins/base.json", "refs/storm/rows/00000001.json"]
)
def test_every_change_to_a_ref_or_pin_is_noticed(world, pattern):
    path = world / "store" / pattern
    whole = path.read_bytes()
    for how, damaged in changed(whole):
        path.write_bytes(damaged)
        found = [damage.key for damage in verify_store(open_store(world, UnsyncedDisk()))]
        assert found == [pattern] or how == "lengthened", how
    other = json.loads((world / "store/refs/storm/kept/00000002.json").read_text())
    path.write_text(json.dumps(json.loads(whole) | {"manifest": other["manifest"]}))
    assert verify_store(open_store(world, UnsyncedDisk()))[0].key == pattern


@pytest.mark.parametrize("how", ["copied to the next place", "emptied", "removed", "edited"])
def test_a_ref_is_mended_and_the_next_run_makes_the_head_again(world, how):
    before, refs = observe(world), world / "store/refs/storm/kept"
    newest = refs / "00000003.json"
    if how == "copied to the next place":
        shutil.copyfile(newest, refs / "00000004.json")
    elif how == "removed":
        (refs / "00000002.json").unlink()
    else:
        newest.write_text("" if how == "emptied" else '{"manifest":"manifests/x","at":1}')
    store = open_store(world, UnsyncedDisk())
    damage = verify_store(store)
    assert len(damage) == 1 and "storm/kept@" in damage[0].line()
    remove_damaged(store, damage)
    assert verify_store(store) == []
    build(world, UnsyncedDisk())
    assert observe(world) == before


def test_a_damaged_pin_can_be_taken_off(world):
    (world / "store/pins/base.json").write_text("{}")
    store = open_store(world, UnsyncedDisk())
    remove_damaged(store, verify_store(store))
    with pytest.raises(Corrupt, match="pins/base.json"):
        store.pins()
    store.unpin("base")
    assert list(store.pins()) == ["old"]


@pytest.mark.parametrize("kind", ["manifests", "kept", "texts", "facts", "rows", "folders"])
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_what_can_be_made_again_is_made_again(world, kind, how):
    """All objects of the newest versions of a kind go; the same head comes of a re-run."""
    before, store = observe(world), open_store(world, UnsyncedDisk())
    heads = [next(store.history(name)) for name in store.names()]
    keys = {k for v in heads for k in v.objects if k.startswith(f"{kind}/")}
    hit = [path for path, key in objects(world).items() if key in keys]
    assert hit
    for path in hit:
        path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:-1])
    store = open_store(world, UnsyncedDisk())
    damage = verify_store(store)
    assert {found.key for found in damage} == keys
    remove_damaged(store, damage)
    build(world, UnsyncedDisk())
    after = observe(world)
    assert {k: v for k, v in after.items() if k.startswith("head")} == {
        k: v for k, v in before.items() if k.startswith("head")
    }


def test_damaged_memos_cost_time_and_nothing_else(world):
    """Cut, edited or exchanged memos, and damaged tables that only memos know, are made anew."""
    before = observe(world)
    memos = sorted((world / "store/memo").glob("*.json"))
    named = set(objects(world))
    for number, path in enumerate(memos):
        text = path.read_text()
        if number % 3 == 0:
            path.write_text(text[: len(text) // 2])
        elif number % 3 == 1:
            path.write_text('{"manifest":["nothing"]}')
        else:
            shutil.copyfile(memos[number - 2 if number > 2 else 0], path)
    for path in (world / "store/objects/facts").rglob("*.parquet"):
        if path not in named:
            path.write_bytes(b"rot")
    build(world, UnsyncedDisk())
    assert observe(world) == before and find_problems(world) == []


def test_a_memo_table_that_rotted_is_made_anew(tmp_path):
    frame = pl.DataFrame({"id": ["甲", "b"], "length": [1, 2]})
    entry = Store(tmp_path).remember_table("facts", "facts", frame)
    path = tmp_path / "objects" / entry["parts"][0][0][0][0]
    path.write_bytes(path.read_bytes()[:-1])
    store = Store(tmp_path)
    assert store.recall_table("facts") is None
    store.remember_table("facts", "facts", frame)
    assert store.recall_table("facts") and read_table(store, entry).equals(frame.sort("id"))


def test_a_damaged_manifest_of_a_version_not_kept_does_not_stop_the_collector(world):
    store = open_store(world, UnsyncedDisk())
    store.unpin("base")
    store.unpin("old")
    oldest = list(store.history("storm/kept"))[-1]
    (world / "store/objects" / oldest.key).write_bytes(b"rot")
    with pytest.raises(Corrupt, match="nothing was removed: storm/.*@1 is kept"):
        collect_garbage(open_store(world, UnsyncedDisk()), keep=3)
    assert collect_garbage(open_store(world, UnsyncedDisk()), keep=1).refs > 0
    assert verify_store(open_store(world, UnsyncedDisk())) == []


def test_a_damaged_delivery_is_named(world):
    path = next((world / "store/intake").glob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"yes 1", b"yes 7"))
    with pytest.raises(Corrupt, match="line 2 of intake/00000000.jsonl"):
        read_inbox(open_store(world, UnsyncedDisk()))


def test_a_damaged_format_is_one_line_for_the_user(world):
    (world / "store/format.json").write_text("")
    with pytest.raises(ValueError, match="format.json of the store"):
        Store(world / "store")
