"""Plausible wrong answers of slot tasks, one function a kind.

Each takes a copy of the right answer and returns a wrong one, as a value or as text that is not
even JSON; None where its kind does not apply. They stay near the truth on purpose: a pair that
anybody can tell apart teaches a reward model nothing.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

Item = dict[str, str]
Answer = dict[str, list[Item]]


class Slotted(Protocol):
    """What a corruption has to know of the task."""

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def closed(self) -> Mapping[str, tuple[str, ...]]: ...


def compact(value: Any) -> str:
    """JSON the way answers are written: real characters, no spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _drop_field(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    return _without(value, rng.choice(sorted(value))) if len(value) > 1 else None


def _drop_item(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    long = [name for name in sorted(value) if len(value[name]) > 1]
    if not long:
        return None
    name = rng.choice(long)
    gone = rng.randrange(len(value[name]))
    return {**value, name: value[name][:gone] + value[name][gone + 1 :]}


def _drop_slot(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    places = [(item, key) for item, key in _places(value) if len(item) > 1]
    if places:
        item, key = rng.choice(places)
        del item[key]
    return value if places else None


def _other_choice(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    places = [(item, key) for item, key in _places(value) if len(task.closed.get(key, ())) > 1]
    if places:
        item, key = rng.choice(places)
        item[key] = rng.choice([v for v in task.closed[key] if v != item[key]])
    return value if places else None


def _cut_span(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    places = _free(task, value, lambda text: len(text) > 1)
    if places:
        item, key = rng.choice(places)
        item[key] = item[key][1:] if rng.random() < 0.5 else item[key][:-1]
    return value if places else None


def _other_number(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    places = _free(task, value, lambda text: bool(re.search("[0-9]", text)))
    if places:
        item, key = rng.choice(places)
        shift = rng.choice([1, 2, 10])
        item[key] = re.sub("[0-9]+", lambda m: str(int(m.group()) + shift), item[key], count=1)
    return value if places else None


def _borrowed(task: Slotted, value: Answer, said: str, rng: random.Random) -> Any:
    """A span of the utterance that belongs to no slot, or to another one."""
    places = _free(task, value, lambda text: len(said) > len(text) + 1)
    if places:
        item, key = rng.choice(places)
        size = len(item[key])
        start = rng.randrange(len(said) - size + 1)
        item[key] = said[start : start + size].strip() or said
    return value if places else None


def _added_field(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    absent = [name for name in task.fields if name not in value]
    return {**value, (absent[0] if absent else "note"): [dict(next(_places(value))[0])]}


def _prose(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    return rng.choice(["好的，", "没问题：", "Sure: "]) + compact(value)


def _cut_json(task: Slotted, value: Answer, _said: str, rng: random.Random) -> Any:
    text = compact(value)
    return text[: rng.randrange(len(text) // 2, len(text))]


def _places(value: Answer) -> Iterator[tuple[Item, str]]:
    for name in sorted(value):
        for item in value[name]:
            yield from ((item, key) for key in sorted(item))


def _free(task: Slotted, value: Answer, fits: Callable[[str], bool]) -> list[tuple[Item, str]]:
    return [
        (item, key) for item, key in _places(value) if key not in task.closed and fits(item[key])
    ]


def _without(value: Answer, name: str) -> dict:
    return {key: held for key, held in value.items() if key != name}


CORRUPTIONS: dict[str, Callable[..., Any]] = {
    "drop_field": _drop_field,
    "drop_item": _drop_item,
    "drop_slot": _drop_slot,
    "other_choice": _other_choice,
    "cut_span": _cut_span,
    "other_number": _other_number,
    "borrowed": _borrowed,
    "added_field": _added_field,
    "prose": _prose,
    "cut_json": _cut_json,
}
"""In the order they are made."""
