"""Task `several`: several tasks in one recipe, so that one model learns them together.

A row belongs to the part whose `when` stands in its prompt, else to one that has no `when`. Where
that leaves several, the right answer tells: JSON belongs to the part that has its fields, prose to
one without fields. No two parts have a field in common, so an answer that stands alone tells, too.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.json_text import parse_json
from curation.plugins import check_options, find_plugin, plugin
from curation.tasks._base import Task

NO_TASK = "no_task"
_JSON = re.compile(r"\s*(?:```json\s*)?\{")


@plugin()
def several(*, tasks: dict, system: str = "") -> Task:
    """The task of doing each of `tasks`: by name its `use`, its options and, if need be, `when`.

    `when` is a regular expression that is looked for in the prompt. `system` is the instruction of
    those that have none of their own. Raises `ValueError` for a part that is none, and for a field
    that two parts have.
    """
    if not tasks:
        raise ValueError("task.tasks: at least one task is needed")
    parts = {str(name): _make(str(name), said, system) for name, said in tasks.items()}
    owners: dict[str, str] = {}
    for name, part in parts.items():
        for field in part.fields:
            if (other := owners.setdefault(field, name)) != name:
                raise ValueError(
                    f"task.tasks.{name}: the field {field!r} is one of {other!r}, too; by its "
                    "fields an answer tells which task it is of"
                )
    when = {str(n): _pattern(str(n), said["when"]) for n, said in tasks.items() if "when" in said}
    return Several(parts, when, system)


@dataclass(frozen=True)
class Several:
    """The task made by `several`; see the `Task` protocol for what its methods promise."""

    parts: Mapping[str, Task]
    when: Mapping[str, re.Pattern[str]]
    system: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Those of all parts."""
        return tuple(field for part in self.parts.values() for field in part.fields)

    @property
    def ordered(self) -> frozenset[str]:
        """Those fields of all parts in which the order counts."""
        return frozenset().union(*(getattr(part, "ordered", ()) for part in self.parts.values()))

    @property
    def closed(self) -> Mapping[str, Sequence[str]]:
        """Those of all parts; a slot that two have may hold what either allows."""
        found: dict[str, tuple[str, ...]] = {}
        for part in self.parts.values():
            for slot, values in part.closed.items():
                found[slot] = tuple(dict.fromkeys((*found.get(slot, ()), *values)))
        return found

    def part(self, utterance: str, answer: str) -> tuple[str, Task]:
        """The part that a row belongs to, ("", self) where its prompt fits none."""
        fits = [name for name, pattern in self.when.items() if pattern.search(utterance)]
        fits = fits or [name for name in self.parts if name not in self.when]
        name = self._of_form(answer, fits) if fits else ""
        return name, self.parts[name] if name else self

    def check(self, utterance: str, answer: str) -> str:
        """ "" or the reason of the row's own part, `no_task` for a row that belongs to none."""
        name, part = self.part(utterance, answer)
        return part.check(utterance, answer) if name else NO_TASK

    def canonical(self, answer: str) -> str:
        """That of the part whose form the answer has."""
        return self._alone(answer)[1].canonical(answer)

    def slots(self, answer: str) -> list[str]:
        """Those of the part whose form the answer has."""
        return self._alone(answer)[1].slots(answer)

    def signature(self, gold: str, predicted: str) -> str:
        """That of the part whose form `gold` has, behind its name: `chat.too_short`."""
        name, part = self._alone(gold)
        signature = part.signature(gold, predicted)
        return f"{name}.{signature}" if signature else ""

    def corrupt(self, answer: str, utterance: str, *, seed: int) -> list[tuple[str, str]]:
        """Wrong answers as the row's own part makes them; none for a row that belongs to none."""
        name, part = self.part(utterance, answer)
        return part.corrupt(answer, utterance, seed=seed) if name else []

    def _alone(self, answer: str) -> tuple[str, Task]:
        name = self._of_form(answer, [*self.parts])
        return name, self.parts[name]

    def _of_form(self, answer: str, names: Sequence[str]) -> str:
        """The part that has a field of the answer, else one of its form, else the first."""
        is_json, held = bool(_JSON.match(answer)), _keys(answer)

        def fit(name: str) -> tuple[bool, bool]:
            fields = self.parts[name].fields
            return not held.isdisjoint(fields), is_json == bool(fields)

        return max(names, key=fit)  # of equal ones the first


def _make(name: str, said: Any, system: str) -> Task:
    where = f"task.tasks.{name}"
    if not name.isidentifier():
        raise ValueError(f"{where}: a name is a word of letters, digits and _")
    if not isinstance(said, Mapping) or "use" not in said:
        raise ValueError(f"{where}: expected a mapping with 'use', got {said!r}")
    if said["use"] == "several":
        raise ValueError(f"{where}: name the tasks of it here; 'several' is no part of 'several'")
    factory = find_plugin("curation.tasks", str(said["use"]))
    options = {key: value for key, value in said.items() if key not in ("use", "when")}
    if "system" in inspect.signature(factory).parameters:
        options = {"system": system} | options
    arguments, errors = check_options(factory, options, where=where)
    if errors:
        raise ValueError("\n".join(errors))
    try:
        return factory(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _keys(answer: str) -> set[str]:
    """The keys of a JSON object; none of anything else."""
    try:
        value = parse_json(answer)
    except ValueError:
        return set()
    return set(value) if isinstance(value, dict) else set()


def _pattern(name: str, said: Any) -> re.Pattern[str]:
    try:
        return re.compile(said)
    except (re.error, TypeError) as error:
        raise ValueError(f"task.tasks.{name}.when: {said!r} is no pattern: {error}") from None
