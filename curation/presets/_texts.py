"""The one prompt and the one answer in what the many dialects of chat write down.

A bad case is one prompt and one answer. A talk of several turns is refused rather than cut, for
what its last turn means stands in the others; the system message is left to the recipe's task.
"""

from collections.abc import Mapping
from typing import Any

from curation.presets._base import Data, listed, said
from curation.rows import canonical_json

_PROMPTS = ("prompt", "question", "query", "utterance", "instruction", "input", "text")
_ANSWERS = ("answer", "response", "completion", "output", "text")
"""Keys under which an object holds its prompt or its answer, where it has one of them."""

_ROLES = {
    **dict.fromkeys(("user", "human", "HumanMessage", "HumanMessageChunk"), "user"),
    **dict.fromkeys(("assistant", "ai", "AIMessage", "AIMessageChunk", "model"), "assistant"),
    **dict.fromkeys(("system", "developer", "SystemMessage"), "system"),
    **dict.fromkeys(("tool", "function", "ToolMessage", "FunctionMessage"), "tool"),
}


def prompt_text(value: Any) -> str:
    """What the user asked: a text, messages with one user turn, or an object that holds either."""
    if isinstance(value, str):
        return value
    if messages := _messages(value):
        turns = [(_role(message), message) for message in messages]
        asked = [message for role, message in turns if role == "user"]
        if len(asked) != 1 or any(role not in ("user", "system") for role, _ in turns):
            raise ValueError(
                f"{len(messages)} messages, {len(asked)} of the user: a bad case is one prompt and "
                "one answer"
            )
        return _content(asked[0])
    if held := _held(_PROMPTS, value):
        return prompt_text(held)
    raise ValueError("no prompt: neither a text nor messages")


def answer_text(value: Any) -> str | None:
    """An answer as text, None where there is none: a text, a message, choices, or an object.

    Of messages it is the last; an object that is no message is written as JSON.
    """
    if value is None or isinstance(value, str):
        return value
    choice = next(iter(listed(said(value).get("choices"))), {})
    if "message" in choice:
        return answer_text(choice["message"])
    if generated := _generation(value):
        return answer_text(generated.get("message") or generated.get("text"))
    if messages := _messages(value):
        return _content(messages[-1])
    if isinstance(value, Mapping) and _is_message(value):
        return _content(value)
    held = _held(_ANSWERS, value)
    return canonical_json(value) if held is None else answer_text(held)


def split_answer(messages: Any) -> tuple[Any, str]:
    """Messages before the last one, and what that says; it must be the assistant's."""
    every = _messages(messages)
    if not every or _role(every[-1]) != "assistant":
        raise ValueError("the last message is not the assistant's")
    return every[:-1], _content(every[-1])


def require(answer: str | None) -> str:
    """The answer of the model; `ValueError` where it gave none."""
    if answer is None:
        raise ValueError("no answer of the model")
    return answer


def _messages(value: Any) -> list[Data]:
    """Messages in a list, in a list of one list, or under `messages`; [] of anything else."""
    value = value.get("messages") if isinstance(value, Mapping) else value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    found = listed(value)
    whole = isinstance(value, list) and len(found) == len(value)
    return found if whole and all(map(_is_message, found)) else []


def _is_message(value: Data) -> bool:
    return _role(value) != "" and any(key in value for key in ("content", "parts", "kwargs"))


def _role(message: Data) -> str:
    """user, assistant, system or tool; "" for what is no message.

    LangChain writes the class at the end of `id`, or its short name under `type`.
    """
    name = message.get("role") or message.get("type")
    path = message.get("id")
    if name == "constructor" and isinstance(path, list) and path:
        name = path[-1]
    return _ROLES.get(name, "") if isinstance(name, str) else ""


def _content(message: Data) -> str:
    message = said(message["kwargs"]) if "kwargs" in message else message
    content = message.get("parts", message.get("content"))
    if isinstance(content, list):
        content = "".join(map(_part_text, content))
    if not isinstance(content, str) or not content and message.get("tool_calls"):
        raise ValueError("a message holds no text")
    return content


def _part_text(part: Any) -> str:
    kind = said(part).get("type")
    text = said(part).get("text", said(part).get("content"))
    if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
        raise ValueError(f"a part of a message is {kind!r:.40}, not text")
    return text


def _generation(value: Any) -> Data:
    """The first of LangChain's `generations`, a list of lists."""
    batches = said(value).get("generations")
    batch = batches[0] if isinstance(batches, list) and batches else None
    return next(iter(listed(batch)), {}) if isinstance(batch, list) else said(batch)


def _held(keys: tuple[str, ...], value: Any) -> Any:
    """What stands under the only one of these keys that an object has; None without one."""
    found = [said(value)[key] for key in keys if key in said(value)]
    return found[0] if len(found) == 1 else None
