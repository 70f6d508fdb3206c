"""The script of a scripted server as a file: what it answers, and how it fails, line by line.

    {"failure": "rate_limited", "retry_after_s": 1, "times": 2}
    {"contains": "空调", "answer": {"rows": []}}
    {"answer": "好的"}

Failures come first, one a request. Then the first line answers whose `contains` stands in one of
the messages; one without it answers everything. `answer` is text, or a value that is sent as JSON.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curation import scripted_llm
from curation.json_text import parse_json
from curation.plugins import nearest
from curation.scripted_llm import Answer, Failure

FAILURES: dict[str, Callable[..., Failure]] = {
    function.__name__: function
    for function in (
        scripted_llm.rate_limited, scripted_llm.quota_exhausted, scripted_llm.refused_key,
        scripted_llm.server_error, scripted_llm.html_page, scripted_llm.broken_json,
        scripted_llm.refusal, scripted_llm.truncated, scripted_llm.wrong_types,
        scripted_llm.wrong_count, scripted_llm.unsupported_form, scripted_llm.redirect,
        scripted_llm.drip,
    )
}  # fmt: skip


def read_script(path: Path) -> tuple[Callable[[dict], Answer], list[Failure]]:
    """What answers a request, and the failures that come first; `ValueError` with the line."""
    answers, failures = list[tuple[str, Answer]](), list[Failure]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = parse_json(line)
            if not isinstance(said, dict):
                raise ValueError(f"expected an object, got {said!r}")
            if "failure" in said:
                failures += _failures(said)
            else:
                answers.append(_answer(said))
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: {error}") from None
    return lambda request: _find(answers, request), failures


def _failures(said: Mapping[str, Any]) -> list[Failure]:
    name, times = said["failure"], said.get("times", 1)
    if name not in FAILURES:
        raise ValueError(f"no failure is called {name!r}{nearest(name, FAILURES)}")
    if not isinstance(times, int) or times < 1:
        raise ValueError(f"times is {times!r}; a failure comes once at least")
    options = {key: value for key, value in said.items() if key not in ("failure", "times")}
    try:
        return [FAILURES[name](**options)] * times
    except (TypeError, ValueError) as error:
        raise ValueError(str(error).replace("()", "")) from None


def _answer(said: Mapping[str, Any]) -> tuple[str, Answer]:
    if unknown := said.keys() - {"contains", "answer"}:
        raise ValueError(f"unknown key {min(unknown)!r}; a line has answer, contains or failure")
    answer, contains = said.get("answer"), said.get("contains", "")
    if not isinstance(answer, str | dict | list) or not isinstance(contains, str):
        raise ValueError("answer is text, an object or a list, and contains is text")
    return contains, answer


def _find(answers: list[tuple[str, Answer]], request: Mapping[str, Any]) -> Answer:
    texts = [str(message.get("content") or "") for message in request.get("messages", ())]
    for contains, answer in answers:
        if any(contains in text for text in texts):
            return answer
    said = {"error": {"message": "no line of the script answers this", "code": "no_answer"}}
    return Failure(400, json.dumps(said))
