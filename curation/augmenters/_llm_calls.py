"""Calls to the language model of an augmenter: what was bought before is read, the rest is bought.

Every call that something was read from is written down with the bad cases and examples it showed,
so that the next version reads it again, and drops it where a case or an example is gone. An answer
that nobody can read is asked for again, `calls.max_answers` times in all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from curation.augmenters._base import Bought
from curation.augmenters._llm_rows import parse_object, parse_rows
from curation.llm import CallOptions, Reply, call_key, complete_all, read_reply
from curation.llm_ledger import CALL_SCHEMA, Call
from curation.llm_reply import Reader
from curation.scorers.llm_judge import require_grade

ROWS, VOTE, NAME, JUDGE = "rows", "vote", "name", "judge"
ANSWER, TRANSLATION = "answer", "translation"
"""What a call was for."""
_READERS: dict[str, Reader] = {
    ROWS: parse_rows,
    NAME: parse_object,
    ANSWER: parse_object,
    TRANSLATION: parse_object,
    JUDGE: require_grade,
}
"""What has to be able to read an answer; a vote that nobody can read is no vote."""

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Ask:
    """A request, and what it is for and shows."""

    kind: str
    signature: str
    request: Mapping[str, Any]
    cases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass
class Calls:
    """The endpoint (keyword arguments of `complete_all`), and what its use came to so far."""

    endpoint: Mapping[str, Any]
    earlier: Bought
    usage: Counter[str] = field(default_factory=Counter)  # type: ignore[type-arg]
    bought: list[dict[str, Any]] = field(default_factory=list)
    new_usd: float = 0.0
    stopped: bool = False

    def __post_init__(self) -> None:
        self._answers: dict[Any, pl.DataFrame] = self.earlier.answers.partition_by(
            "key", as_dict=True
        )

    def ask(self, asked: Sequence[Ask], *, by: Mapping[str, Any] = _NOTHING) -> list[Reply]:
        """A reply to each of requests of one kind, of earlier versions where they bought it.

        `by` is what is other than in `endpoint`, such as another model.
        """
        endpoint = {**self.endpoint, **by}
        known = [self._known(ask, endpoint) for ask in asked]
        new = [ask for ask, reply in zip(asked, known, strict=True) if not reply]
        fresh = iter(self._buy(new, endpoint))
        return [
            self._note(ask, reply or next(fresh)) for ask, reply in zip(asked, known, strict=True)
        ]

    def read(self, ask: Ask, key: str) -> Reply | None:
        """The reply that an earlier version bought, None where its answer is gone."""
        reply = self._find(key, ask.kind)
        return self._note(ask, reply) if reply else None

    def is_bought(self, ask: Ask) -> bool:
        """Whether an earlier version bought what this asks for."""
        return self._known(ask, self.endpoint) is not None

    def _buy(self, asked: Sequence[Ask], endpoint: Mapping[str, Any]) -> list[Reply]:
        if not asked:
            return []
        budget = endpoint.get("budget_usd")
        left = {} if budget is None else {"budget_usd": max(0.0, budget - self.new_usd)}
        read = _READERS.get(asked[0].kind)
        requests = [ask.request for ask in asked]
        replies = complete_all(requests, read=read, **{**endpoint, **left})
        self.new_usd += sum(reply.cost_usd for reply in replies)
        self.stopped |= any(reply.error == "budget" for reply in replies)
        return replies

    def _known(self, ask: Ask, endpoint: Mapping[str, Any]) -> Reply | None:
        where = {name: endpoint[name] for name in ("base_url", "model")}
        return self._find(call_key(ask.request, **where), ask.kind)

    def _find(self, key: str, kind: str) -> Reply | None:
        found = self._answers.get((key,))
        if found is None:
            return None
        lines: Iterable[tuple[Any, ...]] = found.select(CALL_SCHEMA.names()).iter_rows()
        most = self.endpoint.get("calls", CallOptions()).max_answers
        calls = [Call(*line) for line in lines]
        return read_reply(key, calls, read=_READERS.get(kind), max_answers=most)

    def _note(self, ask: Ask, reply: Reply) -> Reply:
        self.usage.update(
            calls=int(reply.error != "budget"),
            cached_calls=int(reply.cached),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )
        self.usage["cost_usd"] += reply.cost_usd  # type: ignore[assignment]
        self.bought.append(
            {
                "kind": ask.kind,
                "signature": ask.signature,
                "cases": [*ask.cases],
                "examples": [*ask.examples],
                "call": reply.key,
            }
        )
        return reply
