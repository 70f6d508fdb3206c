"""Calls against a real server on this machine: every answer is paid for once and none is lost."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.json_text import read_json
from curation.llm import CallsStopped, Reply, call_key, complete_all
from curation.scripted_llm import (
    Failure,
    ScriptedLLM,
    broken_json,
    drip,
    html_page,
    quota_exhausted,
    rate_limited,
    redirect,
    refusal,
    refused_key,
    server_error,
    truncated,
    wrong_count,
    wrong_types,
)

KEY = "sk-never-shown-1234567890"


def asked(text, **options):
    return {"messages": [{"role": "user", "content": text}], **options}


def ask(server, requests, cache, **options):
    options = {"base_url": server.base_url, "api_key": KEY, "model": "m", "cache": cache} | options
    return complete_all(requests, **options)


def echo(request):
    return "to " + request["messages"][-1]["content"]


def test_replies_come_in_the_order_of_their_requests(tmp_path):
    with ScriptedLLM(echo) as server:
        replies = ask(server, [asked(f"q{i}") for i in range(40)], tmp_path / "calls.sqlite")
    assert [r.text for r in replies] == [f"to q{i}" for i in range(40)]
    assert {r.error for r in replies} == {""} and server.requests[0]["model"] == "m"


def test_equal_requests_are_paid_for_once_and_never_again(tmp_path):
    cache = tmp_path / "calls.sqlite"
    with ScriptedLLM(echo) as server:
        first = ask(server, [asked("a"), asked("a"), asked("b", temperature=0.5)], cache)
        again = ask(server, [asked("b", temperature=0.5), asked("a")], cache)
        assert server.count == 2
    assert first[0] is first[1] and not first[0].cached
    assert [r.text for r in again] == ["to b", "to a"] and all(r.cached for r in again)


def test_the_key_names_the_request_the_model_and_the_endpoint():
    one = call_key({"messages": [], "n": 1}, base_url="http://a/v1", model="m")
    assert one == call_key({"n": 1, "messages": []}, base_url="http://a/v1/", model="m")
    assert one != call_key({"n": 1, "messages": []}, base_url="http://b/v1", model="m")


@pytest.mark.parametrize(
    "failure",
    [
        server_error(),
        server_error(503),
        html_page(),
        broken_json(),
        Failure(200, "{}"),
        Failure(408, ""),
    ],
    ids=["500", "503", "html", "broken", "no choices", "408"],
)
def test_a_passing_failure_is_tried_again(tmp_path, failure):
    with ScriptedLLM(echo, failures=[failure]) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite")
        assert (reply.text, reply.error, server.count) == ("to q", "", 2)


def test_a_dripping_answer_ends_at_the_deadline(tmp_path):
    start = time.monotonic()
    with ScriptedLLM(echo, failures=[drip(5)]) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite", timeout_s=0.3)
    assert reply.text == "to q" and time.monotonic() - start < 3


def test_attempts_run_out_and_the_reason_stays(tmp_path):
    with ScriptedLLM(lambda _: server_error()) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite", max_attempts=2)
        assert server.count == 2
    assert reply.text == "" and "500: try again (2 attempts)" in reply.error


def test_a_refused_request_is_not_repeated_and_the_others_go_on(tmp_path):
    def respond(request):
        return Failure(400, "too long") if "bad" in str(request) else "fine"

    with ScriptedLLM(respond) as server:
        bad, good = ask(server, [asked("bad"), asked("good")], tmp_path / "c.sqlite")
        assert server.count == 2
    assert bad.error.startswith("400: too long") and good.text == "fine"


def test_everyone_waits_when_the_endpoint_asks_to(tmp_path):
    times = []

    def respond(request):
        times.append(time.monotonic())
        return rate_limited(0.6) if len(times) == 1 else "ok"

    with ScriptedLLM(respond) as server:
        replies = ask(
            server, [asked(f"q{i}") for i in range(6)], tmp_path / "c.sqlite", concurrency=2
        )
        assert server.count == 7
    assert {r.error for r in replies} == {""}
    assert sum(t - times[0] > 0.5 for t in times) >= 5  # one may have been on its way already


def test_waiting_for_the_limit_uses_up_no_attempt(tmp_path):
    with ScriptedLLM(echo, failures=[rate_limited(0.01)] * 9) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite", max_attempts=1)
    assert reply.text == "to q"


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (refused_key(), "the key was refused (401: Incorrect API key provided)"),
        (quota_exhausted(), "out of quota (429: You exceeded your current quota)"),
        (
            Failure(404, '{"error": {"message": "no model m"}}'),
            "no chat completions here (404: no model m)",
        ),
        (redirect("http://127.0.0.1:1/v1"), "no chat completions here (307"),
        (rate_limited(4000), "asks to wait 4,000 s"),
    ],
    ids=["401", "quota", "404", "307", "long wait"],
)
def test_what_no_repetition_cures_stops_the_run_with_one_line(tmp_path, failure, line):
    with ScriptedLLM(lambda _: failure) as server:
        with pytest.raises(CallsStopped) as stopped:
            ask(server, [asked(f"q{i}") for i in range(30)], tmp_path / "c.sqlite", concurrency=3)
        assert server.count <= 3
    assert line in str(stopped.value) and "\n" not in str(stopped.value)


def test_no_message_shows_the_key(tmp_path):
    server = ScriptedLLM(lambda _: Failure(401, f"bad key {KEY}"))
    with server, pytest.raises(CallsStopped) as stopped:
        ask(server, [asked("q")], tmp_path / "c.sqlite")
    assert KEY not in str(stopped.value) and "***" in str(stopped.value)
    with ScriptedLLM(lambda _: Failure(400, f"bad key {KEY}")) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite")
    assert KEY not in repr(reply)
    assert KEY.encode() not in (tmp_path / "c.sqlite").read_bytes()


def test_usage_is_recorded_before_the_content_is_judged(tmp_path):
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    answers = [{"choices": [], "usage": usage}, "fine"]
    with ScriptedLLM(lambda _: answers.pop(0)) as server:
        (reply,) = ask(
            server,
            [asked("q")],
            tmp_path / "c.sqlite",
            usd_per_m_prompt=1.0,
            usd_per_m_completion=2.0,
        )
    assert reply.text == "fine" and reply.prompt_tokens == 1001 and reply.completion_tokens == 504
    assert reply.cost_usd == pytest.approx(0.001 + 0.001 + 1e-6 + 8e-6)


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"message": {"content": ""}, "finish_reason": "stop"}, "empty answer"),
        ({"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}, "refused: no"),
        ({"message": {"content": "half"}, "finish_reason": "length"}, "cut: length"),
    ],
)
def test_an_unusable_answer_is_an_error_and_is_not_bought_again(tmp_path, choice, error):
    with ScriptedLLM(lambda _: {"choices": [choice], "usage": {"completion_tokens": 1}}) as server:
        for _ in range(2):
            (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite")
            assert (reply.text, reply.error) == ("", error)
        assert server.count == 1


PAID = {"wrong types": wrong_types(), "wrong count": wrong_count()}


@pytest.mark.parametrize("failure", PAID.values(), ids=PAID)
def test_an_answer_without_a_message_is_asked_for_thrice_and_then_never_again(tmp_path, failure):
    with ScriptedLLM(lambda _: failure) as server:
        for _ in range(2):
            bad, good = ask(server, [asked("q"), asked("q")], tmp_path / "c.sqlite")
            assert server.count == 3
    assert bad.error == "malformed: 200 without a chat completion (3 answers)"
    assert bad.completion_tokens == good.completion_tokens == 15 and not bad.lost


def test_what_the_reader_refuses_is_asked_again_and_a_better_reader_costs_nothing(tmp_path):
    answers = iter(["一", "二", "```json\n[3]\n```", "[4]"])

    def read(text):
        if not text.startswith("["):
            raise ValueError("no list")

    with ScriptedLLM(lambda _: next(answers)) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite", read=read)
        assert (reply.error, server.count) == ("malformed: no list (3 answers)", 3)
        assert reply.text.startswith("```")
        later = ask(server, [asked("q")], tmp_path / "c.sqlite", read=read_json)
        assert (later[0].text, later[0].error, server.count) == (reply.text, "", 3)
    assert later[0].cached and later[0].completion_tokens == reply.completion_tokens


@pytest.mark.parametrize(
    ("failure", "error"), [(refusal("不行"), "refused: 不行"), (truncated(), "cut: length")]
)
def test_what_the_model_declines_or_cuts_off_is_paid_once_and_said(tmp_path, failure, error):
    with ScriptedLLM(lambda _: failure) as server:
        replies = [ask(server, [asked("q")], tmp_path / "c.sqlite")[0] for _ in range(2)]
        assert [r.error for r in replies] == [error] * 2 and server.count == 1


def test_a_request_that_is_asked_again_does_not_pass_the_budget(tmp_path):
    prices = {"usd_per_m_prompt": 0.0, "usd_per_m_completion": 1e6}  # a dollar a token
    with ScriptedLLM(lambda _: "12345") as server:
        options = {"budget_usd": 16.0, "read": read_json, **prices}
        (reply,) = ask(server, [asked("q", max_tokens=10)], tmp_path / "c.sqlite", **options)
        assert server.count == 2  # 5, then 5 + 10 fit; 10 + 10 do not
    assert (reply.error, reply.cost_usd) == ("budget", 10.0)


def test_the_budget_is_not_passed_even_by_calls_under_way(tmp_path):
    prices = {"usd_per_m_prompt": 0.0, "usd_per_m_completion": 1e6}  # a dollar a token
    requests = [asked(f"q{i}", max_tokens=10) for i in range(20)]
    with ScriptedLLM(lambda _: "12345") as server:
        options = {"budget_usd": 42.0, "concurrency": 8} | prices
        replies = ask(server, requests, tmp_path / "c.sqlite", **options)
        paid = [r for r in replies if not r.error]
        assert sum(r.cost_usd for r in paid) <= 42 and server.count == len(paid) == 7
        assert {r.error for r in replies} == {"", "budget"}
        again = ask(server, requests, tmp_path / "c.sqlite", **options)
        assert server.count == 7 and sum(not r.error for r in again) == 7


def test_at_most_so_many_calls_run_at_once(tmp_path):
    def respond(_request):
        time.sleep(0.03)
        return "ok"

    with ScriptedLLM(respond) as server:
        ask(server, [asked(f"q{i}") for i in range(20)], tmp_path / "c.sqlite", concurrency=4)
        assert 2 <= server.most_at_once <= 4


def test_it_runs_inside_a_running_loop(tmp_path):
    async def notebook():
        with ScriptedLLM(echo) as server:
            return ask(server, [asked("q")], tmp_path / "c.sqlite")

    assert asyncio.run(notebook())[0].text == "to q"


def test_options_that_cannot_work_are_refused_at_the_door(tmp_path):
    with pytest.raises(ValueError, match="base_url 'api.openai.com'"):
        complete_all([], base_url="api.openai.com", api_key=KEY, model="m", cache=tmp_path / "c")
    with pytest.raises(ValueError, match="a budget needs prices"):
        complete_all(
            [], base_url="http://x", api_key=KEY, model="m", cache=tmp_path / "c", budget_usd=1
        )


def test_a_killed_run_goes_on_without_paying_twice(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom curation.llm import complete_all\n"
        "requests = [{'messages': [{'role': 'user', 'content': f'q{i}'}]} for i in range(30)]\n"
        "complete_all(requests, base_url=sys.argv[1], api_key='x', model='m',"
        " cache=Path(sys.argv[2]), concurrency=1)\n"
    )
    cache = tmp_path / "calls.sqlite"

    def respond(request):
        if len(server.requests) == 12:
            os.kill(child.pid, signal.SIGKILL)
        return echo(request)

    with ScriptedLLM(respond) as server:
        command = [sys.executable, "-c", code, server.base_url, str(cache)]
        root = Path(__file__).parents[2]
        child = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": "."})
        assert child.wait() == -signal.SIGKILL
        replies = ask(server, [asked(f"q{i}") for i in range(30)], cache)
        asked_for = [r["messages"][0]["content"] for r in server.requests]
    assert sum(r.cached for r in replies) == 11 and {r.error for r in replies} == {""}
    assert sorted(asked_for) == sorted([f"q{i}" for i in range(30)] + ["q11"])  # the one under way


def test_the_ledger_is_a_plain_table(tmp_path):
    with ScriptedLLM(echo) as server:
        (reply,) = ask(server, [asked("q")], tmp_path / "c.sqlite")
    with sqlite3.connect(tmp_path / "c.sqlite") as database:
        key, request, body = database.execute("select key, request, body from calls").fetchone()
    database.close()
    assert key == reply.key and json.loads(request) == asked("q") and "to q" in body
    assert isinstance(reply, Reply)
