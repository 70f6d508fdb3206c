"""Archived calls to a language model: what was asked and answered for a row, and what was shown.

They lie with the rows that they wrote, so whoever can read the rows can read them. They never held
a key: requests are kept without their headers.
"""

import json
from collections.abc import Collection
from typing import Any

import polars as pl

from curation.lineage.views import View
from curation.llm_ledger import CALL_SCHEMA


def read_call(view: View, key: str) -> dict[str, Any] | None:
    """The last answer to a call: request, answer, model, tokens and cost of all its answers."""
    found = _calls(view).filter(pl.col("key") == key)
    if found.is_empty():
        return None
    last = found.row(-1, named=True)
    request, body = _json(last["request"]), _json(last["body"])
    return {
        "key": key,
        "model": body.get("model", ""),
        "messages": request.get("messages", []),
        "parameters": {k: v for k, v in request.items() if k != "messages"},
        "answer": _answer(body) or last["body"],
        "prompt_tokens": found["prompt_tokens"].sum(),
        "completion_tokens": found["completion_tokens"].sum(),
        "cost_usd": found["cost_usd"].sum(),
    }


def calls_showing(view: View, texts: Collection[str]) -> list[str]:
    """Keys of the calls whose request held one of these, such as a seed shown as an example."""
    calls = _calls(view)
    if calls.is_empty() or not texts:
        return []
    holds = pl.col("request").str.contains_any([_in_request(text) for text in texts])
    return calls.filter(holds)["key"].unique().sort().to_list()


def _in_request(text: str) -> str:
    """A text as it stands in a request: JSON inside JSON.

    The quotes around it keep a short text from being found inside a longer one.
    """
    inner = json.dumps(text, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    written = json.dumps(inner[1:-1], ensure_ascii=False)[1:-1]
    return f'\\"{written}\\"'


def _calls(view: View) -> pl.DataFrame:
    """Every archived call of a view; of one key the answers in the order in which they came."""
    step = view.steps.get("augmented_rows")
    if step is None or "calls" not in step.tables:
        return CALL_SCHEMA.to_frame()
    return step.table("calls").sort("key", "number")


def _answer(body: dict[str, Any]) -> str:
    choices = body.get("choices") or [{}]
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    return str((message or {}).get("content") or "")


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
