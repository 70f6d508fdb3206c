"""Archived calls to a language model: what was asked and answered for a row, and what was shown.

The ledger is opened read-only. It never held a key: requests are kept without their headers.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

LEDGER = "calls.sqlite"


def read_call(root: Path, key: str) -> dict[str, Any] | None:
    """The last answer to a call: request, answer, model, tokens and cost of all its answers."""
    columns = "request, body, prompt_tokens, completion_tokens, cost_usd"
    with _ledger(root) as ledger:
        found = ledger.execute(
            f"select {columns} from calls where key = ? order by seq", (key,)
        ).fetchall()
    if not found:
        return None
    request, body = _json(found[-1][0]), _json(found[-1][1])
    return {
        "key": key,
        "model": body.get("model", ""),
        "messages": request.get("messages", []),
        "parameters": {k: v for k, v in request.items() if k != "messages"},
        "answer": _answer(body) or found[-1][1],
        "prompt_tokens": sum(row[2] for row in found),
        "completion_tokens": sum(row[3] for row in found),
        "cost_usd": sum(row[4] for row in found),
    }


def calls_showing(root: Path, text: str) -> list[str]:
    """Keys of the calls whose request held a text, such as a seed shown as an example."""
    inner = json.dumps(text, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    written = json.dumps(inner[1:-1], ensure_ascii=False)[1:-1]  # JSON inside a JSON request
    # The quotes around it keep a short text from being found inside a longer one.
    with _ledger(root) as ledger:
        found = ledger.execute(
            "select distinct key from calls where instr(request, ?) order by key",
            (f'\\"{written}\\"',),
        ).fetchall()
    return [key for (key,) in found]


@contextmanager
def _ledger(root: Path) -> Iterator[sqlite3.Connection]:
    path = root / LEDGER
    where = f"{path.absolute().as_uri()}?mode=ro" if path.is_file() else ":memory:"
    with closing(sqlite3.connect(where, uri=where != ":memory:", timeout=60)) as ledger:
        if where == ":memory:":
            ledger.execute(
                "create table calls (seq, key, request, body, prompt_tokens, completion_tokens, "
                "cost_usd)"
            )
        yield ledger


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
