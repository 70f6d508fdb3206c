"""The key goes to one host and is repeated by nobody: no file, no message, no metadata."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curation.augmenters.llm import llm
from curation.llm import CallsStopped, complete_all
from curation.llm_door import check_base_url, key_mask
from curation.scripted_llm import Failure, ScriptedLLM, broken_json, server_error

KEY = "sk-canary/9f2c+Q7"
ESCAPED = "".join(f"\\u{ord(c):04X}" for c in KEY)
SLASHED = KEY.replace("/", "\\/")
QUESTION = {"messages": [{"role": "user", "content": "q"}]}


def ask(base_url: str, cache: Path, *, key: str = KEY, **options):
    common = {"base_url": base_url, "api_key": key, "model": "m", "cache": cache}
    return complete_all([QUESTION], **common, max_attempts=2, **options)[0]  # type: ignore[arg-type]


def traces(folder: Path, *texts: str) -> list[str]:
    """Where the key stands, plain or spelt by JSON escapes."""
    spelt = [KEY, ESCAPED, ESCAPED.lower(), SLASHED]
    files = [p for p in folder.rglob("*") if p.is_file()]
    found = [str(p) for p in files if any(s.encode() in p.read_bytes() for s in spelt)]
    return found + [t for t in texts if any(s in t for s in spelt)]


def completion_text(text: str) -> Failure:
    return Failure(200, '{"choices": [{"message": {"content": "' + text + '"}}]}')


ECHOES = {
    "401": Failure(401, json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}})),
    "401 escaped": Failure(401, '{"error": {"message": "Incorrect API key: ' + ESCAPED + '"}}'),
    "401 cut": Failure(401, json.dumps({"error": {"message": "x" * 180 + KEY}})),
    "400": Failure(400, f"bad key {SLASHED}"),
    "500": server_error(),
    "500 page": Failure(500, f"<html>Authorization: Bearer {KEY}</html>"),
    "200 broken": broken_json(),
    "200 page": Failure(200, f"<html>Bearer {KEY}</html>"),
    "200 with it": completion_text(f"the key is {KEY}"),
    "200 escaped": completion_text(f"the key is {ESCAPED}"),
}


@pytest.mark.parametrize("failure", ECHOES.values(), ids=ECHOES)
def test_no_answer_brings_the_key_into_ledger_or_message(tmp_path, failure, capfd):
    with ScriptedLLM(lambda _: failure) as server:
        try:
            said = repr(ask(server.base_url, tmp_path / "c.sqlite"))
        except CallsStopped as stopped:
            said = repr(stopped) + str(stopped.__cause__) + str(stopped.__context__)
    assert not traces(tmp_path, said, *capfd.readouterr())
    assert KEY[:12] not in said


def test_the_ledger_keeps_a_masked_answer_and_it_is_still_an_answer(tmp_path):
    with ScriptedLLM(lambda _: ECHOES["200 escaped"]) as server:
        reply = ask(server.base_url, tmp_path / "c.sqlite")
        again = ask(server.base_url, tmp_path / "c.sqlite")
        assert server.count == 1
    assert reply.text == again.text == "the key is ***"
    (body,) = sqlite3.connect(tmp_path / "c.sqlite").execute("select body from calls").fetchone()
    assert json.loads(body)["choices"]


def test_a_word_that_stands_for_no_key_is_no_secret(tmp_path):
    with ScriptedLLM(lambda _: "EMPTY boxes") as server:
        assert ask(server.base_url, tmp_path / "c", key="EMPTY").text == "EMPTY boxes"
    assert key_mask("")("anything") == "anything"


def test_a_key_with_a_line_end_is_used_without_it_and_an_impossible_one_is_not_shown(tmp_path):
    with ScriptedLLM(lambda _: "fine") as server:
        assert ask(server.base_url, tmp_path / "c", key=f"{KEY}\n").text == "fine"
        for bad in (f"{KEY}\n{KEY}", f"{KEY}密", f"{KEY} {KEY}", f"{KEY}\0x"):
            with pytest.raises(ValueError, match="no header may carry") as stop:
                ask(server.base_url, tmp_path / "c", key=bad)
            assert KEY not in repr(stop.value)
        assert server.count == 1


@contextmanager
def another_host() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that writes down every request with its headers, whatever the method."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            seen.append(f"{self.command} {self.path} {self.headers}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_key_nowhere(tmp_path, status):
    with another_host() as (elsewhere, seen):
        to = f"{elsewhere}/v1/chat/completions"
        moved = Failure(status, "", {"Location": to})
        with ScriptedLLM(lambda _: moved) as server:
            with pytest.raises(CallsStopped, match=f"no chat completions here \\({status}"):
                ask(server.base_url, tmp_path / "c")
            assert server.count == 1
        assert seen == []
    assert not traces(tmp_path)


def test_the_recording_host_would_have_seen_a_followed_redirect(tmp_path):
    import urllib.request

    with another_host() as (elsewhere, seen):
        urllib.request.urlopen(f"{elsewhere}/x").read()
    assert len(seen) == 1 and seen[0].startswith("GET /x")


BAD_ADDRESSES = [
    f"https://user:{KEY}@api.example.com/v1",
    f"https://{KEY}@api.example.com/v1",
    f"https://api.example.com/v1?api_key={KEY}",
    f"https://api.example.com/v1#{KEY}",
    f"ftp://user:{KEY}@api.example.com/v1",
    "file:///etc/passwd",
    "unix:///run/llm.sock",
    "//api.example.com/v1",
    "api.example.com/v1",
    "http://",
    "http:///v1",
    "https://api.example.com\\@evil.example/v1",
    "https://api.example.com/v1\r\nX: y",
    "",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_with_a_secret_or_another_scheme_is_refused_before_any_call(tmp_path, address):
    for use in (lambda: llm(model="m", base_url=address), lambda: ask(address, tmp_path / "c")):
        with pytest.raises(ValueError, match="base_url") as stop:
            use()
        assert KEY not in str(stop.value) and "\n" not in str(stop.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1",
        "http://[::1]:8000/v1",
        "http://10.0.0.7/v1",
        "https://api.openai.com/v1",
    ],
)
def test_a_server_beside_the_pipeline_is_welcome(address):
    check_base_url(address)
