"""`winnow serve` as a process of its own, and what it is asked."""

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOKEN = "canary-token-0123456789"


@dataclass
class Serving:
    """A server that runs: its process and port, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    def post(self, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and answer; a body that is no bytes is sent as JSON."""
        body = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        said = {"Authorization": f"Bearer {TOKEN}"} | headers
        return self.ask("POST", "/v1/bad-cases", body, said)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(said) if said[:1] == b"{" else {}

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def serving(
    store: Path, *options: str, token: str = TOKEN, output: str = "output"
) -> Iterator[Serving]:
    """A server on a free port, ended afterwards if it still runs."""
    heard = store.parent / output
    where = ["--store", str(store), "--port", "0", *options]
    with heard.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve", *where],
            stdout=subprocess.PIPE, stderr=file, cwd=ROOT,
            env=os.environ | {"WINNOW_INTAKE_TOKEN": token, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert process.stdout
    try:
        first = process.stdout.readline().decode()
        assert first, heard.read_text()
        yield Serving(process, int(first.rpartition(":")[2].partition("/")[0]), heard)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def packed(data: bytes) -> bytes:
    return gzip.compress(data)
