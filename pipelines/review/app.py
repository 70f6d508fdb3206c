"""The web application of a desk where people judge: a page, its files and a JSON API.

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
from pipelines.review.calls import Desk, calls_of

HERE = Path(__file__).parent
TOKEN_HEADER = "x-winnow-token"
LONGEST_BODY = 1_000_000
SCRIPTS = ("frame.js", "judge.js", "page.js", "sides.js", "view.js", "words.js")
SCRIPT_OF = {"row": "page.js", "pair": "judge.js", "rating": "judge.js"}
FILES = {"page.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def review_app(
    desk: Desk, *, token: str, hosts: Sequence[str], shown: bool, reviewer: str = ""
) -> Starlette:
    """The application over a desk.

    `hosts` are the names it answers to, `["*"]` for any. Where the token is `shown`, the page that
    is served holds it; else the reviewer types it in. `reviewer` is a name to begin with.
    """
    page = (HERE / "page.html").read_text(encoding="utf-8")
    given = {"token": token if shown else "", "reviewer": reviewer}
    given |= {"kind": desk.kind, "script": SCRIPT_OF[desk.kind]}
    for name, value in given.items():
        page = page.replace(f"{{{{{name}}}}}", escape(value))
    calls = calls_of(desk)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(page)

    async def show_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return JSONResponse({"error": "there is no such file"}, 404)
        return FileResponse(HERE / name, media_type=FILES[name])

    async def answer_call(request: Request) -> Response:
        call = calls.get(request.path_params["name"])
        if call is None:
            return JSONResponse({"error": "there is no such call"}, 404)
        return await _answer(request, call)

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
