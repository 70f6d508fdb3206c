"""Preset `langfuse`: traces of Langfuse with their scores, as `GET /api/public/traces/{id}` gives.

A corrected output is a score of the data type CORRECTION whose name is `output`; it belongs to the
trace, or to one of its observations (https://langfuse.com/docs/observability/features/corrections).
An observation with its own `scores` beside it is read in the same way, with keys of either spelling
(`dataType` of the API, `data_type` of the export to blob storage).
"""

from collections.abc import Iterable
from typing import Any

from curation.plugins import plugin
from curation.presets._base import Data, Preset, case, listed, said
from curation.presets._texts import answer_text, prompt_text, require

_MARKS = ("scores", "observations", "traceId", "trace_id", "htmlPath", "projectId", "project_id")
_TEXTS = ("value", "stringValue", "string_value", "longStringValue", "long_string_value")


@plugin()
def langfuse() -> Preset:
    """A trace, and each of its observations that has a correction; found by its model."""
    return Preset(fits=_fits, read=_read, parts=_parts)


def _fits(record: Data) -> bool:
    return "input" in record and any(mark in record for mark in _MARKS)


def _parts(trace: Data) -> Iterable[Data]:
    """What was corrected; of a trace without corrections the trace itself."""
    known = {one.get("id"): one for one in (trace, *listed(trace.get("observations")))}
    parts = []
    for score in filter(_is_correction, listed(trace.get("scores"))):
        place = score.get("observationId", score.get("observation_id"))
        corrected = known.get(place, {"missing": place}) if place else trace
        parts.append({**corrected, "correction": _text(score)})
    return parts or [trace]


def _read(part: Data) -> dict[str, Any]:
    if "missing" in part:
        raise ValueError(f"the corrected observation {part['missing']!r:.80} is not in the record")
    predicted = require(answer_text(part.get("output")))
    metadata = said(part.get("metadata"))
    found_by = part.get("model") or part.get("providedModelName") or metadata.get("model")
    return case(prompt_text(part.get("input")), predicted, part.get("correction"), found_by)


def _is_correction(score: Data) -> bool:
    kind = score.get("dataType", score.get("data_type"))
    return kind == "CORRECTION" and score.get("name") == "output"


def _text(score: Data) -> str | None:
    """The corrected output; the API has it under `value` or `stringValue`, by its version."""
    return next((score[key] for key in _TEXTS if isinstance(score.get(key), str)), None)
