"""What a language model says of an error type: its name, why models fail, and the rule to teach.

It was written from bad cases, so it is material as they are: checked, fenced, and never in a system
message.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from curation.augmenters._base import AugmentWork
from curation.augmenters._llm_calls import NAME, Ask, Calls
from curation.augmenters._llm_rows import parse_object
from curation.augmenters._llm_types import LESSON, OpenType, turn_of
from curation.augmenters._prompts import Prompt, fill_messages, number_cases
from curation.error_types import readable_name
from curation.json_text import fenced
from curation.llm import Reply
from curation.personal import find_personal
from curation.rows import clean_text
from curation.unsafe_text import unsafe_reason

_CASES = 8
_MOST = {"name_zh": 40, "name_en": 80, "cause": 300, "trigger": 300, "rule": 300}
"""Longest texts, in characters."""


def ask_names(
    types: Sequence[OpenType],
    work: AugmentWork,
    calls: Calls,
    *,
    prompt: Prompt,
    parameters: Mapping[str, Any],
) -> None:
    """Have each type named by one call, or by the call that named it in an earlier version.

    A name that people gave stays. Where the answer cannot be used the type keeps the name it had.
    """
    asked = [_ask(error_type, work, prompt, parameters) for error_type in types]
    known = [_read_again(*both, calls) for both in zip(asked, types, strict=True)]
    new = [ask for ask, reply in zip(asked, known, strict=True) if not reply]
    fresh = iter(calls.ask(new))
    for error_type, reply in zip(types, known, strict=True):
        reply = reply or next(fresh)
        try:
            lesson = _lesson_of(reply)
        except ValueError as error:
            lesson = {}
            work.report(f"{error_type.lesson['name']}: not named, {error}")
        renamed = error_type.lesson["name"] != readable_name(error_type.signature)
        if lesson and not renamed:
            error_type.lesson |= {"name": lesson["name_en"], "name_zh": lesson["name_zh"]}
        error_type.lesson |= {key: lesson[key] for key in LESSON if lesson}


def read_lesson(text: str) -> dict[str, str]:
    """name_zh, name_en, cause, trigger and rule; `ValueError` with a short reason."""
    said, lesson = parse_object(text), {}
    for name, most in _MOST.items():
        value = said.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"no_{name}")
        value = " ".join(clean_text(value).split())
        if len(value) > most:
            raise ValueError(f"{name}_too_long")
        if wrong := unsafe_reason(value) or ("personal" if find_personal(value) else ""):
            raise ValueError(f"{name}:{wrong}")
        lesson[name] = value
    return lesson


def _lesson_of(reply: Reply) -> dict[str, str]:
    if reply.error:
        raise ValueError(f"call failed: {reply.error}")
    return read_lesson(reply.text)


def _ask(
    error_type: OpenType, work: AugmentWork, prompt: Prompt, parameters: Mapping[str, Any]
) -> Ask:
    cases = turn_of(error_type.cases, error_type.signature, _CASES)
    material = {"signature": error_type.signature, "cases": number_cases(cases)}
    task = work.task.part(cases[0]["prompt"], cases[0]["gold"])[1]
    system = {"task": task.system, "fields": task.fields}
    messages = fill_messages(prompt, system, cases=fenced(material))
    ids = tuple(case["id"] for case in cases)
    return Ask(NAME, error_type.signature, {"messages": messages, **parameters}, cases=ids)


def _read_again(ask: Ask, error_type: OpenType, calls: Calls) -> Reply | None:
    """The reply that named the type before, while the cases which it showed are there."""
    own = {case["id"] for case in error_type.cases}
    for line in calls.earlier.calls.iter_rows(named=True):
        if line["kind"] == NAME and line["signature"] == ask.signature and own >= {*line["cases"]}:
            before = Ask(NAME, ask.signature, {}, tuple(line["cases"]))
            return calls.read(before, line["call"])
    return None
