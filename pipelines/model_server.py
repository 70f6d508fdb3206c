"""A model server as a child process that never outlives this one, or one that runs already."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from assets.served import Probe
from curation.llm_door import check_base_url
from training.launch import end_group

COMMANDS = {
    "transformers": "transformers serve {folder} --host 127.0.0.1 --port {port}",
    "vllm": "vllm serve {folder} --host 127.0.0.1 --port {port}",
}
"""Command lines by name; another one may be given whole, with the same words in braces."""
AGREE = 0.5
"""The least share of stored answers to be given again: rounding of weights changes a few."""
_ASK_S = 300.0
"""Time for one answer to a probe: the first one may wait until a model is loaded."""
_LOG_BYTES, _LOG_CHARS = 4096, 300
_SERVER_ERROR = 500
_GUARD = """
import os, signal, sys
lifeline = int(sys.argv[1])
if not os.fork():
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
os.close(lifeline)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes the server, and leaves a watcher in its group: the pipe ends when its parent is gone."""


class ModelServer:
    """Where a version is served: `base_url`, and the `model` to be named in requests."""

    def __init__(self, base_url: str, model: str = ""):
        check_base_url(base_url)
        self.base_url, self.model = base_url.rstrip("/"), model

    def problem(self) -> str:
        """Why it answers no more, "" while it may."""
        return ""

    def stop(self) -> None:
        """End it, if it is ours."""


class ChildServer(ModelServer):
    """A server that was started by a command line; `stop` ends it and all it started."""

    def __init__(self, command: str, *, folder: Path | None, version: str, log: Path):
        port = _free_port()
        super().__init__(f"http://127.0.0.1:{port}/v1", str(folder or version))
        names = {"folder": str(folder), "port": str(port), "version": version}
        self._command = [word.format_map(names) for word in shlex.split(command)]
        self._log = log
        self._child, self._lifeline = _start(_find_program(self._command), log)

    def problem(self) -> str:
        code = self._child.poll()
        if code is None:
            return ""
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{self._command[0]} {how}{_last_line(self._log)}"

    def stop(self) -> None:
        end_group(self._child)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def check_command(command: str) -> str:
    """The command line that a name stands for, or that was given.

    Raises `ValueError` for one without a port, or whose braces hold another word.
    """
    whole = COMMANDS.get(command, command)
    try:
        words = [word.format_map({"folder": "", "port": "", "version": ""})
                 for word in shlex.split(whole)]  # fmt: skip
    except (KeyError, IndexError, ValueError):
        words = []
    if not words or "{port}" not in whole:
        known = ", ".join(COMMANDS)
        raise ValueError(
            f"--server {command!r} is none of {known}, no http:// address and no command line with "
            "{port}, and where it needs them {folder} and {version}"
        )
    return whole


def wait_ready(server: ModelServer, *, seconds: float, stopped: Callable[[], bool]) -> None:
    """Return once a server answers; `ChildProcessError` when it ended, or has not by then.

    Asked is `/health`, which the usual servers have; any other answer than a failure will do.
    """
    deadline = time.monotonic() + seconds
    health = f"{server.base_url.removesuffix('/v1')}/health"
    while not stopped():
        if problem := server.problem():
            raise ChildProcessError(problem)
        status, _ = _ask("GET", health, seconds=2.0)
        if 0 < status < _SERVER_ERROR:
            return
        if time.monotonic() > deadline:
            raise ChildProcessError(f"{server.base_url} does not answer after {seconds:g} s")
        time.sleep(0.2)
    raise ChildProcessError("stopped before it answered")


def first_model(base_url: str) -> str:
    """The first model that a server lists, "" where it lists none."""
    _, said = _ask("GET", f"{base_url.rstrip('/')}/models", seconds=10.0)
    try:
        return str(said["data"][0]["id"])
    except (KeyError, IndexError, TypeError):
        return ""


def probe_server(server: ModelServer, probes: Sequence[Probe], *, max_tokens: int) -> str:
    """How many stored answers a server gives again, in words.

    Raises `ValueError` when fewer than half are the same: it serves something else, or through
    another template.
    """
    if not probes:
        raise ValueError("the version has no stored answer by which its server could be checked")
    same, shown = 0, ""
    for probe in probes:
        said, wanted = _complete(server, probe, max_tokens), probe.answer.strip()
        same += said == wanted
        if said != wanted and not shown:
            shown = f"; {said[:40]!r} in place of {wanted[:40]!r}"
    line = f"{same} of {len(probes)} answers are those of the evaluation"
    if same < AGREE * len(probes):
        raise ValueError(f"it does not serve the version: only {line}{shown}")
    return line


def _complete(server: ModelServer, probe: Probe, max_tokens: int) -> str:
    body = {"model": server.model, "messages": list(probe.messages), "temperature": 0,
            "max_tokens": max_tokens}  # fmt: skip
    url = f"{server.base_url}/chat/completions"
    status, said = _ask("POST", url, seconds=_ASK_S, body=body)
    try:
        return str(said["choices"][0]["message"]["content"] or "").strip()
    except (KeyError, IndexError, TypeError):
        raise ChildProcessError(f"{url} answers {status or 'nothing'} to a probe") from None


def _ask(
    method: str, url: str, *, seconds: float, body: Mapping[str, Any] | None = None
) -> tuple[int, Any]:
    """Status and JSON of an answer: 0 where there was none, None for what is no JSON.

    It follows no redirect and asks no proxy.
    """
    parts, status = urlsplit(url), 0
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    data = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, parts.path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        status = answer.status
        return status, json.loads(answer.read())
    except (OSError, HTTPException, ValueError):
        return status, None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _find_program(command: Sequence[str]) -> list[str]:
    """The command with the place of its program: beside this Python first, then on the path."""
    beside = Path(sys.executable).with_name(command[0])
    found = str(beside) if beside.is_file() else shutil.which(command[0])
    if not found:
        raise FileNotFoundError(f"there is no program {command[0]!r}: install it, or name --server")
    return [found, *command[1:]]


def _start(command: Sequence[str], log: Path) -> tuple[subprocess.Popen[str], int]:
    """The server, and our end of the pipe that its watcher reads."""
    theirs, ours = os.pipe()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # the folder has all that it needs
    try:
        with log.open("ab") as file:
            child = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _GUARD, str(theirs), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                text=True,
                env=environment,
                pass_fds=(theirs,),
                start_new_session=True,
            )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return child, ours


def _last_line(log: Path) -> str:
    """The last line of a log, of which only the end is read."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        lines = file.read().decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {said[:_LOG_CHARS]} (more in {log})" if said else ""
