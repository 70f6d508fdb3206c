"""`winnow prompts`: what there is, and a trial of two that leaves nothing behind."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.augmenters._prompts import FOLDER
from curation.bad_cases import add_bad_cases
from curation.scripted_llm import ScriptedLLM
from pipelines.cli import EXAMPLES, build_parser, main
from tests.assets._project import PLAIN, SEEDS, Project, command, talk

THINGS = "灯窗门镜座扇箱屏锁帘泵锅炉钟琴笔盒架杯壶柜桌椅床毯"


def respond(request: dict[str, Any]) -> dict[str, Any]:
    """Right rows to v2, and to v1 half of them in prose; each wish is for another thing."""
    system, user = (message["content"] for message in request["messages"])
    (count,) = re.findall(r"请写 (\d+) 条", user)
    rows = [{"from": 1, **command(thing)} for thing in THINGS[: int(count)]]
    old = "near_miss" not in system
    return {"rows": [r | {"answer": "好的"} if old and i % 2 else r for i, r in enumerate(rows)]}


@pytest.fixture
def server() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(respond) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path, server, monkeypatch) -> Project:
    monkeypatch.setenv("TEST_KEY", "secret-of-this-test")
    prices = {"usd_per_m_prompt": 1.0, "usd_per_m_completion": 2.0}
    asked = {"use": "llm", "model": "m", "base_url": server.base_url, "api_key": "TEST_KEY"}
    project = Project(tmp_path, tiny_base, **PLAIN, augment=asked | prices)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(5))
    cases = [{"prompt": f"能不能打开{t}", "gold": command(t)["answer"], "predicted": "{}"}
             for t in ("空调", "天窗", "车灯", "雨刮", "蓝牙", "香氛")]  # fmt: skip
    add_bad_cases(project.store, [(str(i), case) for i, case in enumerate(cases)])
    project.build(last="verdicts")
    return project


def winnow(project: Project, *words: str) -> int:
    where = ["--recipe", str(project.recipe.path), "--store", str(project.store.root)]
    return main(["prompts", *words, *where])


def files(project: Project) -> set[Path]:
    return {p for p in project.store.root.rglob("*") if "tmp" not in p.parts and p.is_file()}


def test_two_prompts_are_tried_on_the_same_cases_and_nothing_of_it_stays(project, server, capsys):
    before = files(project)
    assert winnow(project, "compare", "v1", "v2", "--calls", "1", "--json") == 0
    old, new = json.loads(capsys.readouterr().out)
    assert (old["prompt"], old["calls"], new["calls"]) == ("v1", 1, 1)
    assert old["proposed"] == new["proposed"] == server_rows(server, 0)
    assert old["yield"] < 0.6 < new["yield"] and old["reasons"]["not_json"] == old["proposed"] // 2
    assert 0 < new["usd_per_row"] < old["usd_per_row"]
    first, second = (request["messages"] for request in server.requests)
    assert "near_miss" in second[0]["content"] and "near_miss" not in first[0]["content"]
    assert shown(first) == shown(second)
    assert files(project) == before
    assert winnow(project, "compare", "v1", "v2", "--calls", "1") == 0
    assert server.count == 2 and "not_json" in capsys.readouterr().out


def server_rows(server: ScriptedLLM, number: int) -> int:
    asked = server.requests[number]["messages"][1]["content"]
    return int(re.findall(r"请写 (\d+) 条", asked)[0])


def shown(messages: list[dict[str, str]]) -> list[str]:
    cases = json.loads(messages[1]["content"].split("<data>\n")[1].split("\n</data>")[0])["cases"]
    return [case["prompt"] for case in cases]


def test_a_file_of_ones_own_is_tried_against_one_of_ours(project, capsys):
    own = project.folder / "mine.txt"
    own.write_text((FOLDER / "augment_zh.v2.txt").read_text(encoding="utf-8"), encoding="utf-8")
    assert winnow(project, "compare", "v1", str(own), "--calls", "1") == 0
    shown = capsys.readouterr().out
    assert str(own) in shown and "100 %" in shown


def test_prompts_are_listed_and_shown(capsys):
    assert main(["prompts", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 16
    assert main(["prompts", "show", "v1", "--kind", "name", "--language", "en"]) == 0
    assert capsys.readouterr().out == (FOLDER / "name_en.v1.txt").read_text(encoding="utf-8")


def test_a_users_mistake_is_one_line(project, capsys):
    assert winnow(project, "compare", "v1", "v7") == 2
    assert main(["prompts", "show", "v3"]) == 2
    project.change(augment={"use": "rules"})
    assert winnow(project, "compare", "v1", "v2") == 2
    version, shown, augmenter = capsys.readouterr().err.splitlines()
    assert "no prompt 'augment' has the version 'v7' (did you mean" in version
    assert "no prompt 'augment' has the version 'v3' (did you mean" in shown
    assert "the augmenter 'rules' of this recipe asks by no prompt" in augmenter


@pytest.mark.parametrize("name", ["list", "show", "compare"])
def test_every_help_shows_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["prompts", name, "--help"])
    assert f"example:\n  {EXAMPLES[f'prompts {name}']}" in capsys.readouterr().out
