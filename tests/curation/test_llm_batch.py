"""The Batch API: one hand-in for many requests, found again by whoever comes next."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curation.json_text import read_json
from curation.llm import CallOptions, CallsStopped, complete_all
from curation.llm_ledger import Batch, Ledger
from curation.scripted_llm import Failure, ScriptedLLM, truncated, unsupported_form

KEY = "sk-never-shown-1234567890"


def asked(text, **options):
    return {"messages": [{"role": "user", "content": text}], **options}


def echo(request):
    return "to " + request["messages"][-1]["content"]


def ask(server, requests, cache, *, batch=True, **options):
    options = {"base_url": server.base_url, "api_key": KEY, "model": "m"} | options
    return complete_all(requests, cache=cache, calls=CallOptions(batch=batch), **options)


def test_all_requests_go_in_at_once_and_answers_are_shared_with_live_calls(tmp_path):
    cache = tmp_path / "c.sqlite"
    questions = [asked(f"问{i}") for i in range(30)]
    with ScriptedLLM(echo, batch_s=0.5) as server:
        ask(server, questions[:1], cache, batch=False)
        replies = ask(server, questions, cache)
        assert len(server.batches.batches) == 1 and server.count == 30
        again = ask(server, questions, cache, batch=False)
        assert server.count == 30
    assert [r.text for r in replies] == [r.text for r in again] == [f"to 问{i}" for i in range(30)]
    assert [r.cached for r in replies] == [True] + [False] * 29 and again[1].cached


def test_what_cannot_be_read_is_handed_in_again_and_what_is_refused_is_not(tmp_path):
    seen = []

    def respond(request):
        seen.append(text := request["messages"][0]["content"])
        if text == "long":
            return truncated()
        if text == "bad":
            return Failure(400, json.dumps({"error": {"message": f"content policy {KEY}"}}))
        return "[1]" if text == "good" or seen.count(text) == 2 else "好的"

    with ScriptedLLM(respond) as server:
        questions = [asked(text) for text in ("good", "bad", "second try", "long")]
        replies = ask(server, questions, tmp_path / "c.sqlite", read=read_json)
        assert len(server.batches.batches) == 2
    assert seen == ["good", "bad", "second try", "long", "second try"]
    assert [r.text for r in replies] == ["[1]", "", "[1]", ""]
    assert [r.error for r in replies] == ["", "400: content policy ***", "", "cut: length"]
    assert not any(r.lost for r in replies)


def test_a_form_that_the_endpoint_does_not_know_is_asked_for_plainer(tmp_path):
    def respond(request):
        return unsupported_form("json_object") if "response_format" in request else "{}"

    with ScriptedLLM(respond) as server:
        question = asked("q", response_format={"type": "json_object"})
        (reply,) = ask(server, [question], tmp_path / "c.sqlite")
        assert (reply.text, reply.error, server.count) == ("{}", "", 2)


CHILD = """
import sys
from pathlib import Path
from curation.llm import CallOptions, complete_all
requests = [{"messages": [{"role": "user", "content": f"q{i}"}]} for i in range(12)]
complete_all(requests, base_url=sys.argv[1], api_key="none", model="m", cache=Path(sys.argv[2]),
    calls=CallOptions(batch=True), report=lambda line: print(line, flush=True))
"""


def test_a_run_that_was_killed_while_it_waited_finds_its_batch_again(tmp_path):
    cache = tmp_path / "c.sqlite"
    with ScriptedLLM(echo, batch_s=4.0) as server:
        command = [sys.executable, "-c", CHILD, server.base_url, str(cache)]
        root, env = Path(__file__).parents[2], os.environ | {"PYTHONPATH": "."}
        child = subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert any("handed in as batch_0" in line for line in child.stdout)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        server.batches.batch_s = 0.0
        replies = ask(server, [asked(f"q{i}") for i in range(14)], cache)
        sizes = [b["request_counts"]["total"] for b in server.batches.batches.values()]
        assert sizes == [12, 2] and server.count == 14
    assert [r.text for r in replies] == [f"to q{i}" for i in range(14)]


def test_a_batch_whose_id_was_never_written_down_is_found_by_its_token(tmp_path):
    cache = tmp_path / "c.sqlite"
    with ScriptedLLM(echo) as server:
        ask(server, [asked("a")], cache)
        (only,) = server.batches.batches.values()
        for number in range(150):  # newer ones, so that it stands on the second page
            server.batches.batches[f"x{number}"] = {"id": f"x{number}", "metadata": {}}
        _forget_answers(cache, server, only["metadata"]["winnow"])
        (reply,) = ask(server, [asked("a")], cache)
        assert reply.text == "to a" and len(server.batches.batches) == 151 and server.count == 1
        _forget_answers(cache, server, "a token that the endpoint never saw")
        (reply,) = ask(server, [asked("a")], cache)
        assert reply.text == "to a" and len(server.batches.batches) == 152


def _forget_answers(cache, server, token):
    """The ledger as a run leaves it that was killed between handing in and writing down the id."""
    ledger = Ledger(cache)
    ledger._db.execute("delete from calls")
    ledger._db.commit()
    key = json.loads(server.batches.files["file_0"])["custom_id"]
    ledger.put_batch(f"{server.base_url} m", Batch(token, (key,)))
    ledger.close()


def leave_open(cache, server, *keys):
    """The ledger as a run leaves it that was killed before it forgot its batch."""
    ledger = Ledger(cache)
    ledger.put_batch(f"{server.base_url} m", Batch("t", keys, "batch_0"))
    ledger.close()


def test_a_file_that_is_collected_twice_is_counted_once(tmp_path):
    cache, answers = tmp_path / "c.sqlite", iter(["好的", "[1]"])
    with ScriptedLLM(lambda _: next(answers)) as server:
        (first,) = ask(server, [asked("a")], cache)
        leave_open(cache, server, first.key)
        (again,) = ask(server, [asked("a")], cache, read=read_json)
    assert (first.text, again.text, again.completion_tokens) == ("好的", "[1]", 2 + 3)


def test_answers_that_nobody_asks_for_this_time_wait_for_who_does(tmp_path):
    with ScriptedLLM(echo) as server:
        keys = [r.key for r in ask(server, [asked("a"), asked("b")], tmp_path / "other.sqlite")]
        cache = tmp_path / "c.sqlite"
        for question in ("a", "b"):
            if question == "a":
                leave_open(cache, server, *keys)
            (reply,) = ask(server, [asked(question)], cache)
            assert reply.text == f"to {question}"
        assert len(server.batches.batches) == 1 and server.count == 2
        ledger = Ledger(cache)
        assert ledger.open_batches(f"{server.base_url} m") == []
        ledger.close()


def test_a_batch_holds_to_the_budget(tmp_path):
    prices: dict[str, Any] = {"usd_per_m_prompt": 0.0, "usd_per_m_completion": 1e6}  # $1 a token
    with ScriptedLLM(lambda _: "12345") as server:
        questions = [asked(f"q{i}", max_tokens=10) for i in range(8)]
        replies = ask(server, questions, tmp_path / "c.sqlite", budget_usd=42.0, **prices)
        assert server.count == 4
    assert [r.error for r in replies] == [""] * 4 + ["budget"] * 4


def test_an_endpoint_without_batches_stops_the_run_with_one_line(tmp_path):
    with ScriptedLLM(echo) as server:
        server.batches.post = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(CallsStopped, match=r"no Batch API here \(404\); leave `batch` out$"):
            ask(server, [asked("a")], tmp_path / "c.sqlite")
