"""`winnow serve-model`: who answers, what is logged, and that no server outlives its door."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from curation.bad_cases import read_inbox, read_quarantine
from curation.llm import complete_all
from curation.scripted_llm import Failure, ScriptedLLM, completion, events, server_error
from curation.served import SERVED, find_answer, read_rated
from curation.store import Store
from pipelines.cli import main
from tests.pipelines._model_serving import (
    SYSTEM,
    TOKEN,
    ModelDoor,
    answer,
    model_door,
    register,
    write_scripts,
)
from tests.pipelines.conftest import TINY


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Two versions beside one another, the second for three users of ten."""
    root = tmp_path_factory.mktemp("split")
    store = Store(root / "store")
    register(store, 1)
    register(store, 2, promoted=False)
    command = write_scripts(root, 1, 2)
    with model_door(store.root, "v1", "v2", "--split", "0.3", "--server", command) as door:
        yield store, door


def asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_a_user_stays_in_one_arm_and_the_share_is_what_was_said(split):
    _, door = split
    users = [f"用户{n}" for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        first, again = ([*pool.map(lambda u: door.ask("打开空调", user=u)[1], users)]
                        for _ in range(2))  # fmt: skip
    versions = [said["x-winnow-version"] for said in first]
    assert versions == [said["x-winnow-version"] for said in again]
    assert 15 <= versions.count("v2") <= 45 and versions.count("v1") == 100 - versions.count("v2")
    assert {said["x-winnow-arm"] for said in first if said["x-winnow-version"] == "v2"} == {"b"}
    grown = [*asked("开窗"), {"role": "assistant", "content": "好"}, *asked("再开")]
    arms = {door.ask("", messages=talk)[1]["x-winnow-arm"] for talk in (asked("开窗"), grown)}
    assert len(arms) == 1  # without a user a talk that grows stays where it began


def test_an_answer_is_that_of_the_version_and_is_logged_whole(split):
    store, door = split
    status, headers, said = door.ask("打开空调", user="u", temperature=0.7)
    number = int(headers["x-winnow-version"][1:])
    text = said["choices"][0]["message"]["content"]
    assert status == 200 and text == answer(number) + " 有系统提示"
    assert (said["id"], said["model"]) == (headers["x-winnow-id"], f"v{number}")
    kept = find_answer(store.root / SERVED, said["id"])
    assert kept and (kept.answer, kept.version, kept.error) == (text, number, "")
    turns = json.loads(kept.messages)
    assert [turn["role"] for turn in turns] == ["system", "user"]
    assert turns[0]["content"].startswith(SYSTEM) and turns[1:] == asked("打开空调")
    assert kept.version_id == f"{number:032x}" and kept.latency_s > 0
    assert kept.completion_tokens == len(text) and kept.prompt_tokens
    own = [{"role": "system", "content": "Be brief."}, *asked("open it")]
    text = door.ask("", messages=own, user="u")[2]["choices"][0]["message"]["content"]
    assert text == answer(number)


def test_openai_s_client_reads_it_and_a_stream_is_logged_whole(split, tmp_path):
    store, door = split
    (reply,) = complete_all(
        [{"messages": asked("打开空调")}], base_url=f"http://127.0.0.1:{door.port}/v1",
        api_key=TOKEN, model="winnow", cache=tmp_path / "c.sqlite",
    )  # fmt: skip
    assert reply.text.endswith("有系统提示") and not reply.error
    body = {"messages": asked("打开空调"), "stream": True}
    status, headers, data = door.send("POST", "/v1/chat/completions", body)
    lines = data.decode().split("\n\n")
    assert status == 200 and lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert {event["id"] for event in events} == {headers["x-winnow-id"]}
    assert {event["model"] for event in events} == {headers["x-winnow-version"]}
    kept = find_answer(store.root / SERVED, headers["x-winnow-id"])
    assert kept and kept.answer == text == reply.text and kept.completion_tokens == len(text)


def test_feedback_makes_an_answer_a_bad_case_of_its_version(split):
    store, door = split
    _, headers, said = door.ask("关掉车窗", user="v")
    id, version = said["id"], f"{int(headers['x-winnow-version'][1:]):032x}"
    assert door.rate(id=id, rating="up") == (200, {"id": id})
    status, told = door.rate(id=id, corrected="好的，已关闭")
    assert status == 200 and told["outcome"] == "new"
    case = next(one for one in read_inbox(store) if one["id"] == told["case"])
    assert (case["prompt"], case["gold"], case["found_by"]) == ("关掉车窗", "好的，已关闭", version)
    assert case["predicted"] == said["choices"][0]["message"]["content"]
    assert door.rate(id=id, corrected="好的，已关闭")[1]["outcome"] == "known"
    other = door.ask("open the trunk", user="v")[2]["id"]
    assert door.rate(id=other, rating="down")[1]["reason"] == "no corrected answer"
    waiting = next(one for one in read_quarantine(store) if one["prompt"] == "open the trunk")
    assert waiting["found_by"] == version and waiting["position"] == f"answer:{other}"
    rated = {row["id"]: row["rating"] for row in read_rated(store.root / SERVED).to_dicts()}
    assert (rated[id], rated[other]) == ("corrected", "down")


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/v1/feedback", {"id": "chatcmpl-none", "rating": "down"}, 404, "no answer has the id"),
        ("/v1/feedback", {"id": "x", "rating": "bad"}, 400, "rating is 'bad'"),
        ("/v1/feedback", {"id": "x", "corrected": " "}, 400, "corrected is no text"),
        ("/v1/feedback", {"rating": "down"}, 400, 'feedback is {"id"'),
        ("/v1/chat/completions", b"{", 400, "broken JSON"),
        ("/v1/chat/completions", b"[" * 50_000, 400, "nested too deeply"),
        ("/v1/chat/completions", b'["\xff"]', 400, "not UTF-8"),
        ("/v1/chat/completions", [1], 400, "not a JSON object"),
        ("/v1/chat/completions", {"messages": ["打开"]}, 400, "messages is not a list of turns"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages is not a list of turns"),
        ("/v1/chat/completions", {"messages": asked("坏")}, 502, "sent no choices"),
        ("/v1/chat/completions", b" " * (9 << 20), 413, "more than 8,388,608 bytes"),
    ],
)
def test_what_cannot_be_answered_is_one_line(split, path, body, status, reason):
    _, door = split
    try:
        found, _, data = door.send("POST", path, body)
    except (BrokenPipeError, ConnectionResetError):
        return  # the door closed before it was told all
    error = json.loads(data)["error"]
    assert found == status and reason in error["message"] and "\n" not in error["message"]


def test_without_the_token_nobody_is_answered_and_it_is_nowhere_written(split):
    store, door = split
    for path in ("/v1/chat/completions", "/v1/feedback"):
        assert door.send("POST", path, {"messages": asked("打开")}, token="x" * 20)[0] == 401
    assert door.send("GET", "/v1/models", token="")[0] == 401
    listed = json.loads(door.send("GET", "/v1/models")[2])["data"]
    assert [one["id"] for one in listed] == ["v1", "v2"]
    assert json.loads(door.send("GET", "/health", token="")[2])["arms"] == {"a": "v1", "b": "v2"}
    door.ask("canary-text")
    assert "canary" not in door.heard.read_text()
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_the_report_says_what_became_of_each_version(split, capsys):
    store, door = split
    for n in range(20):
        door.ask("打开空调", user=f"报告{n}")
    door.ask("坏", user="报告0")
    where = ["serve-model", "--recipe", str(TINY), "--store", str(store.root), "--report"]
    assert main([*where, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["version"] for one in said["versions"]] == [1, 2]
    rated = read_rated(store.root / SERVED)
    assert sum(one["requests"] for one in said["versions"]) == rated.height
    assert sum(one["failed"] for one in said["versions"]) == (rated["error"] != "").sum() >= 1
    assert main(where) == 0
    lines = capsys.readouterr().out
    assert "v2 against v1:" in lines and "said to be wrong: " in lines


def servers_of(door: ModelDoor) -> list[psutil.Process]:
    return psutil.Process(door.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them end within seconds; a zombie has ended."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        alive = []
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                alive += [one] if one.status() != psutil.STATUS_ZOMBIE else []
        if not alive:
            return True
        time.sleep(0.05)
    return False


def wait_for(door: ModelDoor, said: str) -> None:
    deadline = time.monotonic() + 60
    while said not in door.heard.read_text():
        assert door.process.poll() is None and time.monotonic() < deadline, door.heard.read_text()
        time.sleep(0.05)


def wait_until(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true())


def leave_stream(door: ModelDoor, body: dict) -> str:
    """The id of an answer of which only the beginning is read."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    said = connection.getresponse()
    assert said.read(20)
    said.close()
    connection.close()
    return said.headers["x-winnow-id"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    register(found, 1)
    return found


def test_a_promotion_moves_all_requests_and_no_request_is_lost(store: Store, tmp_path: Path):
    command = write_scripts(tmp_path, 1, 2, 3)
    (tmp_path / "v3.jsonl").write_text('{"answer": "another model"}\n')
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def ask_on(door: ModelDoor) -> None:
        while not done.is_set():
            status, headers, _ = door.ask("打开空调")
            answers.append((status, headers["x-winnow-version"]))

    with model_door(store.root, "champion", "--poll-s", "0.1", "--server", command) as door:
        old = servers_of(door)
        asking = [threading.Thread(target=ask_on, args=(door,)) for _ in range(2)]
        for thread in asking:
            thread.start()
        assert door.ask("打开空调")[1]["x-winnow-version"] == "v1"
        register(store, 2)
        wait_for(door, "v2 answers in place of v1")
        assert gone(old)
        register(store, 3)
        wait_for(door, "v3 cannot be served, v2 goes on: it does not serve the version")
        done.set()
        for thread in asking:
            thread.join()
        kept = servers_of(door)
        assert {status for status, _ in answers} == {200}
        versions = [version for _, version in answers]
        assert {*versions} == {"v1", "v2"} and versions[-1] == "v2"
        assert door.heard.read_text().count("v3 cannot be served") == 1
        door.process.kill()
        assert gone(kept)
    assert read_rated(store.root / SERVED).height >= len(answers)


def respond(request: dict) -> str | Failure:
    """503, a stream without the word that ends it, one cut off, a slow one, or v1's answer."""
    text, whole = str(request["messages"]), events(completion(answer(1), {}))
    streams = {
        "流": replace(whole, body=whole.body.removesuffix("data: [DONE]\n\n")),
        "断": replace(whole, body=whole.body.split("\n\n")[0] + "\n\n"),
        "走": replace(whole, drip_s=60.0),
        "忙": server_error(503),
    }
    return next((said for word, said in streams.items() if word in text), answer(1))


def test_an_address_is_asked_and_its_failures_are_told_and_logged(store: Store, tmp_path: Path):
    with (
        ScriptedLLM(respond) as server,
        model_door(store.root, "v1", "--server", server.base_url, "--timeout-s", "2") as door,
    ):
        assert door.ask("打开空调", user="甲", top_p=0.5)[0] == 200
        sent = server.requests[-1]
        assert "user" not in sent and sent["temperature"] == 0 and sent["top_p"] == 0.5
        status, headers, said = door.ask("忙")
        assert status == 503 and said["error"]["message"].startswith("the model's server answ")
        kept = find_answer(store.root / SERVED, headers["x-winnow-id"])
        assert kept and kept.status == 503 and kept.error == said["error"]["message"]
        assert "there was no answer" in str(door.rate(id=kept.id, corrected="好"))
        for text, end in (("流", "data: [DONE]"), ("断", "broke its answer off")):
            body = {"messages": asked(text), "stream": True}
            status, headers, data = door.send("POST", "/v1/chat/completions", body)
            assert status == 200 and end in data.decode().split("\n\n")[-2]
            kept = find_answer(store.root / SERVED, headers["x-winnow-id"])
            assert kept and kept.answer == (answer(1) if text == "流" else "好")
        left = leave_stream(door, {"messages": asked("走"), "stream": True})
        assert wait_until(lambda: find_answer(store.root / SERVED, left))
        kept = find_answer(store.root / SERVED, left)
        assert kept and kept.error == "who asked went away" and kept.answer.startswith("好")
        server.latency_s = 5
        status, _, said = door.ask("打开空调")
        assert status == 504 and "longer than 2 s" in said["error"]["message"]
    failed = [error != "" for error in read_rated(store.root / SERVED)["error"]]
    assert failed == [False, True, False, True, True, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v7"], "there is no model version 'v7'"),
        (["v1", "v1", "v1"], "3 versions: one, or two"),
        (["v1", "--split", "0.5"], "--split 0.5 is a share between 0 and 1 for the second of two"),
        (["v1", "--server", "sglang"], "'sglang' is none of transformers, vllm"),
        (["v1", "--server", "x {port} {model}"], "is none of transformers"),
        (["v1", "--server", "no-such-program {port}"], "there is no program 'no-such-program'"),
        (["v1", "--server", "vllm", "--server", "vllm"], "--server is given once"),
        (["--server", "http://127.0.0.1:1/v1"], "cannot be switched when 'champion' changes"),
        (["v1", "--server", "http://me:x@127.0.0.1/v1"], "base_url holds a user or password"),
        (["v1", "--server", "python -c 'raise(OSError)' {port}"], "ended with code 1: OSError"),
        (["v1", "--timeout-s", "0"], "--timeout-s 0 is not above 0"),
        (["v1", "--host", "0.0.0.0"], "can be reached by others: set WINNOW_MODEL_TOKEN"),
    ],
)
def test_a_wrong_start_is_one_line(store: Store, capsys, monkeypatch, arguments, said):
    monkeypatch.delenv("WINNOW_MODEL_TOKEN", raising=False)
    where = ["--recipe", str(TINY), "--store", str(store.root), "--port", "0"]
    others = psutil.Process().children()
    assert main(["serve-model", *arguments, *where]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1] and "Traceback" not in "".join(lines)
    assert psutil.Process().children() == others
