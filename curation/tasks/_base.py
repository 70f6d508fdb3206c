"""What a task knows: which answers are valid, which are equal, and in what way one is wrong.

A task is all text in and text out and deterministic, so the same judgement stands behind row rules,
bad-case error types, reward pairs and metrics.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Task(Protocol):
    """The judgement of one kind of answer."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields an answer may hold; () for free text."""
        ...

    @property
    def closed(self) -> Mapping[str, Sequence[str]]:
        """Allowed values of slots that need not stand in the utterance, by slot; {} for none."""
        ...

    @property
    def system(self) -> str:
        """The product's instruction, the system message of this task's rows; "" for none."""
        ...

    @property
    def parts(self) -> Mapping[str, "Task"]:
        """The tasks that this one is made of, by name; {} for one of its own."""
        ...

    def part(self, utterance: str, answer: str) -> tuple[str, "Task"]:
        """The name and the task of the part that a row belongs to by its prompt and right answer.

        ("", self) where a task has no parts, or the row belongs to none.
        """
        ...

    def check(self, utterance: str, answer: str) -> str:
        """ "" when the answer is valid for the utterance, else such as `missing_field:actions`."""
        ...

    def canonical(self, answer: str) -> str:
        """One text for all answers that mean the same; the stripped text of what does not parse."""
        ...

    def slots(self, answer: str) -> list[str]:
        """The answer as a flat multiset of slot texts for slot F1; [] where it does not parse."""
        ...

    def signature(self, gold: str, predicted: str) -> str:
        """The error in `predicted`, such as `wrong_value:actions.what`; "" when both are equal."""
        ...

    def corrupt(self, answer: str, utterance: str, *, seed: int) -> list[tuple[str, str]]:
        """Plausible wrong answers as (answer, kind); none means the same as the right one."""
        ...


def sign_error(task: Task, utterance: str, gold: str, predicted: str) -> str:
    """The error in what was answered, behind the name of the row's part if it has one:
    `wrong_value:actions.what` or `chat.too_short`; "" when both are equal."""
    name, own = task.part(utterance, gold)
    signature = own.signature(gold, predicted)
    return f"{name}.{signature}" if name and signature else signature


def names_slots(task: Task) -> bool:
    """Whether every valid answer has fields: those of all parts, where a task has parts."""
    return all(part.fields for part in task.parts.values()) if task.parts else bool(task.fields)
