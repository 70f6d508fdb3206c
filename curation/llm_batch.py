"""Requests handed in together through the Batch API, and collected hours later if need be.

A batch is in the ledger before the endpoint hears of it, with a token that goes along with it. A
run that was killed finds its batches again, by id or by token, and hands in nothing twice.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from curation.json_text import parse_json
from curation.llm_answers import (
    judge_answer,
    names_form,
    next_level,
    parse_body,
    part,
    plainer_form,
    retry_after_s,
)
from curation.llm_ledger import Batch
from curation.llm_reply import CallsStopped, Reply
from curation.llm_run import Run, exchange, jitter_s, open_client

MOST_REQUESTS, MOST_BYTES = 50_000, 100_000_000
"""Of one batch; OpenAI takes 50,000 requests and 200 MB."""
_TRANSFER_S = 600.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.25, 60.0
_ENDED = ("completed", "failed", "expired", "cancelled")


async def answer_in_batches(run: Run, todo: Mapping[str, Mapping[str, Any]]) -> dict[str, Reply]:
    """Replies to the requests by key; batches of an earlier run are collected first.

    What comes back without an answer that can be read is handed in again, `max_answers` times in
    all. Raises `CallsStopped` when the endpoint takes no batches, or refuses one as a whole.
    """
    async with open_client(run) as client:
        work = _Work(run, client, todo)
        for batch in run.ledger.open_batches(work.endpoint):
            await work.resume(batch)
        for _ in range(run.options.max_answers):
            await work.hand_in_all(work.left())
    for key in work.left():
        reason = work.reasons.get(key, "no answer in the batch")
        work.replies[key] = run.unanswered(key, reason, lost=True)
    return work.replies


@dataclass
class _Work:
    """What is asked, what came of it so far, and why the rest has no answer."""

    run: Run
    client: Any
    todo: Mapping[str, Mapping[str, Any]]
    replies: dict[str, Reply] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """Whose batches are meant; another model's are left alone."""
        return f"{self.run.base_url.rstrip('/')} {self.run.model}"

    def left(self) -> dict[str, Mapping[str, Any]]:
        """The requests without a reply, after a look into the ledger."""
        for key in self.todo.keys() - self.replies.keys():
            if reply := self.run.recorded(key, cached=False):
                self.replies[key] = reply
        return {key: self.todo[key] for key in self.todo if key not in self.replies}

    async def hand_in_all(self, requests: Mapping[str, Mapping[str, Any]]) -> None:
        """Hand in what the budget has room for, and wait for it."""
        budget, most_usd = self.run.budget, self.run.prices.most_usd
        fitting = {key: r for key, r in requests.items() if budget.take(most_usd(r))}
        for key in requests.keys() - fitting.keys():
            self.replies[key] = self.run.unanswered(key, "budget")
        for batch in [await self._hand_in(lines) for lines in self._parts(fitting)]:
            await self._collect(batch)
        for request in fitting.values():
            await budget.settle(most_usd(request))

    async def resume(self, batch: Batch) -> None:
        """Collect a batch of an earlier run; one that never arrived is forgotten."""
        found = batch.id or await self._find(batch.token)
        if not found:
            self.run.ledger.drop_batch(batch)
        elif self.todo.keys() & set(batch.keys):
            self.run.report(f"{self.run.model}: a batch handed in earlier is under way: {found}")
            await self._collect(replace(batch, id=found))
        else:
            self._close(replace(batch, id=found))

    def _close(self, batch: Batch) -> None:
        """Forget a batch, but for answers to requests that nobody asks this time."""
        find, asked = self.run.ledger.find, self.todo
        rest = tuple(key for key in batch.keys if key not in asked and not find(key))
        if rest:
            self.run.ledger.put_batch(self.endpoint, replace(batch, keys=rest))
        else:
            self.run.ledger.drop_batch(batch)

    def _parts(self, requests: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
        """Lines of batch files by key, no more in one file than an endpoint takes."""
        lines, size = dict[str, str](), 0
        for key, request in requests.items():
            body = {"model": self.run.model} | plainer_form(request, self.run.form_level)
            asked = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions"}
            line = json.dumps(asked | {"body": body}, ensure_ascii=False)
            if len(lines) == MOST_REQUESTS or size + 4 * len(line) > MOST_BYTES:
                yield lines
                lines, size = {}, 0
            lines[key] = line
            size += len(line.encode("utf-8", "backslashreplace")) + 1
        if lines:
            yield lines

    async def _hand_in(self, lines: Mapping[str, str]) -> Batch:
        """Write the batch down, hand it in, and write down its id."""
        batch = Batch(secrets.token_hex(16), tuple(lines))
        data = "\n".join(lines.values()).encode("utf-8", "backslashreplace")
        files, batches = (
            getattr(self.client, name).with_raw_response for name in ("files", "batches")
        )
        upload = {"file": ("requests.jsonl", data), "purpose": "batch"}
        file_id = _id(await self._ask(lambda: files.create(**upload)))
        said = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
        said |= {"completion_window": "24h", "metadata": {"winnow": batch.token}}
        self.run.ledger.put_batch(self.endpoint, batch)
        body = await self._ask(lambda: batches.create(**said), unless=batch.token)
        batch = replace(batch, id=_id(body))
        self.run.ledger.put_batch(self.endpoint, batch)
        self.run.report(f"{self.run.model}: {len(lines):,} requests handed in as {batch.id}")
        return batch

    async def _collect(self, batch: Batch) -> None:
        """Wait until a batch has ended, and put its answers into the ledger."""
        ended = await self._wait(batch)
        if ended["status"] == "failed":
            self.run.ledger.drop_batch(batch)
            raise CallsStopped(f"{self.run.base_url}: {batch.id} failed: {_failure(ended)}")
        content = self.client.files.with_raw_response.content
        for name in ("output_file_id", "error_file_id"):
            if file_id := ended.get(name):
                text = await self._ask(lambda file_id=file_id: content(file_id))
                await asyncio.gather(*(self._take(x) for x in text.splitlines() if x.strip()))
        self._close(batch)

    async def _wait(self, batch: Batch) -> Mapping[str, Any]:
        look_s, before = _FIRST_LOOK_S, -1
        retrieve = self.client.batches.with_raw_response.retrieve
        while True:
            state = parse_body(await self._ask(lambda: retrieve(batch.id)))
            if part(state, "status") in _ENDED:
                return state
            done = part(part(state, "request_counts"), "completed")
            if isinstance(done, int) and done != before:
                self.run.report(f"{batch.id}: {done:,} of {len(batch.keys):,} answered")
                before = done
            await asyncio.sleep(look_s)
            look_s = min(_LONGEST_LOOK_S, look_s * 1.5)

    async def _take(self, line: str) -> None:
        """One line of an answer file: into the ledger, unless it is there from a killed run."""
        try:
            said = parse_json(line)
        except ValueError:
            return
        key, response = part(said, "custom_id"), part(said, "response")
        if key not in self.todo:
            return
        request, status = self.todo[key], part(response, "status_code") or 0
        body = json.dumps(part(response, "body") or part(said, "error"), ensure_ascii=False)
        fate, reason = judge_answer(status, body)
        if status == 200:
            call = self.run.call(key, request, body)
            if call.body not in {known.body for known in self.run.ledger.find(key)}:
                self.run.budget.spent_usd += call.cost_usd
                await self.run.ledger.put(call)
        elif names_form(status, body):
            level = self.run.form_level
            self.run.form_level = max(level, next_level(request, level))
        elif fate == "refused":
            self.replies[key] = self.run.unanswered(key, reason)
        self.reasons[key] = reason

    async def _find(self, token: str) -> str:
        """The id of the batch that has a token; "" where the endpoint knows of none."""
        page = parse_body(await self._list({}))
        while batches := part(page, "data"):
            for batch in batches:
                if part(part(batch, "metadata"), "winnow") == token:
                    return batch["id"]
            if not part(page, "has_more"):
                break
            page = parse_body(await self._list({"after": batches[-1]["id"]}))
        return ""

    async def _list(self, after: Mapping[str, str]) -> str:
        listed = self.client.batches.with_raw_response.list
        return await self._ask(lambda: listed(limit=100, **after))

    async def _ask(self, send: Callable[[], Awaitable[Any]], *, unless: str = "") -> str:
        """The body of a 200; `CallsStopped` where none comes.

        What has a token is not sent again before a look whether it arrived all the same.
        """
        reason = ""
        for failed in range(self.run.max_attempts):
            status, headers, body = await exchange(self.run, send, _TRANSFER_S)
            if status == 200:
                return self.run.mask(body)
            fate, reason = judge_answer(status, body)
            if status in (404, 405, 501):
                fate, reason = "stop", f"no Batch API here ({status}); leave `batch` out"
            if fate in ("stop", "refused"):
                break
            await asyncio.sleep(retry_after_s(headers) or jitter_s(failed))
            if unless and (found := await self._find(unless)):
                return json.dumps({"id": found})
        raise CallsStopped(f"{self.run.base_url}: {reason}")


def _id(body: str) -> str:
    name = part(parse_body(body), "id")
    if not isinstance(name, str):
        raise CallsStopped(f"200 without an id: {body[:100]!r}")
    return name


def _failure(batch: Mapping[str, Any]) -> str:
    """Why a batch failed as a whole, in the endpoint's words."""
    errors = part(part(batch, "errors"), "data")
    return str(part(errors[0], "message")) if isinstance(errors, list) and errors else "no reason"
