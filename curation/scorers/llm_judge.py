"""LLM judge: how good an answer is by the word of a language model, 1 to 5.

The model chooses a whole number by a rubric, once with the best grade first and once with the
worst, because a judge leans towards what it reads first. The score is the mean; where the two are
more than a grade apart, or an answer is no grade, there is none. What a row says is data: it goes
in as JSON between fences it cannot close, in the user's message and never in the system's.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Literal

import polars as pl

from curation.json_text import fenced
from curation.llm import CallOptions, CallsStopped, Reply, complete_all
from curation.llm_door import check_base_url
from curation.llm_estimate import Estimate, estimate_calls
from curation.llm_ledger import LEDGER
from curation.llm_money import find_prices
from curation.plugins import Secret, plugin
from curation.scorers._base import ScoreContext, Scorer

VERSION = "v1"
APART = 1
"""Two grades of one row that differ by more than this say nothing."""
_FOLDER = Path(__file__).parents[1] / "prompts"
_FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "grade",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
            "required": ["score"],
            "additionalProperties": False,
        },
    },
}
"""The form of an answer for endpoints that hold a model to one; others get a plainer request."""
_GRADE = re.compile(r'\{\s*"score"\s*:\s*([1-5])\s*\}')


@plugin()
def llm_judge(
    *,
    model: str,
    base_url: str = "https://api.openai.com/v1",
    api_key: Secret = Secret("OPENAI_API_KEY"),  # noqa: B008  # the name, not the secret
    criteria: str = "",
    language: Literal["auto", "zh", "en"] = "auto",
    max_tokens: int = 64,
    json_mode: bool = True,
    concurrency: int = 8,
    timeout_s: float = 60.0,
    budget_usd: float | None = None,
    usd_per_m_prompt: float | None = None,
    usd_per_m_completion: float | None = None,
    calls: CallOptions = CallOptions(),  # noqa: B008  # frozen
) -> Scorer:
    """The mean of two grades of `model`, 1 to 5, for two calls a row; `criteria` are yours to add.

    `language` is that of the rubric; `auto` follows the row. Calls are kept in `calls.sqlite` in
    the context's `cache`, so none is paid for twice. Rows that would pass `budget_usd`, which
    bounds what the rows scored in one run cost, have no score. Raises `CallsStopped` when the
    variable `api_key` is not set, and when a call is not answered: what was answered is kept.
    """
    check_base_url(base_url)
    find_prices(model, usd_per_m_prompt, usd_per_m_completion, budget_usd=budget_usd)
    prices = {"usd_per_m_prompt": usd_per_m_prompt, "usd_per_m_completion": usd_per_m_completion}
    how = {"language": language, "max_tokens": max_tokens, "json_mode": json_mode}
    return _Judge(
        lambda rows: grade_requests(rows.iter_rows(named=True), criteria, **how),
        {"base_url": base_url, "model": model, **prices},
        {"concurrency": concurrency, "timeout_s": timeout_s, "calls": calls},
        api_key,
        budget_usd,
    )


@dataclass
class _Judge:
    """The scorer; its `estimate` says what scoring would cost."""

    requests: Callable[[pl.DataFrame], list[dict[str, Any]]]
    endpoint: Mapping[str, Any]
    manner: Mapping[str, Any]
    api_key: str
    budget_usd: float | None
    spent_usd: float = 0.0

    def __call__(self, rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        """The score of each row, null where there is none."""
        secret, left_usd = os.environ.get(self.api_key), self.budget_usd
        if not secret or context.cache is None:
            cache = "ScoreContext.cache is"
            missing = cache if secret else f"the environment variable {self.api_key} is"
            raise CallsStopped(f"{missing} not set")
        if left_usd is not None:
            left_usd = max(0.0, left_usd - self.spent_usd)
        replies = complete_all(
            self.requests(rows),
            api_key=secret,
            cache=context.cache / LEDGER,
            budget_usd=left_usd,
            read=require_grade,
            report=context.report,
            **self.endpoint,
            **self.manner,
        )
        self.spent_usd += sum(reply.cost_usd for reply in replies)
        _require_answers(replies, self.endpoint["model"])
        grades = [None if reply.error else read_grade(reply.text) for reply in replies]
        pairs = zip(grades[::2], grades[1::2], strict=True)
        scores = [mean_grade(*pair) for pair in pairs]
        context.report(_said(scores, replies))
        return pl.Series(scores, dtype=pl.Float64)

    def estimate(self, rows: pl.DataFrame, cache: Path) -> Estimate:
        """What scoring these rows would cost, beside a ledger in this folder."""
        batch = self.manner["calls"].batch
        place = cache / LEDGER
        return estimate_calls(self.requests(rows), cache=place, batch=batch, **self.endpoint)


def grade_requests(
    rows: Iterable[Mapping[str, Any]],
    criteria: str,
    *,
    language: str = "auto",
    max_tokens: int = 64,
    json_mode: bool = True,
) -> list[dict[str, Any]]:
    """Two requests for each row: the rubric from the best grade down, and from the worst up."""
    parameters: dict[str, Any] = {"temperature": 0, "max_tokens": max_tokens}
    parameters |= {"response_format": _FORM} if json_mode else {}
    return [{"messages": m} | parameters for m in _both_orders(rows, criteria, language)]


def _both_orders(
    rows: Iterable[Mapping[str, Any]], criteria: str, language: str
) -> Iterator[list[dict[str, str]]]:
    for row in rows:
        told = ("en" if row["lang"] == "en" else "zh") if language == "auto" else language
        for best in (True, False):
            yield build_messages(row, criteria, told, best_first=best)


def build_messages(
    row: Mapping[str, Any], criteria: str, language: str, *, best_first: bool
) -> list[dict[str, str]]:
    """System and user message that ask for a grade of a row's last turn."""
    system, levels, user = _parts(language)
    rubric = "\n".join(levels if best_first else levels[::-1])
    turns = [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
    for turn, message in zip(turns, row["messages"], strict=True):
        if message["tool_calls"]:
            turn["tool_calls"] = message["tool_calls"]
    data = {"conversation": turns, **({"tools": row["tools"]} if row["tools"] else {})}
    told = system.substitute(criteria=criteria.strip(), rubric=rubric).replace("\n\n\n", "\n\n")
    return [
        {"role": "system", "content": told},
        {"role": "user", "content": user.substitute(data=fenced(data))},
    ]


def require_grade(text: str) -> int:
    """The grade; `ValueError` where there is none, so that the judge is asked again."""
    if (grade := read_grade(text)) is None:
        raise ValueError("no grade from 1 to 5")
    return grade


def read_grade(text: str) -> int | None:
    """The grade that an answer gives, 1 to 5; None where it is no such answer."""
    try:
        said = json.loads(text)
    except ValueError:  # some models put the object into a code block
        found = _GRADE.findall(text)
        return int(found[0]) if len(found) == 1 else None
    grade = said.get("score") if isinstance(said, dict) else None
    return grade if type(grade) is int and 1 <= grade <= 5 else None


def mean_grade(one: int | None, other: int | None) -> float | None:
    """The score of two grades, None where one is missing or they are `APART`."""
    if one is None or other is None or abs(one - other) > APART:
        return None
    return (one + other) / 2


def _require_answers(replies: Sequence[Reply], model: str) -> None:
    """Raise where calls were not answered for want of the endpoint, so that nothing is missed."""
    lost = [reply.error for reply in replies if reply.lost]
    if lost:
        raise CallsStopped(
            f"{len(lost):,} of {len(replies):,} calls to {model} were not answered: {lost[0]}; "
            "what was answered is kept, run again"
        )


def _said(scores: Sequence[float | None], replies: Sequence[Reply]) -> str:
    over, graded = (
        sum(reply.error == "budget" for reply in replies),
        len(scores) - scores.count(None),
    )
    cost_usd = sum(reply.cost_usd for reply in replies)
    said = f"llm_judge: {graded:,} of {len(scores):,} rows have a grade"
    if graded and cost_usd:
        said += f" at ${cost_usd / graded:.2g} each"
    return said + (f"; {over:,} calls were over the budget" if over else "")


@cache
def _parts(language: str) -> tuple[Template, list[str], Template]:
    text = (_FOLDER / f"judge_{language}.{VERSION}.txt").read_text(encoding="utf-8")
    system, rest = text.split("=== levels ===\n")
    levels, user = rest.split("=== user ===\n")
    return Template(system.strip()), levels.strip().splitlines(), Template(user.strip())
