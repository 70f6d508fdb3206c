"""What an endpoint sent, read without trust: is it an answer, try again, wait, or stop the run.

A 200 may hold a web page, half a JSON text or no message; a 429 may mean a moment or an empty
account. The decision looks at the status, the error code and the body, and nothing else.
"""

import contextlib
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from curation.json_text import parse_json

NO_CHAT = "200 without a chat completion"
_FORM = re.compile(r"response_format|json_schema|json_object|json mode|structured output", re.I)


def judge_answer(status: int, body: str) -> tuple[str, str]:
    """(fate, reason) for what came back: `answered`, where the reason says what is wrong with the
    text, `malformed` (paid for, and no message in it), `again`, `limited`, `refused` or `stop`."""
    if status == 200:
        value = parse_body(body)
        error = read_content(value)[1]
        paid = isinstance(value, dict) and bool(value.keys() & {"choices", "usage"})
        return ("answered" if error != NO_CHAT else "malformed" if paid else "again"), error
    said = part(parse_body(body), "error")
    message = part(said, "message") or body
    reason = f"{status or 'failed'}: {' '.join(str(message).split())[:200]}"
    code = f"{part(said, 'code')} {part(said, 'type')}"
    if status in (401, 403):
        return "stop", f"the key was refused ({reason}); check the api_key variable"
    if status == 402 or "quota" in code or "billing" in code:
        return "stop", f"the account is out of quota ({reason})"
    if status == 404 or 300 <= status < 400:
        return "stop", f"no chat completions here ({reason}); check base_url and model"
    if status == 429:
        return "limited", reason
    return ("again" if status in (0, 408, 409, 425) or status >= 500 else "refused"), reason


def read_content(body: Any) -> tuple[str, str]:
    """(text, error) of a chat completion."""
    choices = part(body, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = part(choice, "message")
    if not isinstance(message, dict):
        return "", NO_CHAT
    if part(choice, "finish_reason") in ("length", "content_filter"):
        return "", f"cut: {part(choice, 'finish_reason')}"
    text, refusal = message.get("content"), message.get("refusal")
    if isinstance(refusal, str) and refusal and not text:
        return "", f"refused: {' '.join(refusal.split())[:100]}"
    return (text, "") if isinstance(text, str) and text.strip() else ("", "empty answer")


def names_form(status: int, body: str) -> bool:
    """Whether a refusal is about the form of the answer that was asked for."""
    return status in (400, 422) and bool(_FORM.search(body))


def plainer_form(request: Mapping[str, Any], level: int) -> dict[str, Any]:
    """A request that asks for no more than an endpoint can: 0 a schema, 1 JSON, 2 nothing."""
    form = request.get("response_format")
    if form is None or level == 0:
        return dict(request)
    rest = {key: value for key, value in request.items() if key != "response_format"}
    return rest if level >= 2 else rest | {"response_format": {"type": "json_object"}}


def next_level(request: Mapping[str, Any], level: int) -> int:
    """The level to try once this one is refused; the same when there is no plainer one."""
    form = request.get("response_format")
    if form is None or level >= 2:
        return level
    return 1 if level == 0 and part(form, "type") == "json_schema" else 2


def parse_body(body: str) -> Any:
    """The JSON value of a body; None when it is not JSON."""
    try:
        return parse_json(body)
    except ValueError:
        return None


def part(value: Any, name: str) -> Any:
    """`value[name]` of an object; None for anything else."""
    return value.get(name) if isinstance(value, dict) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the endpoint asks to wait, from `Retry-After` in seconds or as a date."""
    value = headers.get("retry-after") or ""
    with contextlib.suppress(ValueError):  # then it is a date
        return max(0.0, float(value))
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
