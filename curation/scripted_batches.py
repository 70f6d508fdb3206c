"""The Batch API of the scripted server: uploaded files, batches of requests, files of answers.

A batch is answered by the script, one request after the other, when it is asked about and its time
has come. Nothing of it outlives the server.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

Ask = Callable[[dict[str, Any]], tuple[int, str]]
"""Answers one request for a completion: status and body."""


class ScriptedBatches:
    """Files and batches by id; a batch is done `batch_s` seconds after it was made."""

    def __init__(self, ask: Ask, batch_s: float):
        self.ask, self.batch_s = ask, batch_s
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self._made: dict[str, float] = {}
        self._lock = threading.Lock()

    def post(self, path: str, kind: str, body: bytes) -> dict[str, Any] | None:
        """The answer to a POST; None for a path that is not of the Batch API."""
        with self._lock:
            if path.endswith("/files"):
                return {"id": self._keep(_upload(kind, body)), "object": "file", "purpose": "batch"}
            return self._make(json.loads(body)) if path.endswith("/batches") else None

    def get(self, path: str) -> dict[str, Any] | str | None:
        """The answer to a GET: an object, the text of a file, or None."""
        parts = urlsplit(path)
        names = ["", *parts.path.strip("/").split("/")]
        with self._lock:
            if names[-1] == "batches":
                return self._list(parse_qs(parts.query))
            if names[-1] == "content":
                return self.files.get(names[-2])
            return self._look(names[-1]) if names[-2] == "batches" else None

    def _make(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        lines = self.files[said["input_file_id"]].splitlines()
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        self._made[name] = time.monotonic()
        self.batches[name] = {
            **said, "id": name, "object": "batch", "status": "in_progress",
            "request_counts": counts, "output_file_id": None, "error_file_id": None,
        }  # fmt: skip
        return self.batches[name]

    def _look(self, name: str) -> dict[str, Any] | None:
        batch = self.batches.get(name)
        due = batch is not None and time.monotonic() - self._made[name] >= self.batch_s
        if batch and due and batch["status"] == "in_progress":
            self._finish(batch)
        return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            asked = json.loads(line)
            status, body = self.ask(asked["body"])
            response = {"status_code": status, "body": json.loads(body)}
            said = {"custom_id": asked["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(json.dumps(said, ensure_ascii=False))
        counts = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        files = {
            "output_file_id": self._keep("\n".join(good)) if good else None,
            "error_file_id": self._keep("\n".join(bad)) if bad else None,
        }
        batch.update(status="completed", request_counts=counts, **files)

    def _list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        """Newest first, in pages, as the real one lists them."""
        named = list(reversed(self.batches.values()))
        limit, after = int(query.get("limit", ["20"])[0]), query.get("after", [""])[0]
        ids = [batch["id"] for batch in named]
        start = ids.index(after) + 1 if after in ids else 0
        page = named[start : start + limit]
        return {"object": "list", "data": page, "has_more": start + limit < len(named)}

    def _keep(self, text: str) -> str:
        name = f"file_{len(self.files)}"
        self.files[name] = text
        return name


def _upload(kind: str, body: bytes) -> str:
    """The text of the file in a form that was sent."""
    form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    for part in form.walk():
        if part.get_filename():
            return part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    return ""
