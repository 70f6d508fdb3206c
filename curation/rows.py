"""The row: one conversation, named by its content.

A row's `id` is a digest of exactly what is trained on (messages and tools) and of nothing else, so
the same text from two sources is one row that occurred twice.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curation.unsafe_text import find_markers

MESSAGE = pl.Struct({"role": pl.String, "content": pl.String, "tool_calls": pl.String})
ROLES = ("system", "user", "assistant", "tool")
TEXT_TRACK = "text"
"""Track and only role of a row that is no conversation but plain text, for pre-training."""

ROW_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "prompt_id": pl.String,
        "messages": pl.List(MESSAGE),
        "tools": pl.String,  # JSON text, "" for none
        "track": pl.String,  # domain | general | text
        "origin": pl.String,  # import | human | llm | transform | badcase
        "split": pl.String,  # train | heldout | test
        "source": pl.String,
        "revision": pl.String,
        "license": pl.String,
        "lang": pl.String,  # zh | en | mixed | other
        "category": pl.String,
        "difficulty": pl.String,
        "n_turns": pl.Int64,
        "n_chars": pl.Int64,
        "created_by": pl.String,  # digest of the call that made it, "" for imports
        "meta": pl.String,  # JSON text: what the record's form needs to be written back as it was
    }
)

PLAIN = tuple(name for name in ROW_SCHEMA if name not in ("messages", "tools"))
"""All that is said about a row besides its texts."""

EDGE_SCHEMA = pl.Schema(
    {"child": pl.String, "parent": pl.String, "kind": pl.String, "call": pl.String}
)
"""kind: augment_seed | augment_badcase | fewshot | transform | translate | fix"""

OCCURRENCE_SCHEMA = pl.Schema(
    {
        "source": pl.String,
        "revision": pl.String,
        "position": pl.String,  # "seeds.jsonl:12"
        "outcome": pl.String,  # new | duplicate | quarantined
        "id": pl.String,  # "" when quarantined
        "reason": pl.String,
        "raw": pl.String,  # the first 2,000 characters of a quarantined record
    }
)

ANSWER = pl.col("messages").list.last().struct.field("content")
"""Text of the last turn, the one that is trained on in single-turn rows."""
UTTERANCE = (
    pl.col("messages")
    .list.eval(pl.element().filter(pl.element().struct.field("role") == "user"))
    .list.last()
    .struct.field("content")
)
"""Text of the last user turn."""

# Control characters other than tab and newline, lone surrogates, bidi overrides, tag characters.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile("[A-Za-z]")


def clean_text(text: str) -> str:
    """NFC with `\\n` line ends and no BOM; full-width characters keep their width.

    Raises `ValueError` naming the first character that may not stand in training text.
    """
    bad = _UNSAFE.search(text.replace("\r\n", "\n").replace("\r", "\n"))
    if bad:
        raise ValueError(f"text holds the unsafe character U+{ord(bad.group()):04X}")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    return unicodedata.normalize("NFC", text)


def canonical_json(value: Any) -> str:
    """JSON with fixed separators and real characters; the form every digest is taken of."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """First 32 hex digits of the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def row_id(messages: Sequence[Mapping[str, str]], tools: str = "") -> str:
    """The content id of a conversation; keys that are empty do not take part."""
    return digest({"messages": [_trained_on(m) for m in messages], "tools": tools})


def make_row(
    messages: Iterable[Mapping[str, str]],
    *,
    tools: str = "",
    track: str = "domain",
    origin: str = "import",
    split: str = "train",
    source: str = "",
    revision: str = "",
    license: str = "",
    category: str = "",
    difficulty: str = "",
    created_by: str = "",
    meta: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A row with its ids, language and sizes filled in.

    Raises `ValueError` when a role is unknown, a text is unsafe, there is no assistant turn at the
    end, or nothing is asked before it. A row of the track `text` is one message of the role `text`,
    which may not be empty nor hold a control token: nothing but its letters would tell it from one.
    """
    roles = (TEXT_TRACK,) if track == TEXT_TRACK else ROLES
    turns = [_clean_message(m, roles) for m in messages]
    (_check_text if track == TEXT_TRACK else _check_turns)(turns)
    text = "".join(m["content"] for m in turns)
    answers = [i for i, m in enumerate(turns) if m["role"] == "assistant"]
    last = answers[-1] if answers else len(turns)
    return {
        "id": row_id(turns, tools),
        "prompt_id": row_id(turns[:last], tools),
        "messages": turns,
        "tools": tools,
        "track": track,
        "origin": origin,
        "split": split,
        "source": source,
        "revision": revision,
        "license": license,
        "lang": guess_language(text),
        "category": category,
        "difficulty": difficulty,
        "n_turns": sum(m["role"] == "user" for m in turns),
        "n_chars": len(text),
        "created_by": created_by,
        "meta": canonical_json(meta) if meta else "",
    }


def dialogue(prompt: str, answer: str, *, system: str = "") -> list[dict[str, str]]:
    """A single-turn conversation as messages."""
    turns = [{"role": "system", "content": system}] if system else []
    return [*turns, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def rows_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of `ROW_SCHEMA`, sorted by id, one row per id (the first one given stays)."""
    frame = pl.DataFrame(list(rows), schema=ROW_SCHEMA)
    return frame.unique("id", keep="first", maintain_order=True).sort("id")


def guess_language(text: str) -> str:
    """`zh`, `en`, `mixed` (both scripts, neither under a tenth of the letters) or `other`."""
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if not han + latin:
        return "other"
    share = han / (han + latin / 4)  # four Latin letters carry about as much as one Han character
    return "zh" if share > 0.5 else "mixed" if share > 0.1 else "en"


def _check_turns(turns: Sequence[Mapping[str, str]]) -> None:
    if not turns or turns[-1]["role"] != "assistant":
        raise ValueError("the last message is not the assistant's")
    if not any(m["role"] == "user" and m["content"].strip() for m in turns):
        raise ValueError("there is no user message with text")
    if not (turns[-1]["content"].strip() or turns[-1]["tool_calls"]):
        raise ValueError("the answer is empty")


def _check_text(turns: Sequence[Mapping[str, str]]) -> None:
    text = "".join(m["content"] for m in turns)
    if not text.strip():
        raise ValueError("the text is empty")
    if markers := find_markers(text):
        raise ValueError(f"text holds the control token {markers[0]!r}")


def _clean_message(message: Mapping[str, str], roles: Sequence[str]) -> dict[str, str]:
    role, content = message.get("role"), message.get("content") or ""
    if role is None or role not in roles:
        raise ValueError(f"unknown role {role!r}; known: {', '.join(roles)}")
    if not isinstance(content, str):
        raise ValueError(f"the {role} message is {type(content).__name__}, not text")
    calls = message.get("tool_calls") or ""
    calls = calls if isinstance(calls, str) else canonical_json(calls)
    return {"role": role, "content": clean_text(content), "tool_calls": clean_text(calls)}


def _trained_on(message: Mapping[str, str]) -> dict[str, str]:
    return {
        k: message[k]
        for k in ("role", "content", "tool_calls")
        if message.get(k) or k != "tool_calls"
    }
