"""Preset `otel`: OpenTelemetry spans and events of the GenAI semantic conventions.

Read are lines of OTLP JSON (`resourceSpans`, `resourceLogs`) and single spans as an SDK's console
exporter writes them. Prompt and answer stand in the attributes `gen_ai.input.messages` and
`gen_ai.output.messages` of a span or of the event `gen_ai.client.inference.operation.details`
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). Older ones are read, too: the span events
`gen_ai.content.prompt` and `gen_ai.content.completion` of version 1.27, and OpenLLMetry's
`gen_ai.prompt.0.content` with `gen_ai.completion.0.content`. Messages that stand apart, one log
record each (versions 1.28 to 1.36), are not put together. Spans that say nothing of a model are
passed over.

The conventions know no corrected answer: name the attribute of yours by `gold`, such as
`attributes.app.correction`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from curation.json_text import parse_json
from curation.plugins import plugin
from curation.presets._base import Data, Preset, case, listed, said
from curation.presets._texts import answer_text, prompt_text, require

_INPUT, _OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_OLD_INPUT, _OLD_OUTPUT = "gen_ai.prompt", "gen_ai.completion"
_MODELS = ("gen_ai.response.model", "gen_ai.request.model")
_LISTS = ("scopeSpans", "spans", "scopeLogs", "logRecords")


@plugin()
def otel() -> Preset:
    """Each span or event that calls a model; found by that model."""
    return Preset(fits=_fits, read=_read, parts=_parts)


def _fits(record: Data) -> bool:
    whole = any(key in record for key in ("resourceSpans", "resourceLogs"))
    return whole or ("attributes" in record and any(_parts(record)))


def _parts(record: Data) -> Iterable[Data]:
    """`attributes` by name of each span or log record, those of its events among them."""
    found = (_with_attributes(one) for one in _records(record))
    return [one for one in found if _is_call(one)]


def _read(part: Data) -> dict[str, Any]:
    attributes = part["attributes"]
    asked = _messages(attributes, _INPUT, _OLD_INPUT)
    answer = answer_text(_messages(attributes, _OUTPUT, _OLD_OUTPUT))
    found_by = next((attributes[name] for name in _MODELS if attributes.get(name)), "")
    return case(prompt_text(asked), require(answer), None, found_by)


def _records(value: Data) -> Iterator[Data]:
    """The spans and log records of a request, or the record itself."""
    inner = [one for key in ("resourceSpans", "resourceLogs", *_LISTS)
             for one in listed(value.get(key))]  # fmt: skip
    if not inner:
        yield value
    for one in inner:
        yield from _records(one)


def _with_attributes(record: Data) -> Data:
    attributes = _by_name(record.get("attributes"))
    for event in listed(record.get("events")):
        attributes = {**_by_name(event.get("attributes")), **attributes}
    return {**record, "attributes": attributes}


def _is_call(part: Data) -> bool:
    return any(name.startswith("gen_ai.") for name in part["attributes"])


def _by_name(attributes: Any) -> dict[str, Any]:
    """Attributes of an SDK, an object, or of OTLP, a list of keys and typed values."""
    if isinstance(attributes, list):
        return {str(one.get("key")): _plain(one.get("value")) for one in listed(attributes)}
    return dict(said(attributes))


def _plain(value: Any) -> Any:
    """The value in one of OTLP's: `{"stringValue": …}`, `{"arrayValue": {"values": […]}}`, …"""
    kind, held = next(iter(said(value).items()), ("", None))
    if kind == "arrayValue":
        return [_plain(one) for one in listed(said(held).get("values"))]
    if kind == "kvlistValue":
        return _by_name(said(held).get("values"))
    return held


def _messages(attributes: Data, name: str, old: str) -> Any:
    """Messages under a name, which may be JSON text, or as older versions write them."""
    value = attributes.get(name, attributes.get(old))
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        return parse_json(value)
    return _numbered(attributes, old) if value is None else value


def _numbered(attributes: Data, name: str) -> list[Data] | None:
    """Messages of OpenLLMetry, `gen_ai.prompt.0.role` and so on; the answer may have no role."""
    role = "user" if name == _OLD_INPUT else "assistant"
    messages = []
    while f"{name}.{len(messages)}.content" in attributes:
        at = f"{name}.{len(messages)}"
        told = attributes.get(f"{at}.role", role)
        messages.append({"role": told, "content": attributes[f"{at}.content"]})
    return messages or None
