"""Task `json_slots`: the answer is a JSON object whose values are spans of the utterance.

Two rules carry everything. A value is grounded: it stands in the utterance, itself or by an alias,
with its whole number, sign and unit. And an answer has one written form: fields that hold nothing
are left out, so `{"conditions":[],"actions":[…]}` is refused although it means the same.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.json_text import parse_json
from curation.plugins import nearest, plugin
from curation.tasks._base import Task
from curation.tasks._clauses import Slot, are_opposite, find_mix_up
from curation.tasks._corrupt import CORRUPTIONS, Item, compact
from curation.tasks._grounding import normal_text, stands_in


@plugin()
def json_slots(
    *,
    fields: list[str],
    optional: list[str] = (),  # type: ignore[assignment]  # empty is ()
    ordered: list[str] = (),  # type: ignore[assignment]
    slots: dict = {},  # noqa: B006  # read, never written
    closed: dict = {},  # noqa: B006
    aliases: dict = {},  # noqa: B006
    opposites: dict = {},  # noqa: B006
    grounded: bool = True,
    system: str = "",
) -> Task:
    """The task of answering with `fields`, each a list of flat objects of text.

    `slots` names the keys an object of a field may hold ("value?" may be missing); a field that is
    not named takes any. `closed` gives the allowed values of a slot, which then need not stand in
    the utterance but must not be the opposite of what it says: 打开 for 关掉空调. `aliases` gives
    other words for a value, equal to it and grounding it; `opposites` gives values of closed slots
    that are opposites without a word such as 开 and 关 in them. The order within a list counts
    only for fields in `ordered`. Raises `ValueError` for names that do not fit.
    """
    for what, names in (("optional", optional), ("ordered", ordered), ("slots", slots)):
        _check_names(f"task.{what}", names, fields, "field")
    for what, lists in (("slots", slots), ("closed", closed), ("aliases", aliases)):
        _check_lists(f"task.{what}", lists)
    if set(slots) == set(fields):  # else a field takes any slot, and any may be closed
        named = {key.rstrip("?") for keys in slots.values() for key in keys}
        _check_names("task.closed", closed, named, "slot")
    for name, other in opposites.items():
        if not isinstance(other, str):
            raise ValueError(f"task.opposites.{name}: expected a closed value, got {other!r}")
    pairs = [*opposites.items(), *((other, name) for name, other in opposites.items())]
    choices = [value for values in closed.values() for value in values]
    _check_names("task.opposites", [name for name, _ in pairs], choices, "closed value")
    groups = {name: (name, *others) for name, others in aliases.items()}
    return JsonSlots(
        fields=tuple(fields),
        optional=frozenset(optional),
        ordered=frozenset(ordered),
        keys={name: tuple(keys) for name, keys in slots.items()},
        closed={name: tuple(values) for name, values in closed.items()},
        forms={normal_text(f): tuple(map(normal_text, g)) for g in groups.values() for f in g},
        opposites={name: _pair_values(values, pairs) for name, values in closed.items()},
        grounded=grounded,
        system=system,
    )


@dataclass(frozen=True)
class JsonSlots:
    """The task made by `json_slots`; see the `Task` protocol for what its methods promise."""

    fields: tuple[str, ...]
    optional: frozenset[str]
    ordered: frozenset[str]
    keys: Mapping[str, tuple[str, ...]]
    closed: Mapping[str, tuple[str, ...]]
    forms: Mapping[str, tuple[str, ...]]
    opposites: Mapping[str, Mapping[str, Sequence[str]]]
    grounded: bool
    system: str
    parts: Mapping[str, Task] = field(default_factory=dict)

    def part(self, utterance: str, answer: str) -> tuple[str, Task]:
        """Itself: it has no parts."""
        return "", self

    def check(self, utterance: str, answer: str) -> str:
        """ "" or the first of: not_json, wrong_type, unknown_field, missing_field, empty,
        unknown_slot, missing_slot, not_allowed, ungrounded, opposite; with the place after a
        colon."""
        try:
            value = parse_json(answer)
        except ValueError:
            return "not_json"
        if not isinstance(value, dict):
            return "wrong_type:answer"
        for name in value:
            if name not in self.fields:
                return f"unknown_field:{name}"
        for name in self.fields:
            if name not in value and name not in self.optional:
                return f"missing_field:{name}"
        said = normal_text(utterance)
        reasons = (
            self._check_field(name, value[name], said) for name in self.fields if name in value
        )
        reason = next(filter(None, reasons), "")
        if reason or not self.grounded:
            return reason
        return find_mix_up(
            said, [self._place(f, n, i) for f in value for n, i in enumerate(value[f])]
        )

    def canonical(self, answer: str) -> str:
        """Compact JSON with sorted keys; width, case, spaces, aliases, empty fields and the order
        of unordered lists do not count, numbers, signs and units do."""
        items = self._read(answer)
        return answer.strip() if items is None else _dump(items)

    def slots(self, answer: str) -> list[str]:
        """`field.slot=value` for each slot, sorted."""
        items = self._read(answer) or {}
        return sorted(
            f"{f}.{k}={v}" for f, held in items.items() for i in held for k, v in i.items()
        )

    def signature(self, gold: str, predicted: str) -> str:
        """ "", bad_gold, not_json, unknown_field, missing:F, extra:F, too_few:F, too_many:F,
        wrong_order:F, missing_slot:F.S, extra_slot:F.S or wrong_value:F.S; the first that holds."""
        want, got = self._read(gold), self._read(predicted)
        if want is None or got is None:
            same = gold.strip() == predicted.strip()
            return "" if same else "bad_gold" if want is None else "not_json"
        if set(got) - set(self.fields):
            return "unknown_field"
        for name in self.fields:
            error = _field_error(name, want.get(name, []), got.get(name, []))
            if error:
                return error
        return ""

    def corrupt(self, answer: str, utterance: str, *, seed: int) -> list[tuple[str, str]]:
        """One wrong answer of each kind that the answer allows, in a fixed order.

        Kinds: drop_field, drop_item, drop_slot, other_choice, cut_span, other_number, borrowed,
        added_field, prose, cut_json. The choices inside a kind are keyed by (seed, answer).
        """
        if not self._read(answer):
            return []
        value = {k: v for k, v in parse_json(answer).items() if isinstance(v, list) and any(v)}
        if not value:
            return []
        rng = random.Random(f"{seed}:{answer}")
        right, found = self.canonical(answer), {}
        for kind, make in CORRUPTIONS.items():
            wrong = make(self, json.loads(json.dumps(value)), utterance, rng)
            if wrong is not None:
                text = wrong if isinstance(wrong, str) else compact(wrong)
                if self.canonical(text) != right:
                    found.setdefault(text, kind)
        return list(found.items())

    def grounds(self, utterance: str, value: str) -> bool:
        """Whether the value, or another word for it, stands in the utterance whole."""
        said = normal_text(utterance)
        return any(stands_in(said, form) for form in self._forms(value))

    def _forms(self, value: str) -> tuple[str, ...]:
        wanted = normal_text(value)
        return self.forms.get(wanted, (wanted,))

    def _check_field(self, field: str, held: Any, said: str) -> str:
        if not isinstance(held, list):
            return f"wrong_type:{field}"
        if not held:
            return f"empty:{field}"
        for number, item in enumerate(held):
            reason = self._check_item(field, f"{field}[{number}]", item, said)
            if reason:
                return reason
        return ""

    def _check_item(self, field: str, place: str, item: Any, said: str) -> str:
        if not isinstance(item, dict) or not item:
            return f"wrong_type:{place}"
        keys = self.keys.get(field)
        if keys is not None:
            unknown = [key for key in item if key not in keys and f"{key}?" not in keys]
            missing = [key for key in keys if key[-1] != "?" and key not in item]
            if unknown or missing:
                what = "unknown_slot" if unknown else "missing_slot"
                return f"{what}:{place}.{(unknown or missing)[0]}"
        reasons = (self._check_value(f"{place}.{key}", key, item[key], said) for key in item)
        return next(filter(None, reasons), "")

    def _check_value(self, place: str, key: str, value: Any, said: str) -> str:
        if not isinstance(value, str) or not value.strip():
            return f"wrong_type:{place}"
        if key in self.closed:
            return "" if value in self.closed[key] else f"not_allowed:{place}={value}"
        return (
            "" if not self.grounded or self.grounds(said, value) else f"ungrounded:{place}={value}"
        )

    def _place(self, field: str, number: int, item: Item) -> list[Slot]:
        """The slots of an item, with the other words for their values and for their opposites."""
        slots = []
        for key, value in item.items():
            opposites = self.opposites.get(key, {}).get(value, ())
            forms = [self._forms(other) for other in opposites]
            place = f"{field}[{number}].{key}={value}"
            slots.append(Slot(place, self._forms(value), key not in self.closed, forms))
        return slots

    def _read(self, answer: str) -> dict[str, list[Item]] | None:
        """The answer with canonical values and without empty fields; None for another shape."""
        try:
            value = parse_json(answer)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        fields: dict[str, list[Item]] = {}
        for name, held in value.items():
            items = held if isinstance(held, list) else [held]
            if not all(_is_flat(item) for item in items):
                return None
            read = [{k: self._canonical_value(v) for k, v in item.items()} for item in items]
            if read:
                fields[name] = read if name in self.ordered else sorted(read, key=_dump)
        return fields

    def _canonical_value(self, value: str) -> str:
        text = normal_text(value)
        return self.forms.get(text, (text,))[0]


def _check_names(where: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: {name!r} is no {what}{nearest(name, known)}")


def _check_lists(where: str, lists: Mapping[str, Any]) -> None:
    for name, values in lists.items():
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise ValueError(f"{where}.{name}: expected a list of texts, got {values!r}")


def _pair_values(values: Sequence[str], pairs: Sequence[tuple]) -> dict[str, list[str]]:
    """The opposites of each value, by the recipe's pairs and by the words in it."""
    return {
        one: [other for other in values if (one, other) in pairs or are_opposite(one, other)]
        for one in values
    }


def _is_flat(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(v, str) for v in item.values())


def _field_error(field: str, want: Sequence[Item], got: Sequence[Item]) -> str:
    if list(want) == list(got):
        return ""
    if not got or not want:
        return f"{'missing' if want else 'extra'}:{field}"
    if len(want) != len(got):
        return f"{'too_few' if len(got) < len(want) else 'too_many'}:{field}"
    if sorted(want, key=_dump) == sorted(got, key=_dump):
        return f"wrong_order:{field}"
    pairs = [(w, g) for w, g in zip(want, got, strict=True) if w != g]
    return next(f"{what}:{field}.{key}" for w, g in pairs for what, key in _item_errors(w, g))


def _item_errors(want: Item, got: Item) -> Iterator[tuple[str, str]]:
    yield from (("missing_slot", key) for key in want if key not in got)
    yield from (("extra_slot", key) for key in sorted(got) if key not in want)
    yield from (("wrong_value", key) for key in want if want[key] != got.get(key))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
