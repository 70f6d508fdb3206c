"""`winnow estimate` and `winnow scripted-llm`, as a user calls them."""

import json
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from curation.llm import complete_all
from curation.scripted_answers import FAILURES, read_script
from curation.scripted_llm import Failure, ScriptedLLM
from curation.store import Store
from pipelines.cli import main
from tests.pipelines.conftest import TINY

SCRIPT = """\
{"failure": "rate_limited", "retry_after_s": 0.1, "times": 2}

{"contains": "空调", "answer": {"score": 4}}
{"answer": "other"}
"""


def question(text):
    return {"messages": [{"role": "user", "content": text}]}


def test_a_server_answers_by_its_script_and_says_what_came(project):
    (project.folder / "answers.jsonl").write_text(SCRIPT, encoding="utf-8")
    server = project.start("scripted-llm", "answers.jsonl", "--latency-s", "0.01")
    assert server.stdout is not None
    base_url = server.stdout.readline().split()[1]
    replies = complete_all(
        [question("打开空调"), question("turn it on")],
        base_url=base_url,
        api_key="none",
        model="m",
        cache=project.folder / "c.sqlite",
    )
    assert [r.text for r in replies] == ['{"score": 4}', "other"]
    server.send_signal(signal.SIGTERM)
    said, wrong = server.communicate(timeout=30)
    assert said == "4 requests, 0 refused by the limit\n" and not wrong and server.returncode == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "broken JSON"),
        ('["好的"]', "expected an object"),
        ('{"failure": "rate_limit"}', "did you mean 'rate_limited'"),
        ('{"failure": "drip"}', "seconds"),
        ('{"failure": "drip", "times": 0, "seconds": 1}', "times is 0"),
        ('{"anwser": "好的"}', "unknown key 'anwser'"),
        ('{"contains": "好的"}', "answer is text, an object or a list"),
    ],
)
def test_a_line_that_is_no_script_is_refused_with_its_number(tmp_path, line, reason, capsys):
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"answer": "好的"}}\n{line}\n', encoding="utf-8")
    assert main(["scripted-llm", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("winnow: answers.jsonl:2: ") and reason in said and said.count("\n") == 1


def test_what_no_line_answers_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"contains": "空调", "answer": []}\n', encoding="utf-8")
    respond, failures = read_script(path)
    assert respond(question("打开空调")) == [] and failures == []
    refused = respond(question("打开天窗"))
    assert isinstance(refused, Failure) and refused.status == 400
    assert len(FAILURES) == 13


def write_recipe(folder: Path, **judge) -> str:
    raw = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    for source in raw["sources"].values():
        source["path"] = str((TINY.parent / source["path"]).resolve())
    raw["scorers"] = {
        "judge": {"use": "llm_judge", "model": "gpt-4o-mini", "api_key": "TEST_KEY", **judge}
    }
    raw["augment"] = {"use": "llm", "model": "m", "api_key": "TEST_KEY", "max_calls": 50}
    raw["keep"] = ["judge >= 4"]
    path = folder / "llm.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    return str(path)


def test_an_estimate_counts_the_rows_there_are_and_asks_nobody(
    built, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TEST_KEY", "sk-never-used-at-all")
    recipe = write_recipe(tmp_path, base_url="http://127.0.0.1:9/v1")
    assert main(["estimate", recipe, "--store", str(built.store), "--json"]) == 0
    judge, augment = json.loads(capsys.readouterr().out)
    rows = Store(built.store).head("tiny/split_rows")
    assert rows is not None
    assert judge["calls"] == 2 * rows.table("rows", ["id"]).height and judge["cached"] == 0
    assert judge["most_usd"] == pytest.approx(
        judge["prompt_tokens"] * 0.15e-6 + judge["most_completion_tokens"] * 0.6e-6
    )
    assert augment["max_calls"] == 50 and augment["most_completion_tokens"] == 50 * 4096
    assert main(["estimate", recipe, "--store", str(built.store)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"judge: gpt-4o-mini: {judge['calls']:,} calls to make; about ")
    assert second == "augment: m: at most 50 new calls and 204,800 tokens to write"


def test_a_recipe_that_asks_nobody_has_nothing_to_estimate(tmp_path, capsys):
    assert main(["estimate", str(TINY), "--store", str(tmp_path / "none")]) == 1
    assert "nothing in this recipe asks a language model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/models", "/v1/batches/none", "/v1/files/x/content"]
)
def test_a_path_that_the_server_does_not_have_is_not_found(path):
    with ScriptedLLM(lambda _: "好的") as server, pytest.raises(HTTPError, match="404"):
        urlopen(server.base_url.removesuffix("/v1") + path)
