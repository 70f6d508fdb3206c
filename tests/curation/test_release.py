"""Which version is in use: the gate's word, people's word, going back, what stands in the way."""

import json
import threading

import numpy as np
import pytest
from safetensors.numpy import save_file

from curation.blobs import Corrupt
from curation.disk import sha256_file
from curation.promotions import add_promotion, in_use, read_promotions
from curation.registry import (
    champion_at,
    champion_before,
    champion_now,
    promote_judged,
    say_verdict,
)
from curation.release import _wrong_adapter, list_models, promote, require_loadable, roll_back
from curation.store import Conflict, Made, Store, Version
from curation.upkeep import remove_damaged, verify_store
from tests.curation.test_bucket import PLACE

HOW = {"code": "c", "section": None}
RECIPE = "座舱"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def release(store: Store, number: int, decision: str = "promote", *, spoil=None) -> Version:
    """Register one version as the last stage does; `spoil` may change its folder beforehand."""
    base = store.root.parent / "base"
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text("{}")
    made = Made(folders={"model": base}, values={"model": "demo"})
    based = store.write_version(f"{RECIPE}/base_model", made, inputs={}, how=HOW)
    store.publish(based)
    folder = store.root.parent / f"v{number}"
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    save_file({"a": np.full(3, number, "f")}, folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    if spoil:
        spoil(folder)
    sums = [f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files if p.exists()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    id = f"{number:032x}"
    values = {
        "number": number, "id": id, "promoted": decision == "promote",
        "verdict": {"decision": decision, "rules": [], "reasons": ["甲" * (decision != "promote")]},
        "metrics": {"candidate": {"exact_match": number / 10}},
    }  # fmt: skip
    if values["promoted"]:
        promote_judged(store, RECIPE, number=number, id=id)
    made = Made(folders={"version": folder}, values=values)
    version = store.write_version(
        f"{RECIPE}/model_version", made, inputs={"base_model": based}, how=HOW
    )
    store.publish(version)
    return version


def used(store: Store) -> int:
    entry = champion_now(store, RECIPE)
    return entry.values["number"] if entry else 0


def test_the_gate_brings_into_use_what_it_promotes_and_nothing_else(store):
    assert used(store) == 0
    seen = []
    for number, decision in enumerate(("promote", "reject", "needs_people", "promote"), 1):
        release(store, number, decision)
        seen.append(used(store))
    assert seen == [1, 1, 1, 4]
    assert [(e.action, e.number, e.by) for e in read_promotions(store, RECIPE)] == [
        ("promote", 1, "gate"), ("promote", 4, "gate")
    ]  # fmt: skip


def test_people_promote_what_needed_them_and_go_back(store):
    for number, decision in enumerate(("promote", "needs_people", "promote"), 1):
        release(store, number, decision)
    said = promote(store, RECIPE, "v2", by="reviewer-1", reason="看过了")
    assert said is not None and (said.number, said.by, said.reason) == (2, "reviewer-1", "看过了")
    assert used(store) == 2 and promote(store, RECIPE, "v2") is None
    assert [roll_back(store, RECIPE).number for _ in range(2)] == [3, 1]  # not to and fro
    assert used(store) == 1
    with pytest.raises(LookupError, match="v1 is the first"):
        roll_back(store, RECIPE)
    assert [e.action for e in read_promotions(store, RECIPE)] == [
        "promote", "promote", "promote", "rollback", "rollback"
    ]  # fmt: skip


def test_a_version_that_people_went_back_from_stays_away_when_it_is_built_again(store):
    release(store, 1)
    second = release(store, 2)
    roll_back(store, RECIPE)
    release(store, 2)  # a rebuild that computes it anew
    store.publish(second)  # and one that recalls it
    assert used(store) == 1
    third = champion_before(store, RECIPE, f"{3:032x}")
    assert third is not None and third.values["number"] == 1  # which v3 has to beat


def test_what_the_gate_takes_back_is_not_in_use_and_what_people_chose_is(store):
    release(store, 1)
    release(store, 2)
    release(store, 2, "reject")  # judged anew by stricter rules
    assert used(store) == 1
    with pytest.raises(LookupError, match="v1 is the first"):
        roll_back(store, RECIPE)
    promote(store, RECIPE, "v2")
    assert used(store) == 2


def test_each_time_has_its_champion(store):
    release(store, 1)
    release(store, 2)
    roll_back(store, RECIPE)
    turns = read_promotions(store, RECIPE)
    found = [champion_at(store, RECIPE, entry.at) for entry in turns]
    assert [entry.values["number"] for entry in found if entry] == [1, 2, 1]
    assert found[2] is not None and found[2].published_at == turns[2].at
    assert champion_at(store, RECIPE, turns[0].at - 1) is None


def test_a_turn_of_a_version_that_was_never_registered_counts_for_nothing(store):
    release(store, 1)
    promote_judged(store, RECIPE, number=2, id=f"{2:032x}")  # and killed before it was published
    assert used(store) == 1


def test_a_store_from_before_the_log_can_go_back_too(store):
    old = release(store, 1)
    for key in store.blobs.list("promotions"):
        store.blobs.remove(key)
    assert used(store) == 1
    release(store, 2)
    assert used(store) == 2
    assert champion_at(store, RECIPE, old.published_at or 0.0) is None
    assert roll_back(store, RECIPE).number == 1


def test_of_two_that_promote_at_once_one_is_told(store):
    release(store, 1)
    release(store, 2, "needs_people")
    log = read_promotions(store, RECIPE)
    outcomes: list[str] = []

    def add(name: str) -> None:
        try:
            add_promotion(store, RECIPE, log, action="promote", number=2, id="2", by=name)
            outcomes.append("in use")
        except Conflict:
            outcomes.append("told")

    threads = [threading.Thread(target=add, args=(name,)) for name in "甲乙丙"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in use", "told", "told"]
    assert len(read_promotions(store, RECIPE)) == 2


def test_a_damaged_turn_is_said_and_not_guessed_and_can_be_taken_out(store):
    for number in (1, 2):
        release(store, number)
    first, _ = sorted((store.root / "promotions" / RECIPE).glob("*.json"))
    first.write_text(first.read_text().replace('"number":1', '"number":7'))
    with pytest.raises(Corrupt, match="log of promotions of '座舱'"):
        champion_now(store, RECIPE)
    damage = verify_store(store)
    assert [found.versions for found in damage] == [("promotion 1 of 座舱",)]
    remove_damaged(store, damage)
    assert verify_store(store) == [] and used(store) == 2
    release(store, 3)  # under a number that is free
    assert used(store) == 3


def drop(name: str):
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


CONFIG, WEIGHTS = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (write("extra.txt", "x"), "'extra.txt' is not in SHA256SUMS"),
        (drop(WEIGHTS), "no adapter_model.safetensors"),
        (write(WEIGHTS, "not weights"), "the adapter cannot be read"),
        (drop(CONFIG), "no adapter_config.json"),
        (write(CONFIG, "{"), "the adapter cannot be read"),
        (write(CONFIG, "{}"), "names no peft_type"),
        (lambda f: save_file({}, f / WEIGHTS), "holds no weights"),
    ],
)
def test_what_cannot_be_loaded_is_not_brought_into_use(store, spoil, said):
    release(store, 1)
    version = release(store, 2, "needs_people", spoil=spoil)
    with pytest.raises(ValueError, match="^v2 cannot be brought into use: ") as error:
        promote(store, RECIPE, "v2")
    assert said in str(error.value) and used(store) == 1
    with pytest.raises(ValueError, match="v2"):
        require_loadable(version)


def test_checksums_that_do_not_match_stand_in_the_way(store):
    release(store, 1)
    folder = store.root.parent / "v2"
    version = release(store, 2, "needs_people")
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(sums.read_text()[:8], "00000000"))
    made = Made(folders={"version": folder}, values=version.values)
    store.publish(store.write_version(
        version.name, made, inputs={"base_model": version.input("base_model")}, how=HOW
    ))  # fmt: skip
    with pytest.raises(ValueError, match="is not what SHA256SUMS says"):
        promote(store, RECIPE, "v2")


@pytest.mark.parametrize("part", ["version", "model"])
def test_bytes_that_changed_in_the_store_stand_in_the_way(store, part):
    release(store, 1)
    version = release(store, 2, "needs_people")
    holder = version if part == "version" else version.input("base_model")
    file = next(p for p in sorted(holder.folder(part).rglob("*")) if p.is_file())
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(Corrupt, match="was changed"):
        promote(store, RECIPE, "v2")


def test_the_list_says_what_became_of_each(store):
    for number, decision in enumerate(("promote", "reject", "needs_people"), 1):
        release(store, number, decision)
    promote(store, RECIPE, "v3", by="乙", reason="急")
    found = list_models(store, RECIPE)
    assert [(m["number"], m["champion"], m["verdict"]) for m in found] == [
        (1, False, "promoted"), (2, False, "rejected"), (3, True, "needs people")
    ]  # fmt: skip
    assert (found[2]["last"]["by"], found[2]["last"]["reason"]) == ("乙", "急")
    assert found[1]["last"] is None and found[1]["metrics"] == {"exact_match": 0.2}


def test_a_version_judged_before_there_were_three_verdicts_has_one_of_two():
    said = [say_verdict({"promoted": p, "verdict": {"rules": []}}) for p in (True, False)]
    assert said == ["promoted", "rejected"]


def test_going_back_takes_the_turns_after_it_away(store):
    for number, action in ((1, "promote"), (2, "promote"), (3, "promote"), (2, "rollback"),
                           (4, "promote")):  # fmt: skip
        log = read_promotions(store, RECIPE)
        add_promotion(store, RECIPE, log, action=action, number=number, id=str(number))  # type: ignore[arg-type]
    assert [entry.number for entry in in_use(read_promotions(store, RECIPE))] == [1, 2, 4]


def test_in_a_bucket_all_machines_read_one_log_and_one_of_two_writers_is_told(s3, tmp_path):
    here, there = (Store(PLACE, local=tmp_path / name) for name in ("here", "there"))
    promote_judged(here, RECIPE, number=1, id="1")
    log = read_promotions(there, RECIPE)
    assert [(entry.number, entry.by) for entry in log] == [(1, "gate")]
    add_promotion(there, RECIPE, log, action="promote", number=2, id="2", by="甲")
    with pytest.raises(Conflict):
        add_promotion(here, RECIPE, log, action="promote", number=3, id="3", by="乙")
    assert [entry.number for entry in read_promotions(here, RECIPE)] == [1, 2]
    assert read_promotions(here, RECIPE + "2") == []


def test_a_whole_model_in_place_of_an_adapter_is_looked_at_as_one(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "qwen3"}')
    save_file({"a": np.ones(3, "f")}, tmp_path / "model.safetensors")
    assert _wrong_adapter(tmp_path) == ""
    config.write_text("{}")
    assert _wrong_adapter(tmp_path) == "the adapter's config names no model_type"
    config.write_text('{"model_type": "qwen3"}')
    (tmp_path / "model-00002-of-00002.safetensors").write_text("断")
    assert _wrong_adapter(tmp_path).startswith("the adapter cannot be read: ")
