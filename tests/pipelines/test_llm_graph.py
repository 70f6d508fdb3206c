"""The language-model augmenter inside the graph, against a real server that follows a script."""

import json

import yaml

from curation.scripted_llm import ScriptedLLM
from curation.store import Store
from tests.pipelines.conftest import TINY

STAGES = ("sources/seeds", "rows", "bad_cases", "error_types", "verdicts", "augmented_rows")
THINGS = list("灯窗门镜座扇箱屏锁帘泵锅炉钟琴笔盒架杯壶")


def open_thing(thing):
    return {"actions": [{"do": "打开", "what": thing}]}


def respond(_request):
    """Twenty rows, of which the last two are wrong: one is no JSON, one is not grounded."""
    rows = [{"from": 1, "prompt": f"请打开{t}", "answer": open_thing(t)} for t in THINGS[:18]]
    rows += [{"from": 1, "prompt": "请打开锅盖", "answer": "好的"}]
    rows += [{"from": 1, "prompt": "请打开壶盖", "answer": open_thing("飞机")}]
    return {"rows": rows}


def write_recipe(project, base_url):
    raw = yaml.safe_load(TINY.read_text())
    raw["sources"] = {"seeds": {"use": "jsonl", "path": str(TINY.parent / "seeds.jsonl")}}
    raw["sources"]["seeds"]["track"] = "domain"
    raw["augment"] = {"use": "llm", "model": "m", "base_url": base_url, "api_key": "TEST_KEY"}
    path = project.folder / "llm.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    return str(path)


def deliver(project, recipe):
    cases = [
        {"prompt": f"能不能打开{t}", "gold": json.dumps(open_thing(t)), "predicted": "{}"}
        for t in ("空调", "天窗", "车灯", "雨刮", "蓝牙", "音乐", "除雾", "香氛")
    ]
    file = project.folder / "cases.jsonl"
    file.write_text("".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases))
    done = project.ask("bad-cases", "add", str(file), WINNOW_RECIPE=recipe)
    assert done.returncode == 0, done.stderr


def explain(project, row, environment):
    """What `winnow lineage why` says of one row."""
    done = project.ask("lineage", "why", row["id"], "--json", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (answer,) = json.loads(done.stdout)
    return answer


def check_way(answer, row, cases):
    """A made row leads to the one bad case it follows and to the call that wrote it."""
    (link,) = answer["made_from"]
    assert (link["kind"], link["call"]) == ("augment_badcase", row["created_by"])
    (parent,) = [said for said in answer["stems_from"] if "bad_case" in said]
    case = cases.filter(cases["id"] == parent["bad_case"]).row(0, named=True)
    assert link["parent"] in (case["id"], case["row_id"]) and case["half"] == "learn"
    assert parent["prompt"] == case["prompt"] and parent["predicted"] == "{}"
    call = answer["call"]
    assert call["key"] == row["created_by"] and call["prompt_tokens"] > 0
    # The script says of every row that it follows the first case of the request.
    assert f'"n": 1, "prompt": "{case["prompt"]}"' in call["messages"][-1]["content"]
    assert row["messages"][-2]["content"] in call["answer"]


def test_rows_of_a_language_model_lead_to_their_call_and_bad_case_and_are_paid_for_once(project):
    with ScriptedLLM(respond) as server:
        recipe = write_recipe(project, server.base_url)
        environment = {"WINNOW_RECIPE": recipe, "TEST_KEY": "secret-of-this-test"}
        deliver(project, recipe)
        done = project.ask("run", "--select", *STAGES, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        paid = server.count
        assert paid > 0
        # Without its memo the stage works again, and every call comes from the ledger.
        for memo in (project.store / "memo").glob("*.json"):
            memo.unlink()
        assert project.ask("run", "--select", *STAGES, **environment).returncode == 0
        assert server.count == paid
    made = Store(project.store).head("tiny/augmented_rows")
    assert made is not None
    rows, edges, rejected = (made.table(name) for name in ("rows", "edges", "rejected"))
    written = rows.filter(rows["origin"] == "llm")
    assert written.height == 18 and set(written["id"]) <= set(edges["child"])
    assert all(written["created_by"])
    assert any("not_json" in reason for reason in rejected["reason"])
    assert any("ungrounded" in reason for reason in rejected["reason"])
    row = written.row(written.height // 2, named=True)
    bad_cases = Store(project.store).head("tiny/bad_cases")
    assert bad_cases is not None
    answer = explain(project, row, environment)
    check_way(answer, row, bad_cases.table("rows"))
    for ledger in project.store.glob("calls.sqlite*"):
        ledger.unlink()  # the call lies with the rows that it wrote
    assert explain(project, row, environment) == answer
    assert "secret-of-this-test" not in "".join(
        path.read_text(errors="ignore") for path in project.store.rglob("*") if path.is_file()
    )


def test_an_unset_key_is_said_before_any_work(project):
    recipe = write_recipe(project, "http://127.0.0.1:9/v1")
    done = project.ask("run", WINNOW_RECIPE=recipe)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "the environment variable TEST_KEY is not set; export TEST_KEY=…"
    )
    assert not project.store.exists()
