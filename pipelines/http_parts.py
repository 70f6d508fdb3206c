"""What the HTTP doors share: who may post, how large a body may be, what the others are told."""

import asyncio
import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request

LOCAL = ("127.0.0.1", "::1", "localhost")
BODY_S = 30.0
"""Time that a body may take to arrive."""
HELD_BODIES = 8
"""Times the largest body that all bodies together may hold in memory."""
Hold = Callable[[int], None]


class Refused(Exception):
    """A request that is answered with another status than 200, and why."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


def later(reason: str) -> Refused:
    """503: the same request may go well in a moment."""
    return Refused(503, reason, {"Retry-After": "5"})


def check_sender(headers: Mapping[str, str], token: str, *, variable: str) -> None:
    """Refuse who does not know the token; without one, what a web page had a browser send here.

    `variable` is where the token stands in the environment, for the one who has to set it.
    """
    if token:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(_digest(given.strip()), _digest(token))
        if scheme.lower() != "bearer" or not right:
            raise Refused(401, "no valid bearer token", {"WWW-Authenticate": "Bearer"})
        return
    if "origin" in headers or _hostname(headers.get("host", "")) not in LOCAL:
        raise Refused(403, f"from a browser or another host: set {variable}")


class Bodies:
    """The bodies of requests in hand, none larger than `max_bytes` and only so many at a time."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._held = 0

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Counts the bytes of one request while it is in hand; refuses what is too much of all."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            mine += size
            self._held += size
            if self._held > HELD_BODIES * self.max_bytes:
                raise later("too many large bodies at once")

        try:
            yield hold
        finally:
            self._held -= mine

    async def read(self, request: Request, hold: Hold) -> bytes:
        """The body; one that says that it is too large is refused before a byte of it is read."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(BODY_S):
                return await self._take(request, hold)
        except TimeoutError:
            raise Refused(408, f"the body took longer than {BODY_S:g} s") from None
        except ClientDisconnect:
            raise Refused(400, "the body ended too early") from None

    async def _take(self, request: Request, hold: Hold) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self.max_bytes:
                raise self._too_large()
            hold(len(part))
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"more than {self.max_bytes:,} bytes in one post")


def _hostname(host: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
