"""What a preset is: how to know a record by its keys, and what it says of a bad case."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Data = Mapping[str, Any]


def _whole(record: Data) -> Iterable[Data]:
    return (record,)


@dataclass(frozen=True)
class Preset:
    """One form of record.

    `fits` tells a record of this form by its keys. `parts` are the records that one delivered
    record holds, itself as a rule. `read` gives what a part says: `prompt`, `predicted`, `found_by`
    where it is told, and `gold` where somebody corrected the answer; it raises `ValueError` with
    the reason why it is no bad case.
    """

    fits: Callable[[Data], bool]
    read: Callable[[Data], dict[str, Any]]
    parts: Callable[[Data], Iterable[Data]] = _whole


def said(value: Any) -> Data:
    """A mapping as it is, anything else as an empty one, so that a key may be asked for."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Data]:
    """The mappings of a list; none of anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def case(prompt: str, predicted: str, gold: str | None, found_by: Any = "") -> dict[str, Any]:
    """What a part says, without a key for what nobody said."""
    named = {"found_by": found_by} if isinstance(found_by, str) and found_by else {}
    corrected = {} if gold is None else {"gold": gold}
    return {"prompt": prompt, "predicted": predicted, **corrected, **named}
