"""Writing a conversation as a plain record of each form; `formats.write_record` is the door.

A writer takes messages, tools text and notes (`rejected`, `pair`, `columns`) and returns the record
as that form is usually published. Reading it back gives the same messages and tools.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curation.rows import canonical_json

Messages = Sequence[Mapping[str, Any]]
Notes = Mapping[str, Any]


def write_messages(messages: Messages, tools: str, notes: Notes) -> dict[str, Any]:
    """OpenAI messages: call ids are numbered, arguments are JSON text, answers name their call."""
    turns, waiting, n_calls = [], [], 0
    for message in messages:
        turn = {"role": message["role"], "content": message["content"]}
        if calls := message.get("tool_calls"):
            turn["tool_calls"] = [
                _openai_call(c, n_calls + i) for i, c in enumerate(json.loads(calls))
            ]
            n_calls += len(turn["tool_calls"])
            waiting = [c["id"] for c in turn["tool_calls"]]
        elif message["role"] == "tool" and waiting:
            turn["tool_call_id"] = waiting.pop(0)
        turns.append(turn)
    record: dict[str, Any] = {"messages": turns}
    if notes.get("pair"):
        other = [{"role": "assistant", "content": notes["rejected"]}]
        record = {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": other}
    elif "rejected" in notes:
        record["rejected"] = notes["rejected"]
    return record | ({"tools": json.loads(tools)} if tools else {})


def write_sharegpt(messages: Messages, tools: str, notes: Notes) -> dict[str, Any]:
    """ShareGPT as LLaMA-Factory reads it: `system` apart, tools and function calls as JSON text."""
    system, turns = _apart(messages)
    record: dict[str, Any] = {"conversations": [_sharegpt_turn(t) for t in turns]}
    if notes.get("pair"):
        record["chosen"] = record["conversations"].pop()
        record["rejected"] = {"from": "gpt", "value": notes["rejected"]}
    elif "rejected" in notes:
        record["rejected"] = notes["rejected"]
    if system:
        record["system"] = system
    if tools:
        record["tools"] = _spaced([_unwrapped(t) for t in json.loads(tools)])
    return record


def write_alpaca(messages: Messages, tools: str, notes: Notes) -> dict[str, Any]:
    """Alpaca with the whole prompt as `instruction` and earlier turns as `history`."""
    system, pairs = _question_answers(messages, "alpaca")
    answer_key = "chosen" if notes.get("pair") else "output"
    record: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", answer_key: pairs[-1][1]}
    optional = {
        "rejected": notes.get("rejected"),
        "system": system,
        "history": [list(p) for p in pairs[:-1]],
        "tools": tools,
    }
    return record | {k: v for k, v in optional.items() if v}


def write_prompt_answer(messages: Messages, tools: str, notes: Notes) -> dict[str, Any]:
    """Columns `prompt`, `answer` (or the names they came under) and `system` if there is one."""
    system, pairs = _question_answers(messages, "prompt_answer")
    if tools or len(pairs) > 1:
        raise ValueError(
            "prompt_answer holds one question and its answer; write sharegpt or messages"
        )
    names = {k: k for k in ("prompt", "answer", "system")} | notes.get("columns", {})
    record = {names["prompt"]: pairs[0][0], names["answer"]: pairs[0][1]}
    record |= {names["system"]: system} if system else {}
    return record | ({"rejected": notes["rejected"]} if "rejected" in notes else {})


WRITERS = {
    "messages": write_messages,
    "sharegpt": write_sharegpt,
    "alpaca": write_alpaca,
    "prompt_answer": write_prompt_answer,
}


def _openai_call(call: Mapping[str, Any], number: int) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    arguments = arguments if isinstance(arguments, str) else canonical_json(arguments)
    inner = {"name": function["name"], "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": inner}


def _sharegpt_turn(message: Mapping[str, Any]) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
    if not message.get("tool_calls"):
        return {"from": names[message["role"]], "value": message["content"]}
    calls = [call["function"] for call in json.loads(message["tool_calls"])]
    turn = {"from": "function_call", "value": _spaced(calls[0] if len(calls) == 1 else calls)}
    return turn | ({"content": message["content"]} if message["content"] else {})


def _unwrapped(tool: Mapping[str, Any]) -> Any:
    plain = tool.keys() == {"type", "function"} and tool["type"] == "function"
    return tool["function"] if plain and "function" not in tool["function"] else tool


def _spaced(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _apart(messages: Messages) -> tuple[str, Messages]:
    """The leading system text and the other turns; later system turns stay where they are."""
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], messages[1:]
    return "", messages


def _question_answers(messages: Messages, form: str) -> tuple[str, list[tuple[str, str]]]:
    system, turns = _apart(messages)
    asked, answered = turns[::2], turns[1::2]
    fits = turns and len(asked) == len(answered) and all(not t.get("tool_calls") for t in turns)
    roles = {t["role"] for t in asked} | {"a:" + t["role"] for t in answered}
    if not fits or roles != {"user", "a:assistant"}:
        raise ValueError(
            f"{form} has no place for tool turns or two turns of one side in a row; "
            "write sharegpt or messages"
        )
    return system, [(q["content"], a["content"]) for q, a in zip(asked, answered, strict=True)]
