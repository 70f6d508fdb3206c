"""Rows written by a language model against each error type, looked at before more are bought.

A type gets one call at a time. What was refused, and why, goes into the next call of that type; a
type whose first rows are mostly refused is stopped, because more of the same would be too, until
new bad cases come. Every row knows the call that made it and the bad case it follows.

What an earlier version bought is read again, by the checks of today, as long as the bad cases and
examples it showed are there; new calls are made only for rows that are still wanted, and show first
the bad cases that none showed.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

import polars as pl

from curation.augmenters._base import Augmented, AugmentWork
from curation.augmenters._llm_prompt import build_messages
from curation.augmenters._llm_rows import parse_rows, proposal_text, read_proposal, refusal
from curation.llm import Reply, complete_all, read_reply
from curation.llm_door import check_base_url
from curation.llm_ledger import CALL_SCHEMA, LEDGER, Call
from curation.plugins import Secret, plugin
from curation.rows import ANSWER, UTTERANCE, dialogue, digest, make_row
from curation.text import text_key
from curation.unsafe_text import unsafe_reason

_CASES, _EXAMPLES, _REASONS = 5, 4, 5


@plugin()
def llm(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    per_call: int = 20,
    per_type: int = 200,
    min_yield: float = 0.25,
    max_calls: int = 200,
    max_tokens: int = 4096,
    temperature: float = 0.9,
    json_mode: bool = True,
    language: Literal["auto", "zh", "en"] = "auto",
    concurrency: int = 8,
    timeout_s: float = 120.0,
    budget_usd: float | None = None,
    usd_per_m_prompt: float = 0.0,
    usd_per_m_completion: float = 0.0,
) -> Callable[[AugmentWork], Augmented]:
    """An augmenter that asks `model` for `per_call` rows at a time, by error type and quota.

    At most `per_type` rows a type, and `max_calls` new calls for `budget_usd`. A type stops when
    less than `min_yield` of a call's rows are valid. `language` is that of the instructions; `auto`
    follows the seeds. `json_mode` asks the endpoint for JSON, which a few refuse. Calls are kept in
    `calls.sqlite` in the work's cache folder, so a run that is repeated or resumed pays for none
    twice. Raises `ValueError` when the variable `api_key` is not set, and `CallsStopped` when the
    endpoint refuses the run.
    """
    check_base_url(base_url)
    parameters: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    parameters |= {"response_format": {"type": "json_object"}} if json_mode else {}

    def augment(work: AugmentWork) -> Augmented:
        secret = os.environ.get(api_key)
        if not secret:
            raise ValueError(f"the environment variable {api_key} is not set; export {api_key}=…")
        types = _open_types(work, per_type)
        batch = _Batch(work, _examples(work.seeds), _known(work), _language(work.seeds, language))
        before = batch.read_again(types, min_yield)
        while (asked := _still_open(types, batch.since(before), max_calls)) and not batch.stopped:
            requests = [batch.request(t, per_call) | parameters for t in asked]
            replies = complete_all(
                requests,
                base_url=base_url,
                api_key=secret,
                model=model,
                cache=work.cache / LEDGER,
                concurrency=concurrency,
                timeout_s=timeout_s,
                budget_usd=budget_usd and budget_usd - batch.since(before)["cost_usd"],
                usd_per_m_prompt=usd_per_m_prompt,
                usd_per_m_completion=usd_per_m_completion,
                report=work.report,
            )
            for error_type, reply in zip(asked, replies, strict=True):
                batch.take(error_type, reply, min_yield)
            work.report(batch.line())
        usage: dict[str, float] = {**batch.usage}
        return Augmented(
            batch.rows, batch.edges, batch.rejected, usage, batch.proposed, batch.bought
        )

    return augment


@dataclass
class _Type:
    """An error type while its quota is being filled."""

    signature: str
    name: str
    quota: int
    cases: list[dict[str, Any]]
    made: int = 0
    calls: int = 0
    asked: int = 0
    shown: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    covered: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    stopped: str = ""


@dataclass
class _Batch:
    """What all types share: the material, the prompts that exist, and the result so far."""

    work: AugmentWork
    examples: list[dict[str, Any]]  # id, prompt, answer
    known: set[str]
    language: str
    rows: list[dict] = field(default_factory=list)
    edges: list[dict] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    usage: Counter[str] = field(default_factory=Counter)  # type: ignore[type-arg]
    stopped: bool = False
    proposed: int = 0
    bought: list[dict] = field(default_factory=list)

    def read_again(self, types: list[_Type], min_yield: float) -> Counter[str]:
        """Take every earlier call whose material is still there; returns what that comes to.

        A type that was stopped goes on when it has a bad case that was not known then.
        """
        bought, named = self.work.bought, {t.signature: t for t in types}
        examples = {e["id"]: e for e in self.examples}
        answers = bought.answers.partition_by("key", as_dict=True)
        for call in bought.calls.iter_rows(named=True):
            error_type = named.get(call["signature"])
            cases = {c["id"]: c for c in error_type.cases} if error_type else {}
            there = cases.keys() >= {*call["cases"]} and examples.keys() >= {*call["examples"]}
            found = answers.get((call["call"],), bought.answers.clear())
            calls = [Call(*line) for line in found.select(CALL_SCHEMA.names()).iter_rows()]
            reply = read_reply(call["call"], calls)
            if error_type and there and reply:
                error_type.calls += 1
                error_type.shown = [cases[i] for i in call["cases"]]
                error_type.examples = [examples[i] for i in call["examples"]]
                self.take(error_type, reply, min_yield)
        for error_type in types:
            if not bought.known.issuperset(c["id"] for c in error_type.cases):
                error_type.stopped = ""
        return self.usage.copy()

    def since(self, before: Counter[str]) -> Counter[str]:
        """What was used up since then."""
        used = self.usage.copy()
        used.subtract(before)
        return used

    def request(self, error_type: _Type, per_call: int) -> dict[str, Any]:
        """The next call of a type: other cases and examples each time, the last refusals named."""
        left = error_type.quota - error_type.made
        error_type.calls += 1
        error_type.asked = min(per_call, ceil(left * 1.25))
        salt = f"{error_type.signature}\0{error_type.calls}"
        new = [c for c in error_type.cases if c["id"] not in error_type.covered]
        old = [c for c in error_type.cases if c["id"] in error_type.covered]
        shown = _turn_of(new, salt, _CASES)
        error_type.shown = shown + _turn_of(old, salt, _CASES - len(shown))
        error_type.examples = _turn_of(self.examples, salt, _EXAMPLES)
        messages = build_messages(
            task=self.work.task.system,
            fields=self.work.task.fields,
            error_type=error_type.name,
            cases=error_type.shown,
            examples=[(e["prompt"], e["answer"]) for e in error_type.examples],
            reasons=dict(error_type.reasons.most_common(_REASONS)),
            count=error_type.asked,
            batch=error_type.calls,
            language=self.language,
        )
        return {"messages": messages}

    def take(self, error_type: _Type, reply: Reply, min_yield: float) -> None:
        """Turn a reply into rows, edges and refusals, and decide whether the type goes on."""
        spent = {
            "calls": int(reply.error != "budget"),
            "cached_calls": int(reply.cached),
            "cost_usd": reply.cost_usd,
        }
        tokens = {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
        }
        self.usage.update(spent | tokens)
        error_type.covered |= {case["id"] for case in error_type.shown}
        self.bought.append(
            {
                "signature": error_type.signature,
                "cases": [case["id"] for case in error_type.shown],
                "examples": [example["id"] for example in error_type.examples],
                "call": reply.key,
            }
        )
        error_type.reasons.clear()
        if reply.error:
            self.stopped = self.stopped or reply.error == "budget"
            self.proposed += 1
            error_type.stopped = f"call failed: {reply.error}"
            self.rejected.append({"text": "", "reason": error_type.stopped, "call": reply.key})
            return
        try:
            proposals = parse_rows(reply.text)
        except ValueError as error:
            proposals = []
            self.proposed += 1
            self._refuse(error_type, reply.text[:2000], str(error), reply.key)
        self.proposed += len(proposals)
        before = error_type.made
        for proposal in proposals:
            self._take_one(error_type, proposal, reply.key)
        good, offered = error_type.made - before, max(len(proposals), 1)
        if good < min_yield * offered and error_type.made < error_type.quota:
            why = ", ".join(f"{r} x{n}" for r, n in error_type.reasons.most_common(3))
            error_type.stopped = f"{good} of {len(proposals)} rows valid"
            self.work.report(f"{error_type.name}: stopped, {error_type.stopped} ({why})")

    def _take_one(self, error_type: _Type, proposal: Any, call: str) -> None:
        try:
            prompt, answer, parent = read_proposal(proposal)
            reason = refusal(
                prompt,
                answer,
                task=self.work.task,
                known=self.known,
                languages=set(self.work.seeds["lang"]) & {"zh", "en"},
            )
        except ValueError as error:
            reason, prompt, answer, parent = str(error), "", "", 0
        if not reason and error_type.made >= error_type.quota:
            reason = "over_quota"
        if reason:
            self._refuse(error_type, proposal_text(proposal), reason, call)
            return
        self._accept(error_type, prompt, answer, parent, call)

    def _accept(self, error_type: _Type, prompt: str, answer: str, parent: int, call: str) -> None:
        row = make_row(
            dialogue(prompt, answer, system=self.work.task.system),
            track="domain",
            origin="llm",
            source="llm",
            created_by=call,
            # A signature may name a slot that a bad case made up.
            meta={"error_type": unsafe_reason(error_type.signature) or error_type.signature},
        )
        error_type.made += 1
        self.known.add(text_key(prompt))
        self.rows.append(row)
        shown = error_type.shown
        parents = [shown[parent - 1]] if 0 < parent <= len(shown) else shown
        for case in parents:
            edge = {"child": row["id"], "parent": case["row_id"] or case["id"], "call": call}
            self.edges.append(edge | {"kind": "augment_badcase"})

    def _refuse(self, error_type: _Type, text: str, reason: str, call: str) -> None:
        error_type.reasons[reason[:80]] += 1
        self.rejected.append({"text": text, "reason": reason, "call": call})

    def line(self) -> str:
        """The present state for people."""
        cost = f", ${self.usage['cost_usd']:.2f}" if self.usage["cost_usd"] else ""
        calls = self.usage["calls"]
        return f"{len(self.rows)} rows made, {len(self.rejected)} refused, {calls} calls{cost}"


def _open_types(work: AugmentWork, per_type: int) -> list[_Type]:
    """The types with a quota and with cases to show, by signature."""
    cases = work.bad_cases.sort("id").partition_by("signature", as_dict=True)
    return [
        _Type(
            t["signature"],
            t["name"],
            min(t["quota"], per_type),
            cases[(t["signature"],)].to_dicts(),
        )
        for t in work.error_types.sort("signature").iter_rows(named=True)
        if t["quota"] > 0 and (t["signature"],) in cases
    ]


def _still_open(types: list[_Type], used: Counter[str], max_calls: int) -> list[_Type]:
    wanting = [t for t in types if not t.stopped and t.made < t.quota]
    return wanting[: max(0, max_calls - used["calls"])]


def _turn_of(things: list[dict[str, Any]], salt: str, count: int) -> list[dict[str, Any]]:
    """`count` of the things, others for each salt, the same for the same salt."""
    return sorted(things, key=lambda t: digest([salt, t["id"]]))[:count]


def _examples(seeds: pl.DataFrame) -> list[dict[str, Any]]:
    return seeds.select("id", UTTERANCE.alias("prompt"), ANSWER.alias("answer")).to_dicts()


def _known(work: AugmentWork) -> set[str]:
    prompts = [*work.seeds.select(UTTERANCE).to_series(), *work.bad_cases["prompt"]]
    return {text_key(p) for p in prompts}


def _language(seeds: pl.DataFrame, asked: str) -> str:
    """`zh` when at least half of the seeds hold Chinese, unless a language is asked for."""
    if asked != "auto":
        return asked
    return "zh" if seeds["lang"].is_in(["zh", "mixed"]).sum() * 2 >= len(seeds) else "en"
