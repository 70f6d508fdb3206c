"""Self-instruct: rows after seeds, of each category what it is short of, with the checks of llm."""

import json
import re
from dataclasses import replace

import polars as pl
import pytest

from curation.augmenters.self_instruct import self_instruct
from curation.rows import dialogue, make_row, rows_frame
from curation.scripted_llm import ScriptedLLM
from tests.curation.test_llm_augmenter import CASES, SYSTEM, TASK, answer, key, work
from tests.curation.test_llm_bought import bought

__all__ = ["key"]


def seeds(**counts):
    """So many seeds of each category, each of another degree."""
    pairs = [(c, f"把{c}调到{n}度", answer(c, f"{n}度")) for c, count in counts.items()
             for n in range(20, 20 + count)]  # fmt: skip
    return rows_frame(make_row(dialogue(p, a, system=SYSTEM), category=c) for c, p, a in pairs)


def respond(request):
    """Right rows of the category that is asked for, the first of them a seed once more."""
    user = request["messages"][1]["content"]
    material = json.loads(user.split("<data>\n")[1].split("\n</data>")[0])
    (batch, count), = re.findall(r"第 (\d+) 批，请写 (\d+) 条", user)  # fmt: skip
    what, start = material["category"], int(batch) * 100
    rows = [{"from": 1, "prompt": f"{what}要{n}度", "answer": answer(what, f"{n}度")}
            for n in range(start, start + int(count))]  # fmt: skip
    first = material["cases"][0]
    assert "predicted" not in first
    return {"rows": [{"from": 2, "prompt": first["prompt"], "answer": first["gold"]}, *rows[1:]]}


def run(server, key, given, **options):
    return self_instruct(model="m", base_url=server.base_url, api_key=key, **options)(given)


def given(tmp_path, **counts):
    return replace(work(tmp_path), seeds=seeds(**counts))


def test_rare_categories_catch_up_and_every_row_knows_its_seed(tmp_path, key):
    material = given(tmp_path, 空调=9, 座椅=2, 水温=12)
    with ScriptedLLM(respond) as server:
        made = run(server, key, material, per_category=10)
        texts = [m["content"] for r in server.requests for m in r["messages"]]
    rows = rows_frame(made.rows)
    assert dict(rows.group_by("category").len().iter_rows()) == {"空调": 1, "座椅": 8}
    assert {*rows["origin"]} == {"llm"} and {*rows["source"]} == {"self_instruct"}
    edges = pl.DataFrame(made.edges)
    own = dict(material.seeds.select("id", "category").iter_rows())
    of = dict(rows.select("id", "category").iter_rows())
    assert {*edges["kind"]} == {"augment_seed"} and edges.height == rows.height
    assert all(of[child] == own[seed] for child, seed in edges.select("child", "parent").rows())
    assert "repeats_a_known_prompt" in {said["reason"] for said in made.rejected}
    assert not any(case["prompt"] in text for case in CASES for text in texts)


def test_what_was_bought_is_read_again_while_its_seeds_are_there(tmp_path, key):
    material = given(tmp_path, 空调=3)
    with ScriptedLLM(respond) as server:
        made = run(server, key, material, per_category=8)
        count = server.count
        handed = bought(made, tmp_path, [{"id": i} for i in made.known])
        later = replace(given(tmp_path / "later", 空调=3), bought=handed)
        again = run(server, key, later, per_category=8)
        assert server.count == count and again.rows == made.rows
        fewer = replace(given(tmp_path / "fewer", 空调=2), bought=handed)
        assert run(server, key, fewer, per_category=8).rows and server.count > count


def test_rows_that_the_task_refuses_are_refused(tmp_path, key):
    row = {"from": 1, "prompt": "空调要30度", "answer": answer("空调", "31度")}
    with ScriptedLLM(lambda _: {"rows": [row]}) as server:
        made = run(server, key, given(tmp_path, 空调=3))
    assert not made.rows and made.rejected[0]["reason"].startswith("ungrounded")
    assert TASK.check(row["prompt"], row["answer"])


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ValueError, match="the environment variable NO_SUCH_KEY is not set"):
        self_instruct(model="m", api_key="NO_SUCH_KEY")(given(tmp_path, 空调=3))  # type: ignore[arg-type]
