"""Prompts are files with versions, `curation/prompts/KIND_LANGUAGE.VERSION.txt`, or your own file.

A file has parts, `=== user ===` and, where refusals are told, `=== feedback ===`; what stands first
is the system message. `$name` is filled in. What other people wrote goes in as JSON between fences
it cannot close, in the user's message and never in the system's. A version that was used is not
changed: another one is added.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from curation.json_text import fenced
from curation.plugins import nearest
from curation.rows import digest

FOLDER = Path(__file__).parents[1] / "prompts"
_PART = re.compile(r"^=== (\w+) ===\n", re.MULTILINE)
_FIELDS = {
    "augment": {
        "system": {"task", "fields"},
        "user": {"cases", "examples", "feedback", "count", "batch", "near", "contrast"},
        "feedback": {"reasons"},
    },
    "answer": {"system": {"task", "fields"}, "user": {"examples", "said"}},
    "name": {"system": {"task", "fields"}, "user": {"cases"}},
}
"""What may be filled in, by kind and part."""
_NEEDED = {"augment": {"cases", "count"}, "answer": {"said"}, "name": {"cases"}}
for _kind, _like in {"self_instruct": "augment", "distill": "answer", "reason": "answer"}.items():
    _FIELDS[_kind], _NEEDED[_kind] = _FIELDS[_like], _NEEDED[_like]
_FIELDS["translate"], _NEEDED["translate"] = {"system": set(), "user": {"said"}}, {"said"}
_SHOWN = ("prompt", "gold", "predicted")
_NEAR, _CONTRAST = 0.3, 0.3
"""Shares of the rows of a call that are to be near misses and contrast pairs."""


@dataclass(frozen=True)
class Prompt:
    """A prompt read from its file; `digest` is that of its words."""

    name: str
    digest: str
    system: Template
    user: Template
    feedback: Template

    @property
    def label(self) -> str:
        """What a row says of the prompt it was written by: `v2 0f3a77c1`."""
        return f"{self.name} {self.digest[:8]}"


@cache
def load_prompt(kind: str, language: str, version: str | Path) -> Prompt:
    """The prompt of a kind, by the version of one of ours or by its file.

    Raises `ValueError` for a version that there is not, and for a file that is no prompt.
    """
    path = version if isinstance(version, Path) else FOLDER / f"{kind}_{language}.{version}.txt"
    if not path.is_file():
        raise ValueError(f"no prompt {kind!r} has the version {str(version)!r}"
                         + nearest(str(version), prompt_versions(kind)))  # fmt: skip
    text = path.read_text(encoding="utf-8")
    system, *rest = _PART.split(text)
    parts = {"system": system, **dict(zip(rest[::2], rest[1::2], strict=True))}
    if problem := _find_problem(parts, kind):
        raise ValueError(f"{path.name}: {problem}")
    templates = {name: Template(part.strip()) for name, part in parts.items()}
    feedback = Template(parts.get("feedback", "").rstrip())
    name = version if isinstance(version, str) else version.name
    return Prompt(name, digest(text), templates["system"], templates["user"], feedback)


def prompt_versions(kind: str) -> list[str]:
    """The versions of ours, oldest first: `["v1", "v2"]`."""
    found = {path.name.split(".")[1] for path in FOLDER.glob(f"{kind}_*.*.txt")}
    return sorted(found, key=lambda name: int(name[1:]))


def fill_messages(prompt: Prompt, system: Mapping[str, Any], **user: Any) -> list[dict[str, str]]:
    """System and user message of a prompt; `system` has the task's instruction and its fields."""
    told = prompt.system.substitute(
        task=system["task"] or "-", fields=", ".join(system["fields"]) or "-"
    )
    said = prompt.user.substitute(**user)
    return [{"role": "system", "content": told}, {"role": "user", "content": said}]


def ask_for_rows(
    prompt: Prompt,
    system: Mapping[str, Any],
    *,
    topic: Mapping[str, str],
    cases: Sequence[Mapping[str, str]],
    examples: Iterable[tuple[str, str]],
    reasons: Mapping[str, int],
    count: int,
    batch: int,
) -> list[dict[str, str]]:
    """Messages asking for `count` rows against an error type, or of a category.

    `topic` has the name of the error type or category and what else is known of it; `cases` have
    prompt, gold and, of bad cases, predicted, and are numbered from 1; `examples` are (prompt,
    answer) of trusted rows; `reasons` are those of the last batch's refusals with their numbers.
    """
    material = {**topic, "cases": number_cases(cases)}
    told = prompt.feedback.substitute(reasons=fenced(dict(reasons))) if reasons else ""
    numbers = {"count": count, "batch": batch}
    numbers |= {"near": round(count * _NEAR), "contrast": round(count * _CONTRAST)}
    shown = show_examples(examples)
    return fill_messages(
        prompt, system, cases=fenced(material), examples=shown, feedback=told, **numbers
    )


def number_cases(cases: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Bad cases, or rows without what a model said, as they are shown, numbered from 1."""
    shown = [{k: _value(case[k]) for k in _SHOWN if k in case} for case in cases]
    return [{"n": n, **case} for n, case in enumerate(shown, 1)]


def show_examples(examples: Iterable[tuple[str, str]]) -> str:
    """Trusted rows, (prompt, answer), as they are shown."""
    shown = (fenced({"prompt": prompt, "answer": _value(answer)}) for prompt, answer in examples)
    return "\n".join(f"<example>\n{one}\n</example>" for one in shown)


def _find_problem(parts: Mapping[str, str], kind: str) -> str:
    """What keeps these parts from being a prompt of the kind; "" for nothing."""
    known = _FIELDS[kind]
    if "user" not in parts:
        return "there is no line '=== user ==='"
    for name, part in parts.items():
        if name not in known:
            return f"'=== {name} ===' is no part of a prompt{nearest(name, known)}"
        template = Template(part)
        if not template.is_valid():
            return "a $ that begins no name is written $$"
        if odd := sorted({*template.get_identifiers()} - known[name]):
            return f"${odd[0]} is filled in nowhere in this part{nearest(odd[0], known[name])}"
    if missing := sorted(_NEEDED[kind] - {*Template(parts["user"]).get_identifiers()}):
        return f"${missing[0]} is missing in the user's message"
    return ""


def _value(text: str) -> Any:
    """A JSON object as an object, so that the model answers with one; other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text
