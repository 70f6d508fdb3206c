"""Alerts: what people should look at, kept in the store and told to a web address once each.

An alert is named by what it is about, so the same one is kept and told once however often it is
found. It is told when the other side has said so; until then every attempt tries again.
"""

import json
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from curation.inbox import Inbox, Line, distinct_lines
from curation.json_text import printable
from curation.store import Store

ALERTS = Inbox("alerts", ("kind", "about"), "alert")
TOLD = Inbox("told_alerts", ("alert",), "told alert")
TIMEOUT_S = 5.0
LONGEST = 400


@dataclass(frozen=True)
class Alert:
    """One thing to look at: of what `kind`, what it is `about`, and a line for people."""

    kind: str
    about: str
    text: str


def add_alerts(store: Store, alerts: Iterable[Alert]) -> list[Line]:
    """Keep those that were not known; returns them once they are on disk."""
    new = ALERTS.add(store, ((alert.about, asdict(alert)) for alert in alerts), _one_line).new
    return [line for line in read_alerts(store) if line["id"] in new] if new else []


def read_alerts(store: Store) -> list[Line]:
    """Every alert, oldest first: id, kind, about, text, `at` (Unix seconds) and whether `told`."""
    told = {line["alert"] for line in distinct_lines(TOLD.read(store))}
    return [{**line, "told": line["id"] in told} for line in distinct_lines(ALERTS.read(store))]


def tell_alerts(store: Store, url: str, *, recipe: str, since: float = 0.0) -> tuple[int, str]:
    """POST what was not told yet to a URL, oldest first; returns how many, and what went wrong.

    Each is a JSON object with `text`, `kind`, `about`, `at` and `recipe`. Those found before
    `since` (Unix seconds) are left alone. Where nobody answers for `TIMEOUT_S`, no more is tried.
    The URL, which may be a secret, is in nothing that is said.
    """
    if not url.startswith(("http://", "https://")):
        return 0, "its address is not http or https"
    done, wrong = [], ""
    try:
        for alert in read_alerts(store):
            if not alert["told"] and alert["at"] >= since:
                said = {name: alert[name] for name in ("text", "kind", "about", "at")}
                refused = _post(url, {**said, "recipe": recipe})
                wrong = wrong or refused
                done += [] if refused else [alert["id"]]
    except (OSError, HTTPException, ValueError) as error:  # no answer, so none to the next either
        wrong = f"no answer ({type(getattr(error, 'reason', error)).__name__})"
    TOLD.add(store, ((id, {"alert": id}) for id in done), dict)
    return len(done), wrong


def _one_line(record: Any) -> Line:
    shown = "".join(c if c.isprintable() else " " for c in printable(record["text"]))
    text = " ".join(shown.split())
    return {**record, "text": text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Nothing is told to an address that nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: str, said: dict[str, Any]) -> str:
    """ "" once the other side took it, else the status with which it did not."""
    body = json.dumps(said, ensure_ascii=False).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S):
            return ""
    except HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
