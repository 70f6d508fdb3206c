"""What an augmenter asks language models at most, said before anything is asked.

How many rows pass shows only when they are written. So each call is taken to write all rows that it
asks for, and each of these rows to get all its votes and then both grades. That bounds what is
asked about new rows, unless a model writes more of them than it was asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from curation.augmenters._llm_calls import JUDGE, NAME, ROWS, VOTE
from curation.augmenters._llm_opinions import JudgeOptions
from curation.llm_money import find_prices
from curation.scorers.llm_judge import grade_requests

_ROWS_A_CALL = {"distill": 1.0, "back_translate": 0.5}
"""Of the augmenters without `per_call`; a seed goes there and back by two calls."""
_GRADE_TOKENS = signature(grade_requests).parameters["max_tokens"].default


@dataclass(frozen=True)
class Most:
    """The most calls of one kind, and the most tokens and dollars of their answers."""

    kind: str
    model: str
    calls: int
    completion_tokens: int
    usd_to_write: float | None
    """None where nobody knows the prices."""


def augmenter_options(augmenter: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What an augmenter is called with: what is given, and the defaults."""
    return {p.name: p.default for p in signature(augmenter).parameters.values()} | {**given}


def most_asked(
    augmenter: Callable[..., Any], given: Mapping[str, Any], *, error_types: int = 0
) -> list[Most]:
    """The most that an augmenter with these options asks in one build, by kind of call.

    `error_types` is how many there are to be named.
    """
    options = augmenter_options(augmenter, given)
    calls, votes = options["max_calls"], options.get("votes", 0)
    a_call = _ROWS_A_CALL.get(augmenter.__name__) or options.get("per_call", 1)
    rows = int(calls * a_call)
    asked = {
        ROWS: calls,
        NAME: error_types if options.get("name_types") else 0,
        VOTE: rows * votes,
    }
    most = [_most(kind, n, options["max_tokens"], options) for kind, n in asked.items() if n]
    judge: JudgeOptions | None = options.get("judge")
    if judge:
        own = ("model", "usd_per_m_prompt", "usd_per_m_completion")
        by = {name: getattr(judge, name) for name in own} if judge.model else {}
        most.append(_most(JUDGE, 2 * rows, _GRADE_TOKENS, options | by))
    return most


def _most(kind: str, calls: int, max_tokens: int, endpoint: Mapping[str, Any]) -> Most:
    given = (endpoint["usd_per_m_prompt"], endpoint["usd_per_m_completion"])
    prices = find_prices(endpoint["model"], *given, batch=endpoint["calls"].batch)
    tokens = calls * max_tokens
    usd = prices.cost_usd(0, tokens) if prices.known else None
    return Most(kind, endpoint["model"], calls, tokens, usd)
