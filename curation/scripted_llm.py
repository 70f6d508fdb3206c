"""A language-model server that says what a script tells it, for testing recipes without a key.

It is a real HTTP server speaking `/v1/chat/completions`, as a stream too, and the Batch API, so the
client under test runs exactly the code it runs against a paid endpoint:

    with ScriptedLLM(lambda request: '{"rows": []}', failures=[rate_limited(0.1)]) as server:
        complete_all(requests, base_url=server.base_url, ...)
    assert server.count == 2  # the refused request and its repetition
"""

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curation.scripted_batches import ScriptedBatches


@dataclass(frozen=True)
class Failure:
    """An answer that is not a completion; `drip_s` sends the body a byte at a time for so long."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_s: float = 0.0


def rate_limited(retry_after_s: float) -> Failure:
    """429 that asks to wait; seconds may be a fraction."""
    headers = {"Retry-After": f"{retry_after_s:g}"}
    return Failure(429, _error("rate_limit_exceeded", "too many requests"), headers)


def quota_exhausted() -> Failure:
    """429 that no waiting cures."""
    return Failure(429, _error("insufficient_quota", "You exceeded your current quota"))


def refused_key() -> Failure:
    """401."""
    return Failure(401, _error("invalid_api_key", "Incorrect API key provided"))


def server_error(status: int = 500) -> Failure:
    """A failure of the server, 500 unless told."""
    return Failure(status, _error("server_error", "try again"))


def html_page() -> Failure:
    """200 with a web page, as proxies and captive portals send."""
    return Failure(200, "<html><body>Welcome</body></html>", {"Content-Type": "text/html"})


def broken_json() -> Failure:
    """200 whose JSON ends in the middle."""
    return Failure(200, '{"id": "x", "choices": [{"message": {"con')


def redirect(to: str) -> Failure:
    """307 to another place, which would be handed the key if it were followed."""
    return Failure(307, "", {"Location": to})


def refusal(text: str = "I cannot help with that.") -> Failure:
    """200 in which the model declines: no content, and why."""
    return _paid({"message": {"role": "assistant", "content": None, "refusal": text}})


def truncated(text: str = '{"rows": [{"prompt": "打开') -> Failure:
    """200 whose text was cut off at the longest answer allowed."""
    message = {"role": "assistant", "content": text}
    return _paid({"message": message, "finish_reason": "length"})


def wrong_types() -> Failure:
    """200 whose message is a list of numbers, paid for all the same."""
    return _paid({"message": [1, 2, 3], "finish_reason": "stop"})


def wrong_count() -> Failure:
    """200 without a single choice, paid for all the same."""
    return Failure(200, json.dumps({"choices": [], "usage": _USAGE}))


def unsupported_form(form: str) -> Failure:
    """400 of a server that knows no such `response_format`."""
    said = f"response_format type {form!r} is not supported"
    return Failure(400, _error("invalid_request_error", said))


def drip(seconds: float) -> Failure:
    """200 whose body comes a byte at a time and does not end before `seconds`."""
    return Failure(200, '{"id": "' + "x" * 10_000, drip_s=seconds)


_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def _paid(choice: Mapping[str, Any]) -> Failure:
    return Failure(200, json.dumps({"choices": [dict(choice)], "usage": _USAGE}))


Answer = str | Failure | Mapping[str, Any] | list[Any]


class ScriptedLLM:
    """Serves on a free port of this machine while the `with` block runs.

    `respond` gets the request body as a dict and returns the answer's text, a value to be sent as
    JSON text, a whole response (a mapping with `choices`), or a `Failure`. `failures` are used up
    first, one a request. `requests` holds every body received, in order of arrival. An answer takes
    `latency_s`; beyond `requests_per_s`, and a reserve of so many that fills up while few come, a
    request is refused at once with the whole seconds to wait. A batch is done after `batch_s`.
    """

    def __init__(
        self,
        respond: Callable[[dict], Answer],
        *,
        failures: Iterable[Failure] = (),
        latency_s: float = 0.0,
        requests_per_s: float | None = None,
        batch_s: float = 0.0,
        port: int = 0,
    ):
        self.respond = respond
        self.latency_s, self.limited = latency_s, 0
        self._bucket = Bucket(requests_per_s) if requests_per_s else None
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.batches = ScriptedBatches(self._answer_in_batch, batch_s)
        self._failures = list(failures)
        self._lock = threading.Lock()
        self._busy = 0
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.scripted = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def base_url(self) -> str:
        """What to give as `base_url`, ending in `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def count(self) -> int:
        """Requests received so far, refused ones included."""
        return len(self.requests)

    def __enter__(self) -> "ScriptedLLM":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: dict[str, Any]) -> Failure:
        """What goes over the wire for a request: a failure of the script or a completion."""
        with self._lock:
            self.requests.append(request)
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
            failure = self._failures.pop(0) if self._failures else self._limit()
        try:
            time.sleep(0 if failure else self.latency_s)
            said = failure or self.respond(request)
        finally:
            with self._lock:
                self._busy -= 1
        if isinstance(said, Failure):
            return said
        whole = completion(said, request)
        return events(whole) if request.get("stream") else Failure(200, json.dumps(whole))

    def _answer_in_batch(self, request: dict[str, Any]) -> tuple[int, str]:
        said = self.answer(request)
        return said.status, said.body

    def _limit(self) -> Failure | None:
        if self._bucket is None or (wait_s := self._bucket.take()) == 0:
            return None
        self.limited += 1
        return rate_limited(math.ceil(wait_s))


class Bucket:
    """A limit as endpoints have one: tokens that come at a rate, a second's worth at most."""

    def __init__(self, per_s: float):
        self.per_s = self.left = per_s
        self.at = time.monotonic()

    def take(self) -> float:
        """0 where a token was there, else the seconds until one comes."""
        now = time.monotonic()
        self.left = min(self.per_s, self.left + (now - self.at) * self.per_s)
        self.at = now
        if self.left < 1:
            return (1 - self.left) / self.per_s
        self.left -= 1
        return 0.0


def completion(
    said: str | Mapping[str, Any] | list[Any], request: Mapping[str, Any]
) -> dict[str, Any]:
    """A chat completion whose usage counts characters; a mapping with `choices` stays as it is."""
    if isinstance(said, Mapping) and "choices" in said:
        return dict(said)
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    asked = sum(len(str(m.get("content", ""))) for m in request.get("messages", ()))
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "model": request.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": len(text),
            "total_tokens": asked + len(text),
        },
    }


def events(whole: Mapping[str, Any]) -> Failure:
    """A chat completion as the events of a stream, a character each, the usage with the last."""
    named = {"id": whole.get("id"), "object": "chat.completion.chunk", "model": whole.get("model")}
    text = whole["choices"][0]["message"].get("content") or ""
    chunks: list[dict[str, Any]] = [
        {**named, "choices": [{"index": 0, "delta": {"content": letter}}]} for letter in text
    ]
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunks.append({**named, "choices": [end], "usage": whole.get("usage")})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return Failure(200, "".join([*lines, "data: [DONE]\n\n"]),
                   {"Content-Type": "text/event-stream"})  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    scripted: ScriptedLLM


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer one request for a completion, a file that is sent, or a batch."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/chat/completions"):
            self._send(self.server.scripted.answer(json.loads(body)))
        else:
            kind = self.headers.get("Content-Type", "")
            self._say(self.server.scripted.batches.post(self.path, kind, body))

    def do_GET(self) -> None:
        """Answer a question about batches and their files."""
        self._say(self.server.scripted.batches.get(self.path))

    def _say(self, said: Mapping[str, Any] | str | None) -> None:
        if said is None:
            self._send(Failure(404, _error("not_found", f"no such path: {self.path}")))
        else:
            text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
            self._send(Failure(200, text))

    def _send(self, answer: Failure) -> None:
        body = answer.body.encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self.send_response(answer.status)
        for name, value in (headers | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self._drip(body, answer.drip_s) if answer.drip_s else self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _drip(self, body: bytes, seconds: float) -> None:
        end = time.monotonic() + seconds
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.01)
            if time.monotonic() > end:
                break
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; the script's owner reads `requests`."""


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"message": message, "type": code, "code": code}})
