"""What is asked, by its key, and what recorded answers to it come to.

Asking and reading are apart: every answer that was paid for is kept as it came, and what it says is
decided anew each time it is read. A better reader finds in old answers what a worse one did not.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.llm_answers import judge_answer, parse_body, read_content
from curation.llm_ledger import Call
from curation.llm_options import CallOptions

Reader = Callable[[str], Any]
"""Takes an answer's text; raises `ValueError` with a short reason where it is no answer at all."""


class CallsStopped(RuntimeError):
    """The endpoint refuses the whole run: a wrong key, no quota, an unknown model."""


@dataclass(frozen=True)
class Reply:
    """The answer to one request; `error` is "" or why `text` is unusable.

    Tokens and `cost_usd` include earlier unusable answers to the same request. `cached` means that
    it was paid for in another run, `lost` that there was no answer, so that asking again may help.
    """

    key: str
    text: str
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    cached: bool = False
    lost: bool = False


def call_key(request: Mapping[str, Any], *, base_url: str, model: str) -> str:
    """32 hex digits naming what is asked of whom; the order of keys does not count."""
    asked = {"base_url": base_url.rstrip("/"), "model": model, "request": request}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_reply(
    key: str,
    calls: Sequence[Call],
    *,
    cached: bool = True,
    read: Reader | None = None,
    max_answers: int = CallOptions.max_answers,
) -> Reply | None:
    """The reply that archived answers to one request come to, oldest first.

    The first that `read` accepts; else the first that was cut off, refused or empty; else, once
    there are `max_answers` that nobody can read, the last with the reason. Otherwise None: it is to
    be asked again.
    """
    unusable, unreadable = "", []
    for call in calls:
        fate, error = judge_answer(200, call.body)
        text = read_content(parse_body(call.body))[0]
        if fate == "answered" and not error:
            error = _refusal(read, text)
            if not error:
                return reply_of(key, calls, text, cached=cached)
        elif fate == "answered":
            unusable = unusable or error
            continue
        if fate != "again":
            unreadable.append((text, error))
    if unusable:
        return reply_of(key, calls, error=unusable, cached=cached)
    if len(unreadable) < max_answers:
        return None
    text, reason = unreadable[-1]
    said = f"malformed: {reason} ({len(unreadable)} answers)"
    return reply_of(key, calls, text, said, cached=cached)


def reply_of(
    key: str,
    calls: Sequence[Call],
    text: str = "",
    error: str = "",
    *,
    cached: bool = False,
    lost: bool = False,
) -> Reply:
    """A reply with what all the answers to its request took together."""
    asked = sum(call.prompt_tokens for call in calls)
    said = sum(call.completion_tokens for call in calls)
    cost_usd = sum(call.cost_usd for call in calls)
    return Reply(key, text, error, asked, said, cost_usd, cached, lost)


def _refusal(read: Reader | None, text: str) -> str:
    """Why a reader takes a text for no answer; "" where it takes it."""
    if read is None:
        return ""
    try:
        read(text)
    except ValueError as error:
        return str(error) or "unreadable"
    return ""
