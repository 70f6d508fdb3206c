"""Conversation forms: Alpaca, ShareGPT, OpenAI messages and labelled tables, both ways.

Each form has a plain way to be written. What a record holds beyond that (unknown keys, other key
names, a split instruction) is kept in `meta` as the *difference* between the plain record and the
delivered one, so writing a row back in its own form gives the record as it came, and text that the
messages already hold is not stored twice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from curation.formats_read import READERS, check_columns, detect_form, tools_text
from curation.formats_write import WRITERS
from curation.rows import TEXT_TRACK, canonical_json, clean_text, row_id

Form = Literal["messages", "alpaca", "sharegpt", "prompt_answer"]

SystemOf = Callable[[str, str], str]
"""The system message of a row by its prompt and answer, "" for none."""

__all__ = [
    "Form",
    "SystemOf",
    "check_columns",
    "detect_form",
    "read_record",
    "read_text",
    "write_record",
]


def read_record(
    data: dict[str, Any],
    *,
    form: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_answer"] = "auto",
    columns: Mapping[str, str] | None = None,
    template: str = "",
    system: str | SystemOf = "",
) -> dict[str, Any]:
    """One delivered record as `{"messages", "tools", "meta"}`, ready for `rows.make_row`.

    `columns` names the columns of a labelled table (`{"prompt": "text", "answer": "label"}`) and
    `template` builds the prompt from several of them (`"{title}：{text}"`). `system`, or what it
    says of prompt and answer, is the system message of records that bring none. `meta` holds
    `form`, `rejected` (text of the other answer of a preference pair) and what `write_record`
    needs. Raises `ValueError` with a short reason.
    """
    known = "prompt_answer" if form == "auto" and (columns or template) else form
    known = detect_form(data) if known == "auto" else known
    turns, tools, notes = READERS[known](data, columns or {}, template)
    messages = [_clean(t) for t in turns if t["role"] != "system" or t["content"].strip()]
    if all(m["role"] != "system" for m in messages):
        ours = choose_system(system, messages)
        before = {"role": "system", "content": ours, "tool_calls": ""}
        messages = [before, *messages] if ours else messages
    text = clean_text(tools_text(tools))
    if "rejected" in notes:  # trained against, so no less clean than what is trained on
        notes = notes | {"rejected": clean_text(notes["rejected"])}
    meta = {"form": known, **notes}
    gap = _difference(WRITERS[known](messages, text, meta), data)
    if gap is not None:
        meta |= {"difference": gap, "of": row_id(messages, text)}
    return {"messages": messages, "tools": text, "meta": meta}


def choose_system(system: str | SystemOf, messages: Sequence[Mapping[str, str]]) -> str:
    """`system`, or what it says of the last question and the answer to it; "" for none."""
    if isinstance(system, str):
        return clean_text(system)
    asked = ["", *(turn["content"] for turn in messages if turn["role"] == "user")]
    return clean_text(system(asked[-1], messages[-1]["content"] if messages else ""))


def read_text(data: dict[str, Any]) -> dict[str, Any]:
    """A delivered record of plain text, `{"text": …}`, in the form that `read_record` gives."""
    text = data.get("text")
    if not isinstance(text, str):
        raise ValueError(f"no text under the key 'text', only {', '.join(map(str, data))}"[:200])
    message = {"role": TEXT_TRACK, "content": clean_text(text), "tool_calls": ""}
    return {"messages": [message], "tools": "", "meta": {}}


def write_record(row: Mapping[str, Any], *, form: Form) -> dict[str, Any]:
    """The row as a record of `form`: as it was delivered if it came in that form and is unchanged.

    In another form the whole conversation and the `rejected` text are kept. Raises `ValueError`
    when the form has no place for the conversation (tool turns in Alpaca).
    """
    meta = row["meta"] or {}
    meta = json.loads(meta) if isinstance(meta, str) else meta
    same = meta.get("form") == form
    notes = meta if same else {k: v for k, v in meta.items() if k == "rejected"}
    plain = WRITERS[form](row["messages"], row["tools"], notes)
    gap = meta.get("difference") if same else None
    if gap is None or meta["of"] != row_id(row["messages"], row["tools"]):
        return plain
    return _patched(plain, gap)


def delivered_text(meta: str, key: str) -> str:
    """What the record of a row said under a key that rows have no column for, "" for nothing.

    `meta` is the row's, as JSON text.
    """
    gap = (json.loads(meta) if meta else {}).get("difference") or {}
    said = gap.get("set", {}).get(key, {}).get("=", "")
    return said if isinstance(said, str) else ""


def _clean(turn: Mapping[str, str]) -> dict[str, str]:
    return {key: clean_text(turn[key]) for key in ("role", "content", "tool_calls")}


def _difference(plain: Any, wanted: Any) -> dict[str, Any] | None:
    """What turns `plain` into `wanted`; None when they are the same JSON."""
    if isinstance(plain, dict) and isinstance(wanted, dict):
        gap = {k: _difference(plain[k], v) if k in plain else {"=": v} for k, v in wanted.items()}
        parts = {
            "set": {k: v for k, v in gap.items() if v is not None},
            "drop": [k for k in plain if k not in wanted],
        }
        return {k: v for k, v in parts.items() if v} or None
    if isinstance(plain, list) and isinstance(wanted, list):
        return _list_difference(plain, wanted)
    if isinstance(plain, str) and isinstance(wanted, str):
        return None if plain == wanted else {"=": wanted}
    return None if canonical_json(plain) == canonical_json(wanted) else {"=": wanted}


def _list_difference(plain: list, wanted: list) -> dict[str, Any] | None:
    if len(plain) == len(wanted):
        gaps = [_difference(a, b) for a, b in zip(plain, wanted, strict=True)]
        return (
            {"at": {str(i): g for i, g in enumerate(gaps) if g is not None}} if any(gaps) else None
        )
    head = _equal_length(plain, wanted)
    tail = _equal_length(plain[head:][::-1], wanted[head:][::-1])
    return {"cut": [head, len(plain) - tail, wanted[head : len(wanted) - tail]]}


def _equal_length(left: Sequence[Any], right: Sequence[Any]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if _difference(a, b)), min(len(left), len(right)))


def _patched(plain: Any, gap: Mapping[str, Any]) -> Any:
    """`plain` with a difference applied; the inverse of `_difference`."""
    if "=" in gap:
        return gap["="]
    if "cut" in gap:
        start, end, inserted = gap["cut"]
        return [*plain[:start], *inserted, *plain[end:]]
    if "at" in gap:
        return [
            _patched(v, gap["at"][str(i)]) if str(i) in gap["at"] else v
            for i, v in enumerate(plain)
        ]
    kept = {k: v for k, v in plain.items() if k not in gap.get("drop", ())}
    return kept | {k: _patched(kept.get(k), g) for k, g in gap.get("set", {}).items()}
