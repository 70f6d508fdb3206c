"""Personal data never enters a store, whichever way a source delivers it."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.recipe import RecipeError
from assets.stage import Job, run_stage
from curation.personal import find_personal
from curation.personal_key import FILE, VARIABLE
from curation.pseudonyms import keyed_digest
from curation.store import Store
from tests.assets._project import LAST, RECIPE, SEEDS, Project, command, require_same, talk

ZH, EN, MAIL = "13812345678", "(415) 555-2671", "zhang.san@qq.com"
WANTED = (ZH, EN, MAIL, "１３８１２３４５６７８")
MODES = ("drop", "redact", "pseudonymise")


def ask(what: str) -> dict[str, str]:
    return {"prompt": f"请打开{what}", "answer": f'{{"actions":[{{"do":"打开","what":"{what}"}}]}}'}


FIRST = [*SEEDS, ask(ZH), ask("１３８１２３４５６７８"), {**command("香氛"), "note": f"call {EN}"}]
BROKEN = [f'{{"prompt": "写给{MAIL}', json.dumps({"prompt": f"打{ZH}", "answer": ""})]
SECOND = [ask(f"{MAIL}"), command("后备箱"), ask(ZH), f'["{EN}"]']


def sources(mode: str) -> dict[str, Any]:
    return {**RECIPE["sources"], "seeds": {**RECIPE["sources"]["seeds"], "personal": mode}}


def make(folder: Path, base: Path, mode: str) -> Project:
    project = Project(folder, base, sources=sources(mode))
    project.write("seeds/1.jsonl", [*FIRST, *BROKEN])
    project.write("general/1.jsonl", talk(20))
    return project


def stored(store: Store) -> str:
    """All that the files of a store hold: as bytes, and read back where bytes are compressed."""
    said = []
    for path in sorted(p for p in store.root.rglob("*") if p.is_file()):
        said.append(path.read_bytes().decode("utf-8", "replace"))
        if path.suffix == ".parquet":
            said += map(str, pl.read_parquet(path).iter_rows())
    return "\n".join(said)


@pytest.fixture
def key(monkeypatch) -> bytes:
    monkeypatch.setenv(VARIABLE, "a key that only this test knows")
    return os.environ[VARIABLE].encode()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_taken_out_stands_nowhere_in_the_store(tmp_path, tiny_base, mode):
    project = make(tmp_path, tiny_base, mode)
    project.build()
    project.write("seeds/1.jsonl", SECOND, append=True)
    project.build()
    everything = stored(project.store)
    assert not [wanted for wanted in WANTED if wanted in everything]
    assert "打开空调" in everything and project.head(LAST).table("rows").height
    assert not any(map(find_personal, project.head("rows").table("rows")["meta"]))


def test_the_search_does_find_what_is_kept(tmp_path, tiny_base):
    project = make(tmp_path, tiny_base, "keep")
    project.build(last="rows")
    everything = stored(project.store)
    assert all(wanted in everything for wanted in WANTED)
    assert "personal" not in project.head("sources/seeds").tables
    assert not (project.store.root / FILE).exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_store_that_grew_says_what_a_fresh_one_says(tmp_path, tiny_base, mode, key):
    project = make(tmp_path, tiny_base, mode)
    project.build()
    first = project.head("sources/seeds")
    project.write("seeds/2.jsonl", SECOND)
    project.build()
    project.write("seeds/2.jsonl", [ask("13912345678"), command("后备箱")])
    project.build()
    fresh = Store(tmp_path / "fresh")
    project.build(store=fresh)
    require_same(project, fresh)
    last = project.head("sources/seeds")
    assert last.values["personal"]["phone"] == first.values["personal"]["phone"] + 2
    assert last.table("personal").height == sum(last.values["personal"].values())


def test_a_delivery_reads_new_records_only(tmp_path, tiny_base, key):
    project = make(tmp_path, tiny_base, "pseudonymise")
    project.build()
    project.write("seeds/2.jsonl", [ask("13912345678"), ask(MAIL)])
    said: list[str] = []
    (stage,) = (stage for stage in project.stages if stage.name == "sources/seeds")
    run_stage(Job(project.recipe, project.store, said.append), stage)
    assert said == ["seeds: 2 records = 2 new + 0 duplicate + 0 quarantined"]
    project.build()
    assert project.build().recalled["sources/seeds"]


def test_who_has_the_key_can_say_where_a_known_number_occurred(tmp_path, tiny_base, key):
    project = make(tmp_path, tiny_base, "redact")
    project.build(last="sources/seeds")
    (span,) = find_personal("+86 138-1234-5678")
    found = project.head("sources/seeds").table("personal")
    found = found.filter(pl.col("digest") == keyed_digest(key, span))
    assert set(found["position"]) == {"1.jsonl:8", "1.jsonl:9"} and len(found) == 4
    rows = project.head("sources/seeds").lookup("rows", found["id"]).to_dicts()
    assert [row["messages"][0]["content"] for row in rows] == ["请打开[电话号码]"]


def test_another_key_reads_every_record_anew(tmp_path, tiny_base, key, monkeypatch):
    project = make(tmp_path, tiny_base, "pseudonymise")
    project.build(last="rows")
    old = project.head("sources/seeds")
    monkeypatch.setenv(VARIABLE, "another key of this test")
    project.write("seeds/2.jsonl", SECOND)
    assert not project.build(last="rows").recalled["sources/seeds"]
    new = project.head("sources/seeds")
    assert new.values["personal_key"] != old.values["personal_key"]
    assert not {*new.table("personal")["digest"]} & {*old.table("personal")["digest"]}
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(ValueError, match="WINNOW_PERSONAL_KEY holds a key of less than 16"):
        project.build(last="rows")


def test_the_key_of_a_store_is_its_owners_and_in_no_object(tmp_path, tiny_base):
    project = make(tmp_path, tiny_base, "redact")
    project.build(last="rows")
    at = project.store.root / FILE
    secret = at.read_text().strip()
    assert len(secret) == 64 and at.stat().st_mode & 0o777 == 0o600
    at.unlink()
    assert secret not in stored(project.store)
    at.write_text("cut")
    project.write("seeds/1.jsonl", SECOND, append=True)
    with pytest.raises(ValueError, match=r"personal\.key' holds a key of less than 16 characters"):
        project.build(last="rows")


def test_a_way_that_there_is_not_is_a_mistake_of_the_recipe(tmp_path, tiny_base):
    with pytest.raises(RecipeError, match=r"sources.seeds.personal: 'mask' is not known"):
        make(tmp_path, tiny_base, "mask")
