"""Why a row is there or not: for every end a row can come to, before and after there is a model."""

import asyncio
import json

import polars as pl
import pytest

from curation.lineage import explain_model, explain_row, training_rows
from curation.lineage.finding import find_ids
from curation.lineage.rows import row_fates
from curation.lineage.views import model_view
from curation.llm_ledger import Call, Ledger
from curation.rows import dialogue, make_row, row_id, rows_frame
from curation.store import Made, Store
from tests.curation.lineage_world import Plan, answer, case, publish

SEEDS = [(f"打开{what}", answer("打开", what)) for what in ("空调", "天窗", "车灯", "雨刮")]
AIR = row_id(dialogue(*SEEDS[0]))
BAD = case("把雨刮关了", answer("关闭", "雨刮"), '{"actions":[]}')


def build(tmp_path, **said):
    store = Store(tmp_path)
    plan = Plan(**{"sources": {"seeds": SEEDS}, "recipe": {"mix": {"general": 0}}, **said})
    publish(store, plan)
    return store


def verdict(store, wanted, **options):
    (found,) = explain_row(store, "w", wanted, **options)
    return found["verdict"]


def test_a_trained_row_is_found_by_id_beginning_position_and_text(tmp_path):
    store = build(tmp_path)
    for wanted in (AIR, AIR[:10], "seeds.jsonl:1", "打开空调"):
        assert verdict(store, wanted) == "trained on"


def test_every_end_of_a_row_is_said(tmp_path):
    rows = [
        *SEEDS,
        ("打开空调！", SEEDS[0][1]),
        ("长" * 400, answer("打开", "长")),
        '{"a": 坏'.strip(),
    ]
    sources = {"seeds": rows, "test": [("打开音响", answer("打开", "音响"))]}
    store = build(tmp_path, sources=sources, labels={"test": {"split": "test"}})
    assert verdict(store, "长长长").startswith("dropped at kept_rows: n_chars <= 400, measured 4")
    ends = {said["text"][-2]: said["verdict"] for said in explain_row(store, "w", "打开空调")}
    assert sorted(v.split(" ")[0] for v in ends.values()) == ["merged", "trained"]
    assert verdict(store, "打开音响") == "not a candidate: it belongs to the test split"
    assert verdict(store, '"a": 坏') == "quarantined at seeds.jsonl:7: broken JSON"
    assert verdict(store, "seeds.jsonl:7") == "quarantined at seeds.jsonl:7: broken JSON"
    assert verdict(store, "背诵第3段课文") == "not_sampled at training_set: mix"


def test_the_fates_of_rows_are_those_that_each_step_gave_them(tmp_path):
    rows = [*SEEDS, ("打开空调！", SEEDS[0][1]), ("长" * 400, answer("打开", "长"))]
    view = model_view(build(tmp_path, sources={"seeds": rows}), "w", "latest")
    fates = {name: step.table("fates") for name, step in view.fate_steps.items()}
    ids = fates["duplicates"]["id"].to_list()
    for id, found in row_fates(view, ids).items():
        given = {name: said.filter(pl.col("id") == id) for name, said in fates.items()}
        assert list(found) == [name for name, said in given.items() if said.height]
        assert all(said["fate"] == given[name]["fate"][0] for name, said in found.items())


def test_a_refused_proposal_is_found_by_its_text(tmp_path):
    store = build(tmp_path, rejected=[("打开打开打开", "unfit_text", "c1")])
    assert verdict(store, "打开打开打开") == "refused: unfit_text"


def hold_back(store, *rows):
    """A newer `augmented_rows` in which these wait."""
    head = store.head("w/augmented_rows")
    made = Made({**{t: head.table(t) for t in head.tables}, "waiting": rows_frame(rows)})
    inputs = {step: head.input(step) for step in head.manifest["inputs"]}
    store.publish(store.write_version(head.name, made, inputs=inputs, how=head.manifest["how"]))


def test_a_row_that_waits_for_people_says_so_and_what_to_do(tmp_path):
    asked = ("请把后排音响打开", answer("打开", "后排音响"))
    store = build(tmp_path, made=[(*asked, AIR, "augment_badcase")])
    meta = {"error_type": "not_json"}
    rows = [make_row(dialogue(p, "{}"), origin="llm", source="llm", meta=meta)
            for p in ("now open the rear trunk", "open the rear trunk", "关上后备箱")]  # fmt: skip
    hold_back(store, *rows, make_row(dialogue(*asked), origin="llm", source="llm", meta=meta))
    waits = "waits at augmented_rows: the sample of its error type 'not_json' failed"
    for wanted in ("后备箱", rows[2]["id"], rows[2]["id"][:8]):
        said = verdict(store, wanted)
        assert said.startswith(waits) and f"accept {rows[2]['id'][:12]}`" in said
    found = [said["id"] for said in explain_row(store, "w", "rear trunk")]
    assert {*found} == {rows[0]["id"], rows[1]["id"]}
    first = explain_row(store, "w", "open the rear trunk")[0]
    assert first["id"] == rows[1]["id"] and first["asked_of"] == "the newest steps"
    assert verdict(store, asked[0]).startswith(f"trained on; since then it {waits}")
    assert verdict(store, asked[0], name="v1") == "trained on"


def test_before_there_is_a_model_the_newest_steps_answer(tmp_path):
    finished = build(tmp_path / "a")
    store = Store(tmp_path / "b")
    copied = {}  # as a run that stopped early leaves them
    sources = [name for name in finished.names() if name.startswith("w/sources/")]
    for name in (*sources, "w/rows", "w/augmented_rows", "w/bad_cases"):
        head = finished.head(name)
        assert head is not None
        made = Made({table: head.table(table) for table in head.tables}, values=head.values)
        inputs = {step: copied[step] for step in head.manifest["inputs"] if step in copied}
        version = store.write_version(name, made, inputs=inputs, how=head.manifest["how"])
        copied[name.removeprefix("w/")] = version
        store.publish(version)
    (found,) = explain_row(store, "w", "打开空调")
    assert found["verdict"] == "duplicates has not been built yet"
    assert found["asked_of"] == "the newest steps" and found["delivered"][0]["outcome"] == "new"


def test_an_empty_store_says_what_to_do(tmp_path):
    with pytest.raises(LookupError, match="nothing of recipe 'w' has been built yet"):
        explain_row(Store(tmp_path), "w", "打开空调")


def test_nothing_found_is_an_empty_answer(tmp_path):
    assert explain_row(build(tmp_path), "w", "没有这句话") == []


def test_the_beginning_of_several_ids_is_refused(tmp_path):
    ids = ["abcdef" + digit * 26 for digit in "12"] + ["0" * 32]
    store = Store(tmp_path)
    frame = pl.DataFrame({"id": ids})
    version = store.write_version("w/rows", Made(tables={"rows": frame}), inputs={}, how={})
    with pytest.raises(ValueError, match="'abcdef' is the beginning of 2 ids"):
        find_ids([version], "abcdef")
    assert find_ids([version], "abcdef1") == find_ids([version], ids[0]) == [ids[0]]
    assert find_ids([version], "ab" * 16) == find_ids([version], "背诵") == []


def test_an_older_version_answers_about_its_own_time(tmp_path):
    store = build(tmp_path)
    publish(store, Plan(sources={"seeds": SEEDS[1:]}, recipe={"mix": {"general": 0}}))
    assert verdict(store, AIR, name="v1") == "trained on"
    assert explain_row(store, "w", AIR, name="v2") == []


def test_a_written_row_leads_to_its_bad_case_and_to_the_archived_call(tmp_path):
    learn = next(
        c
        for n in range(50)
        if (c := case("请" * n + BAD["prompt"], BAD["gold"]))["half"] == "learn"
    )
    request = {"messages": [{"role": "user", "content": "请写二十条"}], "temperature": 0.9}
    body = {"model": "m-1", "choices": [{"message": {"content": "好的，如下"}}]}
    ledger = Ledger(tmp_path / "calls.sqlite")
    for text in ("not json", json.dumps(body, ensure_ascii=False)):
        call = Call("k1", json.dumps(request, ensure_ascii=False), text, 100, 20, 0.001)
        asyncio.run(ledger.put(call))
    ledger.close()
    made = [("请把后排音响打开", answer("打开", "后排音响"), learn["row_id"], "augment_badcase")]
    store = build(tmp_path, cases=[learn], made=made, call="k1")
    (found,) = explain_row(store, "w", "请把后排音响打开")
    assert found["call"]["model"] == "m-1" and found["call"]["answer"] == "好的，如下"
    assert found["call"]["messages"][0]["content"] == "请写二十条"
    assert found["call"]["prompt_tokens"] == 200 and found["call"]["cost_usd"] == pytest.approx(
        0.002
    )
    (tmp_path / "calls.sqlite").unlink()  # as on another machine: the calls lie with the rows
    assert explain_row(Store(tmp_path), "w", "请把后排音响打开") == [found]
    (parent,) = [p for p in found["stems_from"] if "bad_case" in p]
    assert parent["bad_case"] == learn["id"] and parent["prompt"] == learn["prompt"]


def test_the_rows_of_a_version_can_be_asked_in_sql(tmp_path):
    made = [("打开空调吧", SEEDS[0][1], AIR, "augment_seed")]
    store = build(tmp_path, made=[("打开副驾氛围灯", answer("打开", "副驾氛围灯"), *made[0][2:])])
    (row,) = training_rows(store, "w", "v1", where="origin = 'transform'").to_dicts()
    assert row["parents"] == [AIR]
    with pytest.raises(ValueError, match="--where 'no such': .*; columns: id, "):
        training_rows(store, "w", "v1", where="no such")


def test_a_model_says_licence_revision_and_reach_of_each_source(tmp_path):
    labels = {"seeds": {"license": "MIT", "revision": "r7"}}
    made = [("打开副驾氛围灯", answer("打开", "副驾氛围灯"), AIR, "augment_seed")]
    store = build(tmp_path, labels=labels, made=made)
    sources = explain_model(store, "w", "v1")["lineage"]["sources"]
    assert (
        sources["seeds"] | {"license": "MIT", "revision": "r7", "direct": 4, "through": 1}
        == (sources["seeds"])
    )
    assert sources["general"]["pretrained"] and sources["general"]["direct"] == 0
