"""`winnow estimate` and `winnow scripted-llm`, as a user calls them."""

import itertools
import json
import signal
from collections import Counter
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from curation.bad_cases import add_bad_cases
from curation.llm import complete_all
from curation.scripted_answers import FAILURES, read_script
from curation.scripted_llm import Failure, ScriptedLLM
from curation.store import Store
from pipelines.cli import main
from tests.assets._project import HAN, PLAIN, SEEDS, Project, case_of, command, talk
from tests.curation.test_llm_augmenter import key, wanted
from tests.curation.test_llm_checks import kind_of, responder
from tests.curation.test_llm_opinions import judge_of
from tests.pipelines.conftest import TINY

__all__ = ["key"]

THINGS = ["".join(pair) for pair in itertools.combinations(HAN, 2)]

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
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"judge: gpt-4o-mini: {judge['calls']:,} calls to make; about ")
    assert second == "augment: m: at most 50 new calls and 204,800 tokens to write"
    assert third == "  but for answers that nobody can read, which are asked for at most 3 times"


def write_things(request):
    """As many right rows as a call asks for, about things that no other call names."""
    batch, count = wanted(request)
    start = 20 * batch
    return {"rows": [{"from": 1, **command(what)} for what in THINGS[start : start + count]]}


def vote_for(request):
    said = json.loads(request["messages"][1]["content"].split("<data>\n")[-1].split("\n<")[0])
    return {"answer": json.loads(command(said.removeprefix("请打开"))["answer"])}


def project_with_cases(folder, base_model, augment):
    project = Project(folder, base_model, **PLAIN, augment=augment)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(5))
    wrong = [case_of(command(f"车窗{n}号")) for n in range(12)]
    add_bad_cases(project.store, [(str(n), case) for n, case in enumerate(wrong)])
    return project


def test_the_bound_of_an_augmenter_is_what_a_build_asks_where_every_row_passes(
    tmp_path, tiny_base, key, capsys
):
    writes = responder(rows=write_things, vote=vote_for)
    options = {"use": "llm", "model": "gpt-4o-mini", "api_key": key, "max_tokens": 500}
    options |= {"name_types": True, "votes": 2, "judge": {"model": "gpt-4o"}}
    with ScriptedLLM(lambda r: {"score": 5} if judge_of(r) else writes(r)) as server:
        options |= {"base_url": server.base_url, "max_calls": 3, "per_call": 4}
        project = project_with_cases(tmp_path, tiny_base, options)
        asked = ["estimate", str(tmp_path / "delta.yaml"), "--store", str(tmp_path / "store")]
        assert main(asked) == 1
        assert "run `winnow run --select error_types` first" in capsys.readouterr().err
        project.build(last="error_types")
        assert main([*asked, "--json"]) == 0
        (said,) = json.loads(capsys.readouterr().out)
        assert main(asked) == 0
        lines = capsys.readouterr().out
        assert server.count == 0
        project.build(last="augmented_rows")
        usage = project.head("augmented_rows").values["usage"]
        kinds = Counter("judge" if judge_of(r) else kind_of(r) for r in server.requests)
    parts = {part["kind"]: part for part in said["parts"]}
    assert kinds == {kind: part["calls"] for kind, part in parts.items()}
    assert kinds == {"rows": 3, "name": 1, "vote": 24, "judge": 24}
    assert said["most_calls"] == usage["calls"] == server.count == 52
    assert said["most_completion_tokens"] == 28 * 500 + 24 * 64 > usage["completion_tokens"]
    assert said["most_usd_to_write"] == pytest.approx(28 * 500 * 0.6e-6 + 24 * 64 * 10e-6)
    assert "at most 52 new calls and 15,536 tokens to write ($0.02, and what" in lines
    assert "  grades of the judge: 24 calls of gpt-4o\n" in lines and "  as if each" in lines


def test_a_recipe_that_asks_nobody_has_nothing_to_estimate(tmp_path, capsys):
    assert main(["estimate", str(TINY), "--store", str(tmp_path / "none")]) == 1
    assert "nothing in this recipe asks a language model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/models", "/v1/batches/none", "/v1/files/x/content"]
)
def test_a_path_that_the_server_does_not_have_is_not_found(path):
    with ScriptedLLM(lambda _: "好的") as server, pytest.raises(HTTPError, match="404"):
        urlopen(server.base_url.removesuffix("/v1") + path)
