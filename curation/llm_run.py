"""A run of live calls: each request until it is answered, refused, or out of attempts.

The client library only moves bytes: retries, deadlines, validation and the budget are decided here.
An answer is in the ledger before it is judged.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from curation.json_text import printable
from curation.llm_answers import (
    judge_answer,
    names_form,
    next_level,
    parse_body,
    part,
    plainer_form,
    retry_after_s,
)
from curation.llm_ledger import Call, Ledger
from curation.llm_money import Budget, Prices, guess_prompt_tokens, most_completion_tokens
from curation.llm_options import CallOptions
from curation.llm_pace import Pace, Turn
from curation.llm_reply import CallsStopped, Reader, Reply, read_reply, reply_of
from curation.progress import Progress, Report

Sent = tuple[int, Mapping[str, str], str]
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_LONGEST_PAUSE_S = 300.0
_MOST_PAUSES = 100


@dataclass
class Run:
    """Settings of a run and what its calls share: the pace, the money, the reason to stop."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    ledger: Ledger
    timeout_s: float
    max_attempts: int
    options: CallOptions
    prices: Prices
    budget: Budget
    pace: Pace
    read: Reader | None
    report: Report
    mask: Callable[[str], str] = field(repr=False)
    stop: str = ""
    form_level: int = 0  # how plain the endpoint wants the form of answers: see `plainer_form`

    def recorded(self, key: str, *, cached: bool) -> Reply | None:
        """What the ledger has for a request; None where it is to be asked (again)."""
        calls = self.ledger.find(key)
        most = self.options.max_answers
        return read_reply(key, calls, cached=cached, read=self.read, max_answers=most)

    def unanswered(self, key: str, reason: str, *, lost: bool = False) -> Reply:
        """A reply without an answer; earlier unusable ones count."""
        return reply_of(key, self.ledger.find(key), error=reason, lost=lost)

    def call(self, key: str, request: Mapping[str, Any], body: str) -> Call:
        """An answer with its usage as the ledger keeps it, whatever its content is worth."""
        usage = part(parse_body(body), "usage")
        counts = [part(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        asked, said = (n if isinstance(n, int) and n > 0 else 0 for n in counts)
        text = printable(json.dumps(request, ensure_ascii=False))
        cost_usd = self.prices.cost_usd(asked, said)
        return Call(key, text, printable(body), asked, said, cost_usd)


def open_client(run: Run) -> Any:
    """The library's client, a context, without its own retries; no redirect gets the key."""
    import openai

    return openai.AsyncOpenAI(
        base_url=run.base_url,
        api_key=run.api_key or "none",  # local servers ask for none, the library for some text
        max_retries=0,
        timeout=run.timeout_s,
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
    )


async def answer_live(
    run: Run, todo: Mapping[str, Mapping[str, Any]], concurrency: int
) -> dict[str, Reply]:
    """Replies to the requests by key, asked one by one; `CallsStopped` where the run is refused."""
    waiting, replies = iter(todo.items()), dict[str, Reply]()
    progress = Progress(len(todo), f"{run.model} calls", run.report)
    async with open_client(run) as client:
        work = (_work(run, client, waiting, replies, progress) for _ in range(max(1, concurrency)))
        await asyncio.gather(*work)
    if run.stop:
        raise CallsStopped(run.stop)
    return replies


async def _work(
    run: Run,
    client: Any,
    waiting: Iterator[tuple[str, Mapping[str, Any]]],
    replies: dict[str, Reply],
    progress: Progress,
) -> None:
    """Take requests one after the other until there are none, or the run stops."""
    for key, request in waiting:
        replies[key] = await _answer(run, client, key, request)
        progress.step(note=f"${run.budget.spent_usd:.2f}" if run.prices.known else "")
        if run.stop:
            return


async def _answer(run: Run, client: Any, key: str, request: Mapping[str, Any]) -> Reply:
    """Ask until an answer can be read, too many cannot, or none comes."""
    most_usd = run.prices.most_usd(request)
    reply: Reply | None = None
    while reply is None:
        if not await run.budget.reserve(most_usd):
            return run.unanswered(key, "budget")
        try:
            reason, lost = await _ask(run, client, key, request)
        finally:
            await run.budget.settle(most_usd)
        if reason:
            return run.unanswered(key, reason, lost=lost)
        reply = run.recorded(key, cached=False)
    return reply


async def _ask(run: Run, client: Any, key: str, request: Mapping[str, Any]) -> tuple[str, bool]:
    """("", False) once an answer is in the ledger, else why there is none, and whether it is lost.

    A limit is shared and no fault of the call, so waiting for it uses up no attempt.
    """
    attempt, pauses, reason = 0, 0, ""
    while attempt < run.max_attempts and pauses < _MOST_PAUSES and not run.stop:
        fate, reason = await _try(run, client, key, request, failed=attempt + pauses)
        if fate in ("answered", "malformed"):
            return "", False
        if fate in ("refused", "stop"):
            run.stop = run.stop or (f"{run.base_url}: {reason}" if fate == "stop" else "")
            return f"{reason} ({attempt + 1} attempts)", fate == "stop"
        pauses += fate == "limited"
        attempt += fate == "again"
        if fate == "again" and attempt < run.max_attempts:
            await asyncio.sleep(jitter_s(attempt + pauses))
    return f"{reason or run.stop} ({attempt or 1} attempts)", True


async def _try(
    run: Run, client: Any, key: str, request: Mapping[str, Any], *, failed: int
) -> tuple[str, str]:
    """Send a request once, when it is its turn; (fate, reason), `plainer` to send it plainer."""
    tokens = guess_prompt_tokens(request) + most_completion_tokens(request)
    turn = await run.pace.enter(tokens, lambda: bool(run.stop))
    level = run.form_level
    sent = plainer_form(request, level)
    try:
        status, headers, body = await _send(run, client, sent)
    except BaseException:
        run.pace.failed(turn)
        raise
    fate, reason = judge_answer(status, body)
    call = run.call(key, request, body)
    if fate == "limited":
        _limit(run, turn, retry_after_s(headers), jitter_s(failed))
    elif fate == "again":
        run.pace.failed(turn)
    else:
        run.pace.answered(turn, call.prompt_tokens + call.completion_tokens)
    if status == 200:
        run.budget.spent_usd += call.cost_usd
        await run.ledger.put(call)
    plainer = next_level(sent, level)
    if fate == "refused" and plainer > level and names_form(status, body):
        run.form_level = max(run.form_level, plainer)
        return "plainer", reason
    return fate, reason


def _limit(run: Run, turn: Turn, asked_s: float | None, wait_s: float) -> None:
    pause_s = wait_s if asked_s is None else asked_s
    if pause_s > _LONGEST_PAUSE_S:
        run.stop = run.stop or f"{run.base_url}: asks to wait {pause_s:,.0f} s; run again later"
    run.pace.limited(turn, pause_s)


def jitter_s(failed: int) -> float:
    """A random wait up to one that doubles with each failure, so that calls do not come together
    again (full jitter: M. Brooker, "Exponential Backoff And Jitter", 2015)."""
    return random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**failed))


async def _send(run: Run, client: Any, request: Mapping[str, Any]) -> Sent:
    create = client.chat.completions.with_raw_response.create
    # As extra body it is sent as it is; as arguments the library would look through each message.
    asked = {"model": run.model, "messages": (), "extra_body": dict(request)}
    return await exchange(run, lambda: create(**asked), run.timeout_s)


async def exchange(run: Run, send: Callable[[], Awaitable[Any]], timeout_s: float) -> Sent:
    """(status, headers, body); status 0 with the reason as body when there was no answer.

    The body is free of the key from here on: it goes into the ledger and into messages.
    """
    import openai

    try:
        async with asyncio.timeout(timeout_s):
            raw = await send()
            return raw.status_code, raw.headers, run.mask(raw.http_response.text)
    except TimeoutError:
        return 0, {}, f"no whole answer within {timeout_s:g} s"
    except openai.APIStatusError as error:
        return error.status_code, error.response.headers, run.mask(error.response.text)
    except openai.APIConnectionError as error:
        return 0, {}, run.mask(f"no connection: {error.__cause__ or error}")
