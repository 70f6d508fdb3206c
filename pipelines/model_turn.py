"""One request on its way through the door: who answers it, what came so far, and that it is logged.

However it ends (answered, refused by the model's server, broken off, or left by the one who asked)
it is one line of the log, and the server that answers it is let go.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from curation.json_text import printable
from curation.presets._base import listed, said
from curation.rows import canonical_json
from curation.served import Answer, ServedLog
from pipelines.model_arms import Arm, Serving
from pipelines.model_upstream import Upstream, UpstreamFailed

ID_HEADER, VERSION_HEADER, ARM_HEADER = "x-winnow-id", "x-winnow-version", "x-winnow-arm"
BROKEN_OFF = "the model's server broke its answer off"
GONE = "who asked went away"
_OK = 200
_DATA, _END = "data:", "[DONE]"


@dataclass
class Turn:
    """A request, answered by a version; `finish` writes it down, once."""

    arm: Arm
    serving: Serving
    unit: str
    messages: list[Any]
    log: ServedLog
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    at: float = field(default_factory=time.time)
    text: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = False
    _begun: float = field(default_factory=time.monotonic)
    _written: "Future[None] | None" = None

    @property
    def headers(self) -> dict[str, str]:
        return {ID_HEADER: self.id, VERSION_HEADER: self.serving.label, ARM_HEADER: self.arm.label}

    def named(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What a server said, under our id and with the version as its model."""
        return {**said, "id": self.id, "model": self.serving.label}

    def finish(self, *, status: int = _OK, error: str = "") -> "Future[None]":
        """Done when what came of it is on disk; what it is finished with first counts."""
        if self._written is None:
            asked, made = (self.usage.get(f"{kind}_tokens") for kind in ("prompt", "completion"))
            self._written = self.log.put(
                Answer(
                    id=self.id,
                    at=self.at,
                    arm=self.arm.label,
                    version=self.serving.number,
                    version_id=self.serving.version.values["id"],
                    unit=self.unit,
                    status=status,
                    error=error,
                    latency_s=time.monotonic() - self._begun,
                    prompt_tokens=asked if isinstance(asked, int) else None,
                    completion_tokens=made if isinstance(made, int) else None,
                    messages=canonical_json(self.messages),
                    answer=printable(self.text),
                )
            )
        return self._written


async def answer_whole(turn: Turn, upstream: Upstream, answer: Any) -> Response:
    """The answer of a server that does not stream, once it is written down."""
    body = await upstream.within(answer.aread())
    try:
        told: Any = json.loads(body)
    except ValueError:
        told = None
    choices = listed(said(told).get("choices"))
    if answer.status_code != _OK or not choices:
        raise _refusal(answer.status_code, told)
    turn.text, turn.usage = _text(choices[0].get("message")), said(said(told).get("usage"))
    await written(turn.finish())
    return JSONResponse(turn.named(said(told)), headers=turn.headers)


class StreamedAnswer(StreamingResponse):
    """The events of a server, passed on as they come; `held` is closed whatever happens."""

    def __init__(self, turn: Turn, upstream: Upstream, answer: Any, held: AsyncExitStack):
        events = _events(turn, upstream, answer)
        super().__init__(events, media_type="text/event-stream", headers=turn.headers)
        self._turn, self._held = turn, held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._turn.finish(status=499, error=GONE)


async def written(done: "Future[None]") -> None:
    """Wait for the disk. One that fails keeps nobody from his answer: /health says it."""
    await asyncio.wait([asyncio.wrap_future(done)])


async def _events(turn: Turn, upstream: Upstream, answer: Any) -> AsyncIterator[str]:
    """The events under our id, and the end that OpenAI's clients wait for."""
    deadline = asyncio.get_running_loop().time() + upstream.timeout_s
    lines = aiter(answer.aiter_lines())
    try:
        while (line := await upstream.within(anext(lines, None), deadline=deadline)) is not None:
            event = line.removeprefix(_DATA).strip() if line.startswith(_DATA) else ""
            if event == _END:
                turn.ended = True
                break
            if event:
                passed = _pass_on(turn, json.loads(event))
                yield f"{_DATA} {canonical_json(passed)}\n\n"
        if not turn.ended:  # `transformers serve` says no [DONE], so it goes by the reason to stop
            raise ValueError(BROKEN_OFF)
    except (UpstreamFailed, ValueError) as failed:
        error = BROKEN_OFF if isinstance(failed, json.JSONDecodeError) else str(failed)
        await written(turn.finish(status=502, error=error))
        yield f"{_DATA} {canonical_json(error_body(502, error))}\n\n"
        return
    await written(turn.finish())
    yield f"{_DATA} {_END}\n\n"


def _pass_on(turn: Turn, event: Any) -> Any:
    """An event under our id; what it adds to the answer is kept."""
    if not isinstance(event, dict) or "error" in event:
        raise ValueError(BROKEN_OFF)
    for choice in listed(event.get("choices")):
        if choice.get("index", 0) == 0:
            turn.text += _text(choice.get("delta"))
            turn.ended = turn.ended or bool(choice.get("finish_reason"))
    turn.usage = said(event.get("usage")) or turn.usage
    return turn.named(event)


def _text(message: Any) -> str:
    """What a message says; of one that calls tools, the calls as JSON."""
    content, calls = said(message).get("content"), said(message).get("tool_calls")
    if isinstance(content, str) and content:
        return content
    return canonical_json(calls) if calls else ""


def _refusal(status: int, told: Any) -> UpstreamFailed:
    """Why a server's answer is none; a mistake of the one who asked stays his."""
    if status == _OK:
        return UpstreamFailed(502, "the model's server sent no choices")
    reason = said(told).get("error", said(told).get("detail"))
    reason = said(reason).get("message", reason)
    line = f"the model's server answered {status}" + (f": {str(reason)[:300]}" if reason else "")
    return UpstreamFailed(status if 400 <= status < 600 else 502, line)  # noqa: PLR2004


def error_body(status: int, reason: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004
    return {"error": {"message": reason, "type": kind, "code": status}}
