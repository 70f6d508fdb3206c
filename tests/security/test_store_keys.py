"""A tampered ref or manifest names nothing outside the store, and nothing that is not a key."""

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from curation.rows import dialogue, make_row, rows_frame
from curation.seals import seal
from curation.store import Corrupt, Made, Store

ROWS = rows_frame([make_row(dialogue("打开空调", "好"))])
CLIMBING = ["../up", "a/../../up", "/no/such/up", "..", "", ".", "a\0b", "a//b"]


def made_store(folder: Path) -> tuple[Store, Path]:
    """A store with one version, and the ref that names it."""
    store = Store(folder / "s")
    made = Made({"rows": ROWS}, folders={"model": outside_folder(folder)})
    store.publish(store.write_version("r/rows", made, inputs={}, how={}))
    (ref,) = (folder / "s" / "refs" / "r" / "rows").glob("*.json")
    return store, ref


def outside_folder(folder: Path) -> Path:
    path = folder / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def outside_object(folder: Path, suffix: str, content: bytes) -> str:
    """A key that leads out of the store, to a file whose name is the true digest of its bytes."""
    digest = hashlib.sha256(content).hexdigest()
    (folder / f"{digest}{suffix}").write_bytes(content)
    return f"../../{digest}{suffix}"


def tampered(store: Store, ref: Path, change) -> Store:
    """The store as another process finds it after the head's manifest was changed and re-signed."""
    key = json.loads(ref.read_text())["manifest"]
    manifest = json.loads((store.root / "objects" / key).read_text())
    change(manifest)
    content = json.dumps(manifest).encode()
    digest = hashlib.sha256(content).hexdigest()
    path = store.root / "objects" / "manifests" / digest[:2] / f"{digest}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    name_manifest(store, ref, f"manifests/{digest[:2]}/{digest}.json")
    return Store(store.root)


def name_manifest(store: Store, ref: Path, key) -> None:
    """Let the ref name another manifest, as one who knows the form of a seal can."""
    ref.write_bytes(seal(ref.relative_to(store.root).as_posix(), {"manifest": key}))


@pytest.mark.parametrize("name", CLIMBING)
def test_a_step_is_not_named_by_a_path(tmp_path, name):
    store = Store(tmp_path / "s")
    with pytest.raises(ValueError, match="name"):
        store.head(name)
    with pytest.raises(ValueError, match="name"):
        store.publish(store.write_version(name, Made({"rows": ROWS}), inputs={}, how={}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]


@pytest.mark.parametrize("key", ["../up", "/no/such/up", "a/../../../up", "a\0b"])
def test_a_memo_and_a_work_folder_are_not_named_by_a_path(tmp_path, key):
    store = Store(tmp_path / "s")
    for use in (store.recall, store.workdir, lambda k: store.remember(k, {})):
        with pytest.raises(ValueError):
            use(key)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]


def test_a_ref_that_leads_out_is_damage_and_not_read(tmp_path):
    store, ref = made_store(tmp_path)
    content = json.dumps({"name": "r/rows", "tables": {}, "values": {}}).encode()
    for key in (outside_object(tmp_path, ".json", content), str(tmp_path / "x.json"), "a\0b", 7):
        name_manifest(store, ref, key)
        with pytest.raises(Corrupt):
            Store(store.root).head("r/rows")


def test_a_table_key_that_leads_out_is_damage_and_not_read(tmp_path):
    store, ref = made_store(tmp_path)
    pl.DataFrame({"id": ["outside"]}).write_parquet(tmp_path / "t")
    key = outside_object(tmp_path, ".parquet", (tmp_path / "t").read_bytes())

    def point_out(manifest):
        text = json.dumps(manifest["tables"]["rows"])
        inside = [w for w in text.split('"') if w.endswith(".parquet")]
        for word in inside:
            text = text.replace(word, key)
        manifest["tables"]["rows"] = json.loads(text)

    version = tampered(store, ref, point_out).head("r/rows")
    assert version is not None
    with pytest.raises(Corrupt):
        version.table("rows")


def test_a_folder_key_that_leads_out_is_damage_and_not_read(tmp_path):
    from curation.names import sha256_path

    store, ref = made_store(tmp_path)
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "key").write_text("secret")
    named = outside.rename(tmp_path / sha256_path(outside))
    for key in (f"../../{named.name}", str(named)):
        version = tampered(store, ref, lambda m: m["folders"].update(model=key)).head("r/rows")  # noqa: B023
        assert version is not None
        with pytest.raises(Corrupt):
            version.folder("model")


def test_an_input_key_that_leads_out_is_damage_and_not_read(tmp_path):
    store, ref = made_store(tmp_path)
    key = outside_object(tmp_path, ".json", b'{"name": "outside", "tables": {}, "values": {}}')
    version = tampered(store, ref, lambda m: m["inputs"].update(rows=key)).head("r/rows")
    assert version is not None
    with pytest.raises(Corrupt):
        version.input("rows")


def test_a_link_in_place_of_an_object_is_damage_and_not_read(tmp_path):
    store, _ = made_store(tmp_path)
    for path in [p for p in (store.root / "objects").rglob("*") if p.is_file()]:
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    with pytest.raises(Corrupt):
        found = Store(store.root).head("r/rows")
        assert found is not None
        found.table("rows")


def test_a_folder_with_a_link_is_not_taken_in(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = outside_folder(tmp_path)
    (folder / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="weights"):
        Store(tmp_path / "s").put_folder(folder)
