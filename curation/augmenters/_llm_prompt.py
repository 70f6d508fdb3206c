"""Prompts that ask for rows against one error type; reading the answer is in `_llm_rows`.

The words stand in versioned files of `curation/prompts`. Text from bad cases is data: it goes in as
JSON between fences it cannot close, in the user's message and never in the system's.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from curation.json_text import fenced

VERSION = "v1"
_FOLDER = Path(__file__).parents[1] / "prompts"


def build_messages(
    *,
    task: str,
    fields: Sequence[str],
    error_type: str,
    cases: Sequence[Mapping[str, str]],
    examples: Sequence[tuple[str, str]],
    reasons: Mapping[str, int],
    count: int,
    batch: int,
    language: str,
) -> list[dict[str, str]]:
    """System and user message asking for `count` rows.

    `cases` have prompt, gold and predicted and are numbered from 1; `examples` are (prompt, answer)
    of trusted rows; `reasons` are those of the last batch's refusals with their numbers.
    """
    system, user, feedback = _parts(language)
    numbered = [
        {"n": n, **{k: _value(case[k]) for k in ("prompt", "gold", "predicted")}}
        for n, case in enumerate(cases, 1)
    ]
    shown = [
        f"<example>\n{fenced({'prompt': p, 'answer': _value(a)})}\n</example>" for p, a in examples
    ]
    asked = user.substitute(
        cases=fenced({"error_type": error_type, "cases": numbered}),
        examples="\n".join(shown),
        feedback=feedback.substitute(reasons=fenced(dict(reasons))) if reasons else "",
        count=count,
        batch=batch,
    )
    told = system.substitute(task=task or "-", fields=", ".join(fields) or "-")
    return [{"role": "system", "content": told}, {"role": "user", "content": asked}]


@cache
def _parts(language: str) -> tuple[Template, Template, Template]:
    text = (_FOLDER / f"augment_{language}.{VERSION}.txt").read_text(encoding="utf-8")
    system, rest = text.split("=== user ===\n")
    user, feedback = rest.split("=== feedback ===\n")
    return Template(system.strip()), Template(user.strip()), Template(feedback.rstrip())


def _value(text: str) -> Any:
    """A JSON object as an object, so that the model answers with one; other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text
