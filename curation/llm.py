"""Many calls to an OpenAI-compatible endpoint, each paid for once.

The client library only moves bytes: retries, deadlines, validation and the budget are decided here.
A request's key is the digest of what is asked; an answer is in the ledger before it is judged.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.json_text import printable
from curation.llm_answers import judge_answer, parse_body, part, read_content, retry_after_s
from curation.llm_door import check_base_url, check_budget, check_key, key_mask
from curation.llm_ledger import Call, Ledger
from curation.progress import Progress, Report, silent

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_LONGEST_PAUSE_S = 300.0
_MOST_PAUSES = 100
_COMPLETION_TOKENS = 4096  # what a request without max_tokens is taken to cost at most


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


def complete_all(
    requests: Sequence[Mapping[str, Any]],
    *,
    base_url: str,
    api_key: str,
    model: str,
    cache: Path,
    concurrency: int = 8,
    timeout_s: float = 60.0,
    max_attempts: int = 5,
    budget_usd: float | None = None,
    usd_per_m_prompt: float = 0.0,
    usd_per_m_completion: float = 0.0,
    report: Report = silent,
) -> list[Reply]:
    """Replies to chat-completion bodies (`messages` and parameters, no model), in their order.

    Equal requests are sent once, and requests answered in an earlier run not at all. `timeout_s` is
    for a whole answer. A request that would pass `budget_usd`, earlier answers included, gets the
    error `budget`. `cache` is the ledger file. Raises `CallsStopped` with one line when the
    endpoint refuses the run (answers so far are kept), `ValueError` for options that cannot work.
    """
    check_base_url(base_url)
    secret = check_key(api_key)
    check_budget(budget_usd, usd_per_m_prompt + usd_per_m_completion)
    prices = (usd_per_m_prompt / 1e6, usd_per_m_completion / 1e6)
    keys = [call_key(r, base_url=base_url, model=model) for r in requests]
    ledger = Ledger(cache)
    try:
        limits = (timeout_s, max_attempts)
        run = _Run(base_url, secret, model, ledger, limits, prices, budget_usd, key_mask(secret))
        todo = dict(zip(keys, requests, strict=True))
        replies = _finish(_answer_all(run, todo, concurrency, report))
    finally:
        ledger.close()
    return [replies[key] for key in keys]


def call_key(request: Mapping[str, Any], *, base_url: str, model: str) -> str:
    """32 hex digits naming what is asked of whom; the order of keys does not count."""
    asked = {"base_url": base_url.rstrip("/"), "model": model, "request": request}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_reply(key: str, calls: Sequence[Call], *, cached: bool = True) -> Reply | None:
    """The reply that archived answers to one request come to, oldest first; None if none is any."""
    usable = next((c for c in calls if judge_answer(200, c.body)[0] == "answered"), None)
    if usable is None:
        return None
    text, error = read_content(parse_body(usable.body))
    asked, said, cost = _totals(calls)
    return Reply(key, text, error, asked, said, cost, cached)


@dataclass
class _Run:
    """Settings of a run and what its calls share: the pause, the money, the reason to stop."""

    base_url: str
    api_key: str = field(repr=False)
    model: str
    ledger: Ledger
    limits: tuple[float, int]  # seconds for an answer, attempts
    prices: tuple[float, float]  # dollars for a prompt token, for a completion token
    budget_usd: float | None
    mask: Callable[[str], str] = field(repr=False)
    stop: str = ""
    resume_at: float = 0.0
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def pause(self) -> None:
        """Wait while the endpoint has asked everyone to, unless the run stops."""
        while not self.stop and (left := self.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))

    async def reserve(self, cost_usd: float) -> bool:
        """Whether the budget has room; waits for running calls whose cost is not yet known."""
        budget = self.budget_usd
        if budget is None:
            return True
        async with self.changed:
            await self.changed.wait_for(
                lambda: (
                    self.spent_usd + cost_usd > budget
                    or self.spent_usd + self.reserved_usd + cost_usd <= budget
                )
            )
            fits = self.spent_usd + cost_usd <= budget
            self.reserved_usd += cost_usd if fits else 0.0
            return fits

    async def release(self, cost_usd: float) -> None:
        """Give back a reservation after the call's true cost was added to `spent_usd`."""
        async with self.changed:
            self.reserved_usd -= cost_usd if self.budget_usd is not None else 0.0
            self.changed.notify_all()


async def _answer_all(
    run: _Run, todo: Mapping[str, Mapping[str, Any]], concurrency: int, report: Report
) -> dict[str, Reply]:
    import openai

    replies = {key: reply for key in todo if (reply := _from_ledger(run, key))}
    waiting = iter([(k, r) for k, r in todo.items() if k not in replies])
    progress = Progress(len(todo) - len(replies), f"{run.model} calls", report)
    async with openai.AsyncOpenAI(
        base_url=run.base_url,
        api_key=run.api_key or "none",  # local servers ask for none, the library for some text
        max_retries=0,
        timeout=run.limits[0],
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
    ) as client:
        work = (_work(run, client, waiting, replies, progress) for _ in range(max(1, concurrency)))
        await asyncio.gather(*work)
    if run.stop:
        raise CallsStopped(run.stop)
    return replies


async def _work(
    run: _Run,
    client: Any,
    waiting: Iterator[tuple[str, Mapping[str, Any]]],
    replies: dict[str, Reply],
    progress: Progress,
) -> None:
    """Take requests one after the other until there are none, or the run stops."""
    for key, request in waiting:
        cost = len(json.dumps(request, ensure_ascii=False)) * run.prices[0]
        cost += request.get("max_tokens", _COMPLETION_TOKENS) * run.prices[1]
        if await run.reserve(cost):
            try:
                replies[key] = await _call(run, client, key, request)
            finally:
                await run.release(cost)
        else:
            replies[key] = Reply(key, "", "budget")
        progress.step(note=f"${run.spent_usd:.2f}" if any(run.prices) else "")
        if run.stop:
            return


async def _call(run: _Run, client: Any, key: str, request: Mapping[str, Any]) -> Reply:
    """One request until it is answered, refused, or out of attempts."""
    attempt, pauses, fate, reason = 0, 0, "", ""
    while attempt < run.limits[1] and pauses < _MOST_PAUSES and not run.stop:
        await run.pause()
        status, headers, body = await _send(run, client, request)
        if status == 200:
            await _record(run, key, request, body)
        fate, reason = judge_answer(status, body)
        if fate == "answered":
            break
        if fate in ("stop", "refused"):
            run.stop = run.stop or (f"{run.base_url}: {reason}" if fate == "stop" else "")
            break
        wait = random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt + pauses)))
        if fate == "limited":  # the limit is shared, so everyone waits; it is no fault of the call
            pauses += 1
            _pause_all(run, retry_after_s(headers), wait)
        else:
            attempt += 1
            await asyncio.sleep(wait if attempt < run.limits[1] else 0)
    paid = _from_ledger(run, key, cached=False)
    why = f"{reason or run.stop} ({attempt or 1} attempts)"
    return paid or _unanswered(run, key, why, lost=fate != "refused")


def _pause_all(run: _Run, asked_s: float | None, wait_s: float) -> None:
    pause = wait_s if asked_s is None else asked_s
    if pause > _LONGEST_PAUSE_S:
        run.stop = run.stop or f"{run.base_url}: asks to wait {pause:,.0f} s; run again later"
    run.resume_at = max(run.resume_at, time.monotonic() + pause)


async def _send(
    run: _Run, client: Any, request: Mapping[str, Any]
) -> tuple[int, Mapping[str, str], str]:
    """(status, headers, body); status 0 with the reason as body when there was no answer.

    The body is free of the key from here on: it goes into the ledger and into messages.
    """
    import openai

    rest = {k: v for k, v in request.items() if k != "messages"}
    create = client.chat.completions.with_raw_response.create
    try:
        async with asyncio.timeout(run.limits[0]):
            raw = await create(model=run.model, messages=request["messages"], extra_body=rest)
            return raw.status_code, raw.headers, run.mask(raw.http_response.text)
    except TimeoutError:
        return 0, {}, f"no whole answer within {run.limits[0]:g} s"
    except openai.APIStatusError as error:
        return error.status_code, error.response.headers, run.mask(error.response.text)
    except openai.APIConnectionError as error:
        return 0, {}, run.mask(f"no connection: {error.__cause__ or error}")


async def _record(run: _Run, key: str, request: Mapping[str, Any], body: str) -> None:
    """Put the answer and its usage into the ledger, whatever its content is worth."""
    usage = part(parse_body(body), "usage")
    counts = [part(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    asked, said = (n if isinstance(n, int) and n > 0 else 0 for n in counts)
    cost = asked * run.prices[0] + said * run.prices[1]
    run.spent_usd += cost
    text = json.dumps(request, ensure_ascii=False)
    await run.ledger.put(Call(key, printable(text), printable(body), asked, said, cost))


def _from_ledger(run: _Run, key: str, *, cached: bool = True) -> Reply | None:
    """The first usable recorded answer as a reply; earlier runs' costs count against the budget."""
    calls = run.ledger.find(key)
    run.spent_usd += sum(c.cost_usd for c in calls) if cached else 0.0
    return read_reply(key, calls, cached=cached)


def _unanswered(run: _Run, key: str, reason: str, *, lost: bool) -> Reply:
    return Reply(key, "", reason, *_totals(run.ledger.find(key)), lost=lost)


def _totals(calls: Sequence[Call]) -> tuple[int, int, float]:
    return (
        sum(c.prompt_tokens for c in calls),
        sum(c.completion_tokens for c in calls),
        sum(c.cost_usd for c in calls),
    )


def _finish(work: Coroutine[Any, Any, dict[str, Reply]]) -> dict[str, Reply]:
    """Run to the end, also where a loop is running already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
