"""From records of other products to plain ones of `{prompt, gold, predicted, found_by}`.

A preset (`curation/presets`, one file each) knows one form; `auto` takes the first by name that
knows a record. What a record provokes costs that record and is written down.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from curation.ingest import raw_text
from curation.plugins import find_plugin, plugin_names
from curation.presets._base import Preset
from curation.presets._texts import answer_text
from curation.sources._base import Record

FOLDER = "curation.presets"
AUTO = "auto"
Delivered = tuple[str, Any]
"""The position of a record, and the record or what its source said of it."""


def form_names() -> list[str]:
    """The forms that can be named, `auto` first."""
    return [AUTO, *plugin_names(FOLDER)]


def read_forms(
    records: Iterable[Delivered], *, form: str = AUTO, gold: str = ""
) -> Iterator[Delivered]:
    """(position, plain record) of each bad case that the records hold, in their order.

    `gold` names where the corrected answer stands, such as `metadata.correction`; without it the
    preset knows. Positions of several cases in one record are `traces.jsonl:7#2`. Raises
    `ValueError` for a form that is not known.
    """
    names = plugin_names(FOLDER) if form == AUTO else [form]
    presets = [find_plugin(FOLDER, name)() for name in names]
    fallback = presets[0] if form != AUTO else find_plugin(FOLDER, "plain")()
    return _read(records, presets, fallback, gold)


def _read(
    records: Iterable[Delivered], presets: list[Preset], fallback: Preset, gold: str
) -> Iterator[Delivered]:
    for position, record in records:
        data = record.data if isinstance(record, Record) else record
        if isinstance(data, Mapping):
            yield from _cases(position, data, presets, fallback, gold)
        else:
            yield position, record


def _cases(
    position: str, data: Mapping[str, Any], presets: list[Preset], fallback: Preset, gold: str
) -> Iterator[Delivered]:
    try:
        preset = next((one for one in presets if one.fits(data)), fallback)
        parts = [*preset.parts(data)]
    except Exception as error:
        yield position, _refused(position, data, error)
        return
    for number, part in enumerate(parts, 1):
        at = position if len(parts) == 1 else f"{position}#{number}"
        try:
            case = _corrected(preset.read(part), part, gold)
            yield at, case if "gold" in case else Record(at, case, raw=raw_text(part))
        except Exception as error:
            yield at, _refused(at, part, error)


def _corrected(case: dict[str, Any], part: Mapping[str, Any], gold: str) -> dict[str, Any]:
    """The case with the answer that stands where `gold` says, if one does."""
    answer = answer_text(_find(part, gold)) if gold else None
    return case if answer is None else {**case, "gold": answer}


def _find(data: Any, path: str) -> Any:
    """The value under a key, or under keys joined by dots; a key may hold dots itself."""
    if not isinstance(data, Mapping) or path in data:
        return data.get(path) if isinstance(data, Mapping) else None
    parts = path.split(".")
    heads = (".".join(parts[:n]) for n in range(1, len(parts)))
    return next((_find(data[head], path[len(head) + 1 :]) for head in heads if head in data), None)


def _refused(position: str, data: Mapping[str, Any], error: Exception) -> Record:
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return Record(position, None, reason[:300], raw_text(data))
