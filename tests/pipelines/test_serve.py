"""`winnow serve`: what is acknowledged is on disk, whatever happens to the server."""

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from curation.bad_cases import read_deliveries, read_inbox
from curation.store import Store
from pipelines.cli import build_parser
from tests.pipelines._serving import ROOT, Serving, packed, serving


def case(number: int, who: str = "甲") -> dict[str, str]:
    return {"prompt": f"打开{number}号灯 {who}", "gold": "好的", "predicted": "light?"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served") / "s", "--found-by", "网关") as server:
        yield server


FORMS: dict[str, tuple[Any, list[str]]] = {
    "object": (json.dumps(case(1), indent=1), ["post:1"]),
    "list": ([case(2), case(3)], ["post[0]", "post[1]"]),
    "lines": ("\n".join(json.dumps(case(n)) for n in (4, 5)) + "\n\n", ["post:1", "post:2"]),
    "byte order mark": ("\ufeff" + json.dumps(case(6)), ["post:1"]),
    "nothing": ("", []),
    "a trace": ({"input": "打开", "output": "?", "scores": [
        {"name": "output", "dataType": "CORRECTION", "value": "好"}]}, ["post:1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_each_line_hears_what_became_of_it(server, name, zipped):
    body, positions = FORMS[name]
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    status, said = server.post(packed(data) if zipped else data, **headers)
    assert status == 200 and [line["position"] for line in said["lines"]] == positions
    assert {line["outcome"] for line in said["lines"]} <= {"known" if zipped else "new"}
    assert said["new" if not zipped else "known"] == len(positions)


def test_a_broken_line_costs_itself_and_says_why(server):
    text = json.dumps(case(20))
    body = f'{text}\n{{"prompt": \n[1]\n{text}\n{{"prompt": "a", "predicted": "b"}}'
    status, said = server.post(body.encode())
    assert status == 200 and (said["new"], said["known"], said["quarantined"]) == (1, 1, 3)
    reasons = {line["position"]: line.get("reason", "") for line in said["lines"]}
    assert reasons["post:2"].startswith("broken JSON") and "not an object" in reasons["post:3"]
    assert reasons["post:5"] == "no corrected answer"


def test_health_and_other_paths(server):
    assert server.ask("GET", "/health") == (200, {"status": "ok"})
    assert server.ask("GET", "/v1/bad-cases")[0] == 405
    assert server.ask("POST", "/v1/other")[0] == 404


def post_until_gone(
    server: Serving, who: str, said: dict[str, list[str]], *, most: int = 10_000
) -> None:
    """Two cases a post, one after the other; the ids of those that were acknowledged."""
    for number in range(most):
        try:
            status, answer = server.post([case(2 * number, who), case(2 * number + 1, who)])
        except (OSError, ValueError, EOFError, HTTPException):
            return
        assert status in (200, 503)
        if status == 200:
            said[who] += [line["id"] for line in answer["lines"]]


def post_from_many(server: Serving, stop: Any, *, at_least: int = 40) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {f"{who}号": [] for who in "甲乙丙丁戊己庚辛"}
    threads = [threading.Thread(target=post_until_gone, args=(server, who, said)) for who in said]
    for thread in threads:
        thread.start()
    while min(len(ids) for ids in said.values()) < at_least // 4:
        threading.Event().wait(0.01)
    stop()
    for thread in threads:
        thread.join()
    return said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "stop"])
def test_what_was_acknowledged_is_there_whole_whenever_the_server_ends(tmp_path, how):
    with serving(tmp_path / "s") as server:
        said = post_from_many(server, lambda: server.stop(how))
        assert server.output.read_text() == ""
    ids = [line["id"] for line in read_deliveries(Store(tmp_path / "s"))]
    acknowledged = [one for ids in said.values() for one in ids]
    assert len(acknowledged) >= 80 and set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids)) and len(ids) - len(acknowledged) <= 2 * len(said)
    files = len(list((tmp_path / "s/intake").iterdir()))
    assert files < len(ids) / 4  # two lines a post, and posts share deliveries
    with serving(tmp_path / "s") as again:
        assert again.post([case(0, "甲号")])[1]["known"] == 1


def test_two_servers_and_the_command_line_lose_and_double_nothing(tmp_path):
    store, file = tmp_path / "s", tmp_path / "cases.jsonl"
    wanted = [case(number, "同") for number in range(60)]
    file.write_text("".join(json.dumps(one) + "\n" for one in wanted))
    add = [sys.executable, "-m", "pipelines.cli", "bad-cases", "add", str(file)]
    with serving(store) as first, serving(store, output="other") as second:
        new: Counter[str] = Counter()

        def post(server: Serving, name: str) -> None:
            for one in wanted:
                new[name] += server.post(one)[1]["new"]

        threads = [threading.Thread(target=post, args=pair)
                   for pair in ((first, "first"), (second, "second"))]  # fmt: skip
        for thread in threads:
            thread.start()
        done = subprocess.run([*add, "--store", str(store)], cwd=ROOT, capture_output=True)
        for thread in threads:
            thread.join()
        assert done.returncode == 0, done.stderr
        assert [server.post(wanted)[1]["known"] for server in (first, second)] == [60, 60]
    assert sorted(one["prompt"] for one in read_inbox(Store(store))) == sorted(
        one["prompt"] for one in wanted
    )
    assert new.total() > 0


@pytest.mark.parametrize(
    ("options", "token", "said"),
    [
        (["--host", "0.0.0.0"], "", "can be reached by others: set WINNOW_INTAKE_TOKEN"),
        ([], "short-secret", "must be 16 or more ASCII characters; not shown here"),
        (["--form", "langfuze"], "", "did you mean 'langfuse'"),
        (["--max-mb", "0"], "", "--max-mb 0 is not between"),
        (["--host", "203.0.113.1", "--port", "1"], "long-enough-secret", "cannot listen at 203.0."),
        (["--port", "99999"], "", "--port 99999 is not between"),
    ],
)
def test_a_wrong_start_is_one_line(tmp_path: Path, capsys, monkeypatch, options, token, said):
    from pipelines.cli import main

    monkeypatch.setenv("WINNOW_INTAKE_TOKEN", token)
    assert main(["serve", "--store", str(tmp_path / "s"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and "short-secret" not in line


def test_the_help_shows_how_to_post_in_two_languages(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["serve", "--help"])
    shown = capsys.readouterr().out
    assert "curl -H" in shown and "返回 200" in shown and "--data-binary @cases.jsonl" in shown
