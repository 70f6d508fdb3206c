"""Many calls to an OpenAI-compatible endpoint, each paid for once.

A request's key is the digest of what is asked of whom. What the ledger has under a key is never
asked again; what it has not goes out live, or as batches, within limits and budget.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from curation.llm_batch import answer_in_batches
from curation.llm_door import check_base_url, check_key, key_mask
from curation.llm_estimate import estimate_todo
from curation.llm_ledger import Ledger
from curation.llm_money import Budget, find_prices
from curation.llm_options import CallOptions
from curation.llm_pace import Pace
from curation.llm_reply import CallsStopped, Reader, Reply, call_key, read_reply
from curation.llm_run import Run, answer_live
from curation.progress import Report, silent

__all__ = ["CallOptions", "CallsStopped", "Reply", "call_key", "complete_all", "read_reply"]


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
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    calls: CallOptions = CallOptions(),  # noqa: B008  # frozen
    read: Reader | None = None,
    report: Report = silent,
) -> list[Reply]:
    """Replies to chat-completion bodies (`messages` and parameters, no model), in their order.

    Equal requests are sent once, and requests answered in an earlier run not at all. At most
    `concurrency` calls run at a time, `timeout_s` is for a whole answer. An answer that `read`
    refuses is asked for again, `calls.max_answers` times in all. A request that would pass
    `budget_usd`, earlier answers included, gets the error `budget`. `cache` is the ledger file.
    Raises `CallsStopped` with one line when the endpoint refuses the run (answers so far are kept),
    `ValueError` for options that cannot work.
    """
    check_base_url(base_url)
    secret = check_key(api_key)
    given = (usd_per_m_prompt, usd_per_m_completion)
    prices = find_prices(model, *given, budget_usd=budget_usd, batch=calls.batch)
    keys = [call_key(r, base_url=base_url, model=model) for r in requests]
    ledger = Ledger(cache)
    try:
        run = Run(
            base_url,
            secret,
            model,
            ledger,
            timeout_s,
            max_attempts,
            calls,
            prices,
            Budget(budget_usd),
            Pace(
                concurrency,
                requests_per_minute=calls.requests_per_minute,
                tokens_per_minute=calls.tokens_per_minute,
            ),
            read,
            report,
            key_mask(secret),
        )
        replies = _answer_all(run, dict(zip(keys, requests, strict=True)), concurrency)
    finally:
        ledger.close()
    return [replies[key] for key in keys]


def _answer_all(
    run: Run, asked: Mapping[str, Mapping[str, Any]], concurrency: int
) -> dict[str, Reply]:
    """What the ledger has, and then the rest; earlier answers count against the budget."""
    replies = {key: reply for key in asked if (reply := run.recorded(key, cached=True))}
    run.budget.spent_usd = sum(c.cost_usd for key in asked for c in run.ledger.find(key))
    todo = {key: request for key, request in asked.items() if key not in replies}
    if todo:
        run.report(estimate_todo(todo.values(), model=run.model, prices=run.prices).line())
        in_batches = run.options.batch
        work = answer_in_batches(run, todo) if in_batches else answer_live(run, todo, concurrency)
        replies |= _finish(work)
    return replies


def _finish(work: Coroutine[Any, Any, dict[str, Reply]]) -> dict[str, Reply]:
    """Run to the end, also where a loop is running already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
