"""Calls to a real model server, offline: `transformers serve` with the tests' tiny model."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.llm import complete_all

pytest.importorskip("fastapi", reason="`transformers serve` needs fastapi, a dev dependency")


@pytest.fixture
def served(tiny_base: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server with the tiny model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", tiny_base]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", tmp_path / "server.log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def asked(text: str, **options) -> dict:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **options}


@pytest.mark.slow
def test_a_real_server_answers_once_for_each_request(served: str, tiny_base: Path, tmp_path: Path):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    questions = [
        asked("打开空调"),
        asked("open 7"),
        asked("打开空调"),
        asked("打开空调", response_format=schema),
    ]
    said: list[str] = []
    first, again = (
        complete_all(
            questions,
            base_url=served,
            api_key="none",
            model=str(tiny_base),
            cache=tmp_path / "calls.sqlite",
            report=said.append,
        )
        for _ in range(2)
    )
    for reply in first:
        assert reply.error in ("", "empty answer") or reply.error.startswith("cut: "), reply
        assert reply.prompt_tokens > 0 and reply.completion_tokens > 0
    assert first[0] is first[2] and not any(reply.cached for reply in first)
    assert all(reply.cached for reply in again)
    assert [r.text for r in again] == [r.text for r in first]
    assert said[0].startswith(f"{tiny_base}: 3 calls to make; about ")
