"""Reading what a model wrote as rows, and refusing what may not be trained on, with the reason.

Checks stand in the order of their cost. A reason is short and has no text of its own where it can,
because the most frequent ones go back into the next prompt.
"""

import json
import re
from collections.abc import Set
from typing import Any

from curation.json_text import parse_json
from curation.rows import canonical_json, clean_text, guess_language
from curation.tasks._base import Task
from curation.text import text_key
from curation.unsafe_text import unsafe_reason


def parse_rows(text: str) -> list[Any]:
    """The proposals in a model's answer; `ValueError` when there is no JSON list of rows in it."""
    body = re.sub(r"^\s*```\w*\s*|\s*```\s*$", "", text)
    starts = [i for i in (body.find("{"), body.find("[")) if i >= 0]
    if not starts:
        raise ValueError("not_json")
    try:
        value = parse_json(body[min(starts) : max(body.rfind("}"), body.rfind("]")) + 1])
    except ValueError:
        raise ValueError("not_json") from None
    rows = value.get("rows") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError("no_rows")
    return rows


def proposal_text(proposal: Any) -> str:
    """A proposal as text for people, at most 2,000 characters."""
    return json.dumps(proposal, ensure_ascii=False)[:2000]


def read_proposal(proposal: Any) -> tuple[str, str, int]:
    """(prompt, answer, number of the case it follows or 0); `ValueError` with a short reason."""
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
    try:
        return clean_text(prompt.strip()), clean_text(answer.strip()), parent
    except ValueError:
        raise ValueError("unsafe_character") from None


def refusal(
    prompt: str,
    answer: str,
    *,
    task: Task,
    known: Set[str],
    languages: Set[str] = frozenset(),
    max_chars: int = 2000,
) -> str:
    """ "" when the row may be trained on, else a short reason.

    `known` are the `text_key`s of prompts that exist; `languages` those the trusted rows are in
    (`zh`, `en`), empty for any.
    """
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
    return "repeats_a_known_prompt" if text_key(prompt) in known else ""
