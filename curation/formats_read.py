"""Reading each conversation form into turns; `formats.read_record` is the door.

A reader returns the turns (role, content, tool_calls as text), the tools as delivered, and notes
for `meta`. Roles and key names of the many ShareGPT and OpenAI dialects meet here, and tool calls
take one shape, so that the same conversation has the same id whatever form it came in.
"""

import re
from collections.abc import Mapping
from typing import Any

from curation.json_text import parse_json
from curation.rows import canonical_json

Turn = dict[str, str]
Parts = tuple[list[Turn], Any, dict[str, Any]]

PROMPTS = ("prompt", "question", "query", "utterance", "instruction", "input", "text")
ANSWERS = ("answer", "response", "completion", "output", "gold", "target", "label", "chosen")
_COLUMNS = ("prompt", "answer", "system")
_PLACE = re.compile(r"\{(\w+)\}")
_CALLS = ("function_call", "tool_call")
_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model", *_CALLS), "assistant"),
    **dict.fromkeys(
        ("tool", "observation", "function", "tool_response", "function_response"), "tool"
    ),
    **dict.fromkeys(("system", "developer"), "system"),
}


def detect_form(data: Mapping[str, Any]) -> str:
    """The form whose keys a record has; `ValueError` naming the keys when none fits."""
    if any(_is_turns(data.get(key)) for key in ("messages", "prompt", "chosen")):
        return "messages"
    if any(_is_turns(data.get(key)) for key in ("conversations", "conversation")):
        return "sharegpt"
    if "instruction" in data and ("output" in data or "chosen" in data):
        return "alpaca"
    if _first(PROMPTS, data) and _first(ANSWERS, data):
        return "prompt_answer"
    raise ValueError(f"no known form has the keys {', '.join(map(str, data)) or '(none)'}"[:200])


def check_columns(columns: Mapping[str, str] | None) -> None:
    """Raise `ValueError` when `columns` names a part that a labelled table does not have."""
    for part in columns or {}:
        if part not in _COLUMNS:
            raise ValueError(f"columns: unknown part {part!r} (known: {', '.join(_COLUMNS)})")


def read_messages(data: dict[str, Any], _columns: Mapping[str, str], _template: str) -> Parts:
    """OpenAI messages; also `prompt` and `completion`, `chosen`, `rejected` given as messages."""
    asked = _turns(data, "messages", "prompt")
    return _read_chat(data, asked, data.get("chosen") or data.get("completion"), "prompt")


def read_sharegpt(data: dict[str, Any], _columns: Mapping[str, str], _template: str) -> Parts:
    """ShareGPT conversations with function calls, observations, tools and preference pairs."""
    asked = _turns(data, "conversations", "conversation")
    return _read_chat(data, asked, data.get("chosen"), "conversations")


def read_alpaca(data: dict[str, Any], _columns: Mapping[str, str], _template: str) -> Parts:
    """Alpaca: instruction and input joined by a newline, with system, history and tools."""
    pair = data.get("output") is None and data.get("chosen") is not None
    asked = [text_of(data.get(key)) for key in ("instruction", "input")]
    answer = text_of(data.get("chosen" if pair else "output"))
    turns = _system_turn(data)
    for past in data.get("history") or ():
        if not isinstance(past, list | tuple) or len(past) != 2:
            raise ValueError("history is not a list of [question, answer] pairs")
        turns += [_turn("user", text_of(past[0])), _turn("assistant", text_of(past[1]))]
    turns += [_turn("user", "\n".join(t for t in asked if t)), _turn("assistant", answer)]
    return turns, data.get("tools"), _pair_notes(data, pair)


def read_prompt_answer(data: dict[str, Any], columns: Mapping[str, str], template: str) -> Parts:
    """A labelled table: one column is the prompt, or a template over several, one the answer."""
    check_columns(columns)
    names = {
        "prompt": columns.get("prompt") or ("" if template else _first(PROMPTS, data)),
        "answer": columns.get("answer") or _first(ANSWERS, data),
        "system": columns.get("system") or "system",
    }
    if not names["answer"]:
        raise ValueError("no column holds the answer; name it with columns: {answer: ...}")
    if not template and not names["prompt"]:
        raise ValueError("no column holds the prompt; name it with columns: {prompt: ...}")
    prompt = _fill(template, data) if template else text_of(_column(data, names["prompt"]))
    answer = text_of(_column(data, names["answer"]))
    turns = _system_turn(data, names["system"])
    turns += [_turn("user", prompt), _turn("assistant", answer)]
    changed = {k: v for k, v in names.items() if v and v != k}
    notes = _pair_notes(data, False) | ({"columns": changed} if changed else {})
    return turns, None, notes


READERS = {
    "messages": read_messages,
    "sharegpt": read_sharegpt,
    "alpaca": read_alpaca,
    "prompt_answer": read_prompt_answer,
}


def text_of(value: Any) -> str:
    """Text of a delivered value: JSON for objects and numbers, the joined parts of text content."""
    if value is None or isinstance(value, str):
        return value or ""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(p, dict) and "type" in p for p in value)
    ):
        return _parts_text(value)
    return canonical_json(value)


def tools_text(tools: Any) -> str:
    """Tools as canonical JSON text, each `{"type": "function", "function": …}`; "" for none."""
    value = parse_json(tools) if isinstance(tools, str) and tools.strip() else tools
    if not value:
        return ""
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise ValueError("tools is not a list of objects")
    wrapped = [
        v if isinstance(v.get("function"), dict) else {"type": "function", "function": v}
        for v in value
    ]
    return canonical_json(wrapped)


def calls_text(value: Any) -> str:
    """Calls as canonical JSON text: `[{"type": "function", "function": {name, arguments}}]`."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValueError(f"function call: {error}") from None
    calls = [value] if isinstance(value, dict) else value or []
    return canonical_json([_call(c) for c in calls]) if calls else ""


def _is_turns(value: Any) -> bool:
    """A list, or a list as JSON text, as tables hold it."""
    return isinstance(value, list) or (isinstance(value, str) and value.startswith("[{"))


def _turns(data: Mapping[str, Any], *keys: str) -> list:
    value = next((data[key] for key in keys if _is_turns(data.get(key))), [])
    return parse_json(value) if isinstance(value, str) else value


def _read_chat(data: dict[str, Any], asked: list, answer: Any, key: str) -> Parts:
    """Turns of a chat whose answer may stand apart, as in preference pairs."""
    turns = [_chat_turn(t) for t in asked]
    apart = answer if isinstance(answer, list) else [answer] if isinstance(answer, dict) else []
    tail = [_chat_turn(t) for t in apart]
    pair = False
    if tail and tail[0]["role"] != "assistant":  # the whole conversation stands in `chosen`
        turns = tail if not turns or turns[-1]["role"] != "assistant" else turns
    elif tail and (not turns or turns[-1]["role"] != "assistant"):
        turns, pair = turns + tail, len(tail) == 1 and "chosen" in data and key in data
    if all(t["role"] != "system" for t in turns):
        turns = _system_turn(data) + turns
    return turns, data.get("tools") or data.get("functions"), _pair_notes(data, pair)


def _chat_turn(turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise ValueError(f"a turn is {type(turn).__name__}, not an object")
    given = turn.get("role", turn.get("from"))
    if not isinstance(given, str) or given not in _ROLES:
        raise ValueError(f"unknown role {given!r}")
    content = turn.get("content") if "value" not in turn else turn["value"]
    calls = turn.get("tool_calls") or turn.get("function_call")
    if given in _CALLS:
        calls, content = content, turn.get("content") if "value" in turn else None
        if not calls:
            raise ValueError("function call: empty")
    return _turn(_ROLES[given], text_of(content), calls_text(calls))


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise ValueError("function call: no name")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = _object_or_text(arguments)
    arguments = {} if arguments is None else arguments
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _object_or_text(text: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _parts_text(parts: list[dict[str, Any]]) -> str:
    for part in parts:
        if part["type"] != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"a content part is {part['type']!r}, not text")
    return "".join(part["text"] for part in parts)


def _pair_notes(data: Mapping[str, Any], pair: bool) -> dict[str, Any]:
    """`rejected` as text, and whether the record keeps its chosen answer apart."""
    other = data.get("rejected")
    last = other[-1] if isinstance(other, list) and other else other
    if isinstance(last, dict):
        last = last.get("value", last.get("content"))
    notes: dict[str, Any] = {"rejected": text_of(last)} if other else {}
    return notes | ({"pair": True} if pair and notes else {})


def _system_turn(data: Mapping[str, Any], key: str = "system") -> list[Turn]:
    text = data.get(key)
    return [_turn("system", text)] if isinstance(text, str) and text.strip() else []


def _turn(role: str, content: str, tool_calls: str = "") -> Turn:
    return {"role": role, "content": content, "tool_calls": tool_calls}


def _first(names: tuple[str, ...], data: Mapping[str, Any]) -> str:
    return next((name for name in names if data.get(name) is not None), "")


def _column(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        raise ValueError(f"there is no column {name!r}")
    return data[name]


def _fill(template: str, data: Mapping[str, Any]) -> str:
    return _PLACE.sub(lambda place: text_of(_column(data, place.group(1))), template)
