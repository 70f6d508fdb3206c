"""The HTTP door of a served model: `POST /v1/chat/completions`, as OpenAI's clients ask it.

It passes requests on to the server of an arm's version, puts in what the model was trained with,
and writes down each question and answer. `POST /v1/feedback` says of an answer, by its id, what it
should have been: that is a bad case of the version then. Neither bodies nor tokens are printed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from curation.delivery import Outcome
from curation.intake_commit import Busy, Committer
from curation.json_text import check_decoded, parse_json
from curation.rows import canonical_json, digest
from curation.served import ServedLog, find_answer
from pipelines.http_parts import Bodies, Refused, check_sender, later
from pipelines.model_arms import Arm, draw_arm
from pipelines.model_feedback import bad_case_of, read_feedback
from pipelines.model_turn import StreamedAnswer, Turn, answer_whole, error_body, written
from pipelines.model_upstream import Upstream, UpstreamFailed
from pipelines.paths import MODEL_TOKEN

COMPLETIONS, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class DoorRules:
    """Who may ask and how much: `token` "" takes anybody on this machine who is no web page.

    `system` is put before messages that have no system turn; the last arm gets the share `split`.
    """

    token: str = ""
    system: str = ""
    split: float = 0.0
    max_bytes: int = 8 << 20
    timeout_s: float = 120.0


def make_model_app(
    arms: Sequence[Arm], log: ServedLog, committer: Committer, rules: DoorRules
) -> Starlette:
    """The application; it closes the log and the committer when it is shut down."""
    door = _Door(arms, log, committer, rules)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await door.upstream.close()
        await run_in_threadpool(log.close)
        await run_in_threadpool(committer.close)

    routes = [
        Route(COMPLETIONS, _answered(door.complete), methods=["POST"]),
        Route(FEEDBACK, _answered(door.rate), methods=["POST"]),
        Route("/v1/models", _answered(door.models), methods=["GET"]),
        Route("/health", door.health, methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


class _Door:
    def __init__(self, arms: Sequence[Arm], log: ServedLog, committer: Committer, rules: DoorRules):
        self._arms, self._log, self._committer, self._rules = arms, log, committer, rules
        self._bodies = Bodies(rules.max_bytes)
        self.upstream = Upstream(timeout_s=rules.timeout_s)

    async def complete(self, request: Request) -> Response:
        """An answer of the version that the arm of the one who asks serves."""
        said = await self._said(request)
        messages = _check_messages(said.get("messages"))
        unit = digest(said.get("user") or _first_question(messages))
        arm = draw_arm(self._arms, unit, split=self._rules.split)
        asked = _with_system(messages, self._rules.system)
        async with AsyncExitStack() as held:
            turn = Turn(arm, held.enter_context(arm.taking()), unit, asked, self._log)
            try:
                body = _ask_as_evaluated(said, turn)
                answer = await held.enter_async_context(
                    self.upstream.ask(turn.serving.server, body)
                )
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    return StreamedAnswer(turn, self.upstream, answer, held.pop_all())
                return await answer_whole(turn, self.upstream, answer)
            except UpstreamFailed as error:
                await written(turn.finish(status=error.status, error=error.reason))
                raise Refused(error.status, error.reason, turn.headers) from None
            except asyncio.CancelledError:
                turn.finish(status=499, error="who asked went away")
                raise

    async def rate(self, request: Request) -> Response:
        """What becomes of the bad case that an answer is; 200 means that it is on disk."""
        try:
            feedback = read_feedback(await self._said(request))
            answer = await run_in_threadpool(find_answer, self._log.path, feedback.id)
            if answer is None:
                raise Refused(404, f"no answer has the id {feedback.id!r:.80}")
            cases = bad_case_of(answer, feedback)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        try:
            outcomes = await asyncio.wrap_future(self._committer.submit(cases)) if cases else ()
            await asyncio.wrap_future(self._log.put(feedback))
        except Busy as error:
            raise later(str(error)) from None
        except Exception as error:  # a full disk, a damaged inbox: for the operator to see
            print(f"winnow: feedback was not taken: {error}", file=sys.stderr, flush=True)
            raise later("nothing was taken: see the server's output") from None
        return JSONResponse({"id": feedback.id, **_said_of(outcomes)})

    async def models(self, request: Request) -> Response:
        """The versions that answer, as OpenAI's clients list them."""
        self._check(request)
        labels = [arm.serving.label for arm in self._arms]
        every = [{"id": label, "object": "model", "owned_by": "winnow"} for label in labels]
        return JSONResponse({"object": "list", "data": every})

    async def health(self, _: Request) -> Response:
        """Whether each arm has a server; for load balancers, so without a token."""
        problems = [arm.label for arm in self._arms if arm.serving.server.problem()]
        said = {
            "status": "failing" if problems else "ok",
            "arms": {arm.label: arm.serving.label for arm in self._arms},
            "log": "failing" if self._log.failed or self._committer.failed else "ok",
        }
        return JSONResponse(said, 503 if problems else 200)

    async def _said(self, request: Request) -> Any:
        """The JSON of a body that may be read."""
        self._check(request)
        with self._bodies.holding() as hold:
            body = await self._bodies.read(request, hold)
            try:
                said = parse_json(check_decoded(body.decode("utf-8", "surrogateescape")))
            except ValueError as error:
                raise Refused(400, str(error)) from None
        if not isinstance(said, dict):
            raise Refused(400, "the body is not a JSON object")
        return said

    def _check(self, request: Request) -> None:
        check_sender(request.headers, self._rules.token, variable=MODEL_TOKEN)


def _answered(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as error:
            return JSONResponse(error_body(error.status, error.reason), error.status, error.headers)

    return answer


def _check_messages(messages: Any) -> list[dict[str, Any]]:
    turns = messages if isinstance(messages, list) else []
    if not turns or not all(isinstance(t, dict) and isinstance(t.get("role"), str) for t in turns):
        raise Refused(400, "messages is not a list of turns, each with a role")
    return turns


def _first_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """The first turn of the user: a talk that grows stays in its arm."""
    asked = [turn.get("content") for turn in messages if turn["role"] == "user"]
    return canonical_json(asked[0] if asked else messages)


def _with_system(messages: list[dict[str, Any]], system: str) -> list[dict[str, Any]]:
    """The messages with the system turn that the model was trained with, where they have none."""
    if not system or any(turn["role"] in ("system", "developer") for turn in messages):
        return messages
    return [{"role": "system", "content": system}, *messages]


def _ask_as_evaluated(said: Mapping[str, Any], turn: Turn) -> dict[str, Any]:
    """The request as the version's server gets it: greedy unless it says otherwise, no user."""
    kept = {key: value for key, value in said.items() if key != "user"}
    named = {"model": turn.serving.server.model, "messages": turn.messages}
    return {"temperature": 0, **kept, **named}


def _said_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What became of the bad case; one without the right answer waits to be corrected."""
    said = [{"outcome": one.outcome, "case": one.id, "reason": one.reason} for one in outcomes]
    return {key: value for one in said for key, value in one.items() if value}
