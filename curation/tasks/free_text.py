"""Task `free_text`: any answer that says something is valid; equal are answers that read the same.

Width, case and spaces do not count; punctuation and numbers do.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from curation.plugins import plugin
from curation.tasks._base import Task
from curation.tasks._grounding import normal_text

_NUMBER = re.compile("[0-9]+")


@plugin()
def free_text(*, system: str = "") -> Task:
    """The task of answering in prose."""
    return FreeText(system=system)


@dataclass(frozen=True)
class FreeText:
    """The task made by `free_text`; see the `Task` protocol for what its methods promise."""

    system: str = ""
    fields: tuple[str, ...] = ()
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Mapping[str, Task] = field(default_factory=dict)

    def part(self, utterance: str, answer: str) -> tuple[str, Task]:
        """Itself: it has no parts."""
        return "", self

    def check(self, utterance: str, answer: str) -> str:
        """ "" or `empty`."""
        return "" if answer.strip() else "empty"

    def canonical(self, answer: str) -> str:
        """The answer without width, case and spaces."""
        return normal_text(answer)

    def slots(self, answer: str) -> list[str]:
        """Prose has no slots: []."""
        return []

    def signature(self, gold: str, predicted: str) -> str:
        """ "", empty, too_short, too_long, wrong_number or other_text."""
        want, got = normal_text(gold), normal_text(predicted)
        if want == got:
            return ""
        if not got:
            return "empty"
        if len(got) * 2 < len(want) or len(got) > len(want) * 2:
            return "too_short" if len(got) < len(want) else "too_long"
        return "wrong_number" if _NUMBER.sub("0", want) == _NUMBER.sub("0", got) else "other_text"

    def corrupt(self, answer: str, utterance: str, *, seed: int) -> list[tuple[str, str]]:
        """Kinds: cut, repeated, echo, other_number; the choices are keyed by (seed, answer)."""
        rng = random.Random(f"{seed}:{answer}")
        middle = rng.randrange(len(answer) // 3, max(len(answer) * 2 // 3, len(answer) // 3 + 1))
        shift = rng.choice([1, 2, 10])
        number = _NUMBER.sub(lambda m: str(int(m.group()) + shift), answer, count=1)
        found: dict[str, str] = {}
        for text, kind in (
            (answer[:middle], "cut"),
            (answer + answer[middle:] * 3, "repeated"),
            (utterance, "echo"),
            (number, "other_number"),
        ):
            if text.strip() and normal_text(text) != normal_text(answer):
                found.setdefault(text, kind)
        return list(found.items())
