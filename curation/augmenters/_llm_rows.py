"""Reading what a model wrote as rows, and refusing what may not be trained on, with the reason.

Checks stand in the order of their cost. A reason is short and has no text of its own where it can,
because the most frequent ones go back into the next prompt.
"""

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from curation.augmenters._known import KnownRows
from curation.augmenters._llm_band import Band
from curation.exam_signs import ExamSigns
from curation.json_text import parse_json
from curation.personal import find_personal, kinds_of
from curation.rows import canonical_json, clean_text, guess_language
from curation.tasks._base import Task
from curation.unsafe_text import unsafe_reason

RELATIONS = ("similar", "contrast", "near_miss")
"""What a row is to a case: as difficult, one detail away from it, or only looking like it."""


def parse_rows(text: str) -> list[Any]:
    """The proposals in a model's answer; `ValueError` when there is no JSON list of rows in it."""
    value = _parse(text)
    rows = value.get("rows") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError("no_rows")
    return rows


def parse_object(text: str) -> dict[str, Any]:
    """The object in a model's answer; `ValueError` when there is none."""
    value = _parse(text)
    if not isinstance(value, dict):
        raise ValueError("not_an_object")
    return value


def proposal_text(proposal: Any) -> str:
    """A proposal as text for people, at most 2,000 characters."""
    return json.dumps(proposal, ensure_ascii=False)[:2000]


@dataclass(frozen=True)
class Proposal:
    """A row that a model proposes: the case it follows by its number, or 0, and how."""

    prompt: str
    answer: str
    parent: int = 0
    relation: str = ""


def read_proposal(proposal: Any) -> Proposal:
    """The proposal in a value of JSON; `ValueError` with a short reason."""
    if not isinstance(proposal, dict):
        raise ValueError("not_an_object")
    prompt, answer = proposal.get("prompt"), proposal.get("answer")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("no_prompt")
    answer = canonical_json(answer) if isinstance(answer, dict | list) else answer
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError("no_answer")
    parent = proposal.get("from")
    parent = parent if isinstance(parent, int) and not isinstance(parent, bool) else 0
    relation = proposal.get("relation")
    relation = relation if relation in RELATIONS else ""
    try:
        return Proposal(clean_text(prompt.strip()), clean_text(answer.strip()), parent, relation)
    except ValueError:
        raise ValueError("unsafe_character") from None


def read_answer(text: str) -> str:
    """The answer in `{"answer": …}`, "" where there is none."""
    try:
        value = _parse(text)
    except ValueError:
        return ""
    answer = value.get("answer") if isinstance(value, dict) else None
    answer = canonical_json(answer) if isinstance(answer, dict | list) else answer
    return answer.strip() if isinstance(answer, str) else ""


def refusal(
    proposal: Proposal,
    *,
    task: Task,
    known: KnownRows | None,
    exam: ExamSigns,
    band: Band | None = None,
    languages: Set[str] = frozenset(),
    max_chars: int = 2000,
) -> str:
    """ "" when the row may be trained on, else a short reason; the cheapest check comes first.

    `known` is None where the prompt is a seed's own. `languages` are those the trusted rows are in
    (`zh`, `en`), empty for any.
    """
    prompt, answer = proposal.prompt, proposal.answer
    both = f"{prompt}\n{answer}"
    if len(both) > max_chars:
        return "too_long"
    if unsafe := unsafe_reason(both):
        return unsafe
    language = guess_language(prompt)
    if languages and language in ("zh", "en") and language not in languages:
        return f"language:{language}"
    if wrong := task.check(prompt, answer):
        return wrong
    if personal := kinds_of(find_personal(both)):
        return f"personal:{personal[0]}"
    repeats = known.find(prompt, answer) if known else ""
    if repeats or exam.find(prompt, answer, task):
        return repeats or "leak"
    return band(prompt, answer) if band else ""


def _parse(text: str) -> Any:
    """The JSON value in a model's answer, whatever stands around it."""
    body = re.sub(r"^\s*```\w*\s*|\s*```\s*$", "", text)
    starts = [i for i in (body.find("{"), body.find("[")) if i >= 0]
    if not starts:
        raise ValueError("not_json")
    try:
        return parse_json(body[min(starts) : max(body.rfind("}"), body.rfind("]")) + 1])
    except ValueError:
        raise ValueError("not_json") from None
