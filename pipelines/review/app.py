"""The web application of the review page: a few static files and a JSON API over a desk.

The page is for people on this machine or behind a token. Every call of the API carries the token in
a header of its own, which no other site can make a browser send, and the names that this server may
be called by are fixed, so that no other name can be made to lead here.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from curation.json_text import parse_json
from curation.review_desk import Desk

HERE = Path(__file__).parent
TOKEN_HEADER = "x-winnow-token"
LONGEST_BODY = 1_000_000
FILES = {"page.js": "text/javascript", "view.js": "text/javascript", "words.js": "text/javascript",
         "page.css": "text/css"}  # fmt: skip
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
Call = Callable[[Desk, Mapping[str, Any]], Any]


def review_app(
    desk: Desk, *, token: str, hosts: Sequence[str], shown: bool, reviewer: str = ""
) -> Starlette:
    """The application over a desk.

    `hosts` are the names it answers to, `["*"]` for any. Where the token is `shown`, the page that
    is served holds it; else the reviewer types it in. `reviewer` is a name to begin with.
    """
    page = (HERE / "page.html").read_text(encoding="utf-8")
    for name, value in (("token", token if shown else ""), ("reviewer", reviewer)):
        page = page.replace(f"{{{{{name}}}}}", escape(value))

    async def show_page(_: Request) -> Response:
        return HTMLResponse(page)

    async def show_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return JSONResponse({"error": "there is no such file"}, 404)
        return FileResponse(HERE / name, media_type=FILES[name])

    async def answer_call(request: Request) -> Response:
        call = CALLS.get(request.path_params["name"])
        if call is None:
            return JSONResponse({"error": "there is no such call"}, 404)
        return await _answer(request, lambda said: call(desk, said))

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/files/{name}", show_file),
            Route("/api/{name}", answer_call, methods=["POST"]),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False),
            Middleware(BaseHTTPMiddleware, dispatch=_guard(token)),
        ],
    )


def _guard(token: str) -> Callable[..., Awaitable[Response]]:
    """Lets calls pass that know the token; every answer has the headers of a closed page."""

    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get(TOKEN_HEADER, "").encode()
        if request.url.path.startswith("/api/") and not hmac.compare_digest(given, token.encode()):
            response: Response = JSONResponse({"error": "wrong token"}, 401)
        else:
            response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    return guard


async def _answer(request: Request, call: Callable[[Mapping[str, Any]], Any]) -> Response:
    """What a call comes to; what a person can mend is one line under `error`."""
    try:
        said = parse_json((await _read_body(request)).decode("utf-8"))
        if not isinstance(said, dict):
            raise ValueError("the body is not a JSON object")
        return _json(await run_in_threadpool(call, said))
    except LookupError as error:
        return JSONResponse({"error": str(error)}, 404)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)


async def _read_body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY:
            raise ValueError(f"the body is longer than {LONGEST_BODY:,} bytes")
    return body


def _json(value: Any) -> Response:
    """JSON with real characters; a score that is no number is none."""
    try:
        said = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        said = json.dumps(_finite(value), ensure_ascii=False)
    return Response(said.encode("utf-8", "backslashreplace"), media_type="application/json")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [*map(_finite, value)]
    return None if isinstance(value, float) and value - value != 0 else value


def _next(desk: Desk, said: Mapping[str, Any]) -> dict[str, Any]:
    name = _text(said, "reviewer")
    return {"item": desk.next_item(name), "progress": desk.progress(name)}


def _say(desk: Desk, said: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: _text(said, name, "") for name in ("reason", "answer")}
    seconds = said.get("seconds", 0.0)
    if not isinstance(seconds, int | float):
        raise ValueError(f"'seconds' is {seconds!r:.80}, not a number")
    row, verdict = _text(said, "id"), _text(said, "verdict")
    desk.say(_text(said, "reviewer"), row, verdict, seconds=float(seconds), **words)
    return _next(desk, said)


def _skip(desk: Desk, said: Mapping[str, Any]) -> dict[str, Any]:
    desk.skip(_text(said, "reviewer"), _text(said, "id"))
    return _next(desk, said)


def _undo(desk: Desk, said: Mapping[str, Any]) -> dict[str, Any]:
    name = _text(said, "reviewer")
    return {"item": desk.undo(name), "progress": desk.progress(name)}


def _check(desk: Desk, said: Mapping[str, Any]) -> dict[str, Any]:
    return {"reason": desk.check(_text(said, "id"), _text(said, "answer"))}


def _report(desk: Desk, _: Mapping[str, Any]) -> dict[str, Any]:
    return {"agreement": desk.agreement(), "samples": desk.samples()}


CALLS: dict[str, Call] = {
    "next": _next,
    "say": _say,
    "skip": _skip,
    "undo": _undo,
    "check": _check,
    "report": _report,
}


def _text(said: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = said.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {value!r:.80}, not text")
    return value
