"""The HTTP door of the inbox: `POST /v1/bad-cases`, acknowledged when it is on disk.

The answer says of each line what became of it. Whatever is not answered with 200 may be sent again:
a case that is known already adds nothing. Neither bodies nor tokens are written to any log.
"""

import asyncio
import hmac
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from curation.delivery import Outcome
from curation.intake_commit import Busy, Committer
from curation.intake_forms import AUTO, read_forms
from curation.intake_post import MAX_LINES, TooLarge, gunzip, read_body

PATH = "/v1/bad-cases"
LOCAL = ("127.0.0.1", "::1", "localhost")
BODY_S = 30.0
"""Time that a body may take to arrive."""
HELD_BODIES = 8
"""Times the largest body that all bodies together may hold in memory."""


class Refused(Exception):
    """A request that is answered with another status than 200, and why."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


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
        self._held = 0

    async def post(self, request: Request) -> JSONResponse:
        _check_sender(request.headers, self._rules.token)
        with self._holding() as hold:
            cases = await run_in_threadpool(self._cases, await self._body(request, hold))
            try:
                outcomes = await asyncio.wrap_future(self._committer.submit(cases))
            except Busy as error:
                raise _later(str(error)) from None
            except Exception as error:  # a full disk, a damaged inbox: for the operator to see
                print(f"winnow: a delivery failed: {error}", file=sys.stderr, flush=True)
                said = error.strerror if isinstance(error, OSError) else "the inbox is damaged"
                raise _later(f"nothing was taken: {said}") from None
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

    async def _body(self, request: Request, hold: Callable[[int], None]) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise Refused(415, f"Content-Encoding {encoding!r:.40} is neither gzip nor identity")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._rules.max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._read(request, hold)
        except TimeoutError:
            raise Refused(408, f"the body took longer than {BODY_S:g} s") from None
        except ClientDisconnect:
            raise Refused(400, "the body ended too early") from None
        if encoding == "gzip":
            body = await run_in_threadpool(self._unpacked, body)
            hold(len(body))
        return body

    async def _read(self, request: Request, hold: Callable[[int], None]) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._rules.max_bytes:
                raise self._too_large()
            hold(len(part))
            parts.append(part)
        return b"".join(parts)

    @contextmanager
    def _holding(self) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of one request while it is in hand."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            mine += size
            self._held += size
            if self._held > HELD_BODIES * self._rules.max_bytes:
                raise _later("too many large bodies at once")

        try:
            yield hold
        finally:
            self._held -= mine

    def _unpacked(self, body: bytes) -> bytes:
        try:
            return gunzip(body, max_bytes=self._rules.max_bytes)
        except TooLarge as error:
            raise Refused(413, str(error)) from None
        except ValueError as error:
            raise Refused(400, str(error)) from None

    def _too_large(self) -> Refused:
        return Refused(413, f"more than {self._rules.max_bytes:,} bytes: send several posts")


def _answered(
    post: Callable[[Request], Awaitable[JSONResponse]],
) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def endpoint(request: Request) -> JSONResponse:
        try:
            return await post(request)
        except Refused as error:
            return JSONResponse({"error": error.reason}, error.status, error.headers)

    return endpoint


def _check_sender(headers: Mapping[str, str], token: str) -> None:
    """Refuse who does not know the token; without one, what a web page had a browser send here."""
    if token:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(_digest(given.strip()), _digest(token))
        if scheme.lower() != "bearer" or not right:
            raise Refused(401, "no valid bearer token", {"WWW-Authenticate": "Bearer"})
        return
    if "origin" in headers or _hostname(headers.get("host", "")) not in LOCAL:
        raise Refused(403, "from a browser or another host: set WINNOW_INTAKE_TOKEN")


def _hostname(host: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _later(reason: str) -> Refused:
    return Refused(503, reason, {"Retry-After": "5"})


def _said(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    counts = {name: 0 for name in ("new", "known", "quarantined")}
    for one in outcomes:
        counts[one.outcome] += 1
    lines = [{k: v for k, v in asdict(one).items() if v} for one in outcomes]
    return {**counts, "lines": lines}
