"""The HTTP door of the inbox: `POST /v1/bad-cases`, acknowledged when it is on disk.

The answer says of each line what became of it. Whatever is not answered with 200 may be sent again:
a case that is known already adds nothing. Neither bodies nor tokens are written to any log.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from curation.delivery import Outcome
from curation.intake_commit import Busy, Committer
from curation.intake_forms import AUTO, read_forms
from curation.intake_post import MAX_LINES, TooLarge, gunzip, read_body
from pipelines.http_parts import Bodies, Hold, Refused, check_sender, later
from pipelines.paths import INTAKE_TOKEN

PATH = "/v1/bad-cases"


@dataclass(frozen=True)
class Rules:
    """Who may post and how much: `token` "" takes anybody on this machine who is no web page."""

    token: str = ""
    max_bytes: int = 8 << 20
    form: str = AUTO
    gold: str = ""


def make_app(committer: Committer, rules: Rules) -> Starlette:
    """The application; it closes the committer when it is shut down."""
    door = _Door(committer, rules)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(committer.close)

    routes = [
        Route(PATH, _answered(door.post), methods=["POST"]),
        Route("/health", door.health, methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


class _Door:
    """Checks a request before its body is read, and holds only so many bytes of bodies."""

    def __init__(self, committer: Committer, rules: Rules):
        self._committer, self._rules = committer, rules
        self._bodies = Bodies(rules.max_bytes)

    async def post(self, request: Request) -> JSONResponse:
        check_sender(request.headers, self._rules.token, variable=INTAKE_TOKEN)
        with self._bodies.holding() as hold:
            cases = await run_in_threadpool(self._cases, await self._body(request, hold))
            try:
                outcomes = await asyncio.wrap_future(self._committer.submit(cases))
            except Busy as error:
                raise later(str(error)) from None
            except Exception as error:  # a full disk, a damaged inbox: for the operator to see
                print(f"winnow: a delivery failed: {error}", file=sys.stderr, flush=True)
                said = error.strerror if isinstance(error, OSError) else "the inbox is damaged"
                raise later(f"nothing was taken: {said}") from None
        return JSONResponse(_said(outcomes))

    async def health(self, _: Request) -> JSONResponse:
        """Whether the last delivery went well; for load balancers, so without a token."""
        failed = bool(self._committer.failed)
        return JSONResponse({"status": "failing" if failed else "ok"}, 503 if failed else 200)

    def _cases(self, body: bytes) -> list[tuple[str, Any]]:
        try:
            cases = read_forms(read_body(body), form=self._rules.form, gold=self._rules.gold)
            every = [*cases]
        except TooLarge as error:
            raise Refused(413, str(error)) from None
        if len(every) > MAX_LINES:
            raise Refused(413, f"more than {MAX_LINES:,} cases: send them in several posts")
        return every

    async def _body(self, request: Request, hold: Hold) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise Refused(415, f"Content-Encoding {encoding!r:.40} is neither gzip nor identity")
        body = await self._bodies.read(request, hold)
        if encoding == "gzip":
            body = await run_in_threadpool(self._unpacked, body)
            hold(len(body))
        return body

    def _unpacked(self, body: bytes) -> bytes:
        try:
            return gunzip(body, max_bytes=self._rules.max_bytes)
        except TooLarge as error:
            raise Refused(413, str(error)) from None
        except ValueError as error:
            raise Refused(400, str(error)) from None


def _answered(
    post: Callable[[Request], Awaitable[JSONResponse]],
) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def endpoint(request: Request) -> JSONResponse:
        try:
            return await post(request)
        except Refused as error:
            return JSONResponse({"error": error.reason}, error.status, error.headers)

    return endpoint


def _said(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    counts = {name: 0 for name in ("new", "known", "quarantined")}
    for one in outcomes:
        counts[one.outcome] += 1
    lines = [{k: v for k, v in asdict(one).items() if v} for one in outcomes]
    return {**counts, "lines": lines}
