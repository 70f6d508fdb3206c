"""Versions with stored answers, scripted servers that give them, and `winnow serve-model`."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.registry import promote_judged
from curation.store import Made, Store
from evaluation.cases import CASE_SCHEMA
from tests.conftest import copy_rows
from tests.pipelines.conftest import TINY

ROOT = Path(__file__).parents[2]
TOKEN = "canary-token-0123456789"
SYSTEM = "你是车载助手"
HOW = {"code": "c", "section": None}


def register(store: Store, number: int, *, promoted: bool = True) -> None:
    """One version that was evaluated, and answered everything with its own name."""

    def step(name: str, made: Made, **inputs: Any) -> Any:
        version = store.write_version(f"tiny/{name}", made, inputs=inputs, how=HOW)
        store.publish(version)
        return version

    exam = copy_rows(2, seed=3, track="domain").with_columns(split=pl.lit("test"))
    split = step("split_rows", Made(tables={"exam": exam}))
    cases = [
        {"id": id, "arm": arm, "split": "test", "kind": "task", "predicted": said}
        for id in exam["id"]
        for arm, said in (("base", "?"), ("candidate", answer(number)))
    ]
    rows = pl.DataFrame(cases, schema=CASE_SCHEMA)
    evaluation = step("evaluation", Made(tables={"rows": rows}), split_rows=split)
    values = {"number": number, "id": f"{number:032x}", "promoted": promoted}
    if promoted:
        promote_judged(store, "tiny", number=number, id=values["id"])
    step("model_version", Made(values=values), evaluation=evaluation)


def answer(number: int) -> str:
    return f"好的，v{number} opens it"


def write_scripts(folder: Path, *numbers: int) -> str:
    """A script for each version, and the command line of a server that answers by it.

    A version answers as it did when it was evaluated; 慢 comes with another word, 坏 not at all.
    """
    for number in numbers:
        lines = [
            {"contains": "坏", "answer": {"choices": []}},
            {"contains": SYSTEM, "answer": answer(number) + " 有系统提示"},
            {"answer": answer(number)},
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"v{number}.jsonl").write_text(text, encoding="utf-8")
    script = f"{folder}/{{version}}.jsonl"
    return f"python -m pipelines.cli scripted-llm {script} --port {{port}}"


@dataclass
class ModelDoor:
    """A door that runs: its process and port, and the file that its stderr goes to."""

    process: subprocess.Popen[str]
    port: int
    heard: Path

    def ask(self, text: str, **said: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and JSON of a chat completion."""
        body = {"messages": [{"role": "user", "content": text}], **said}
        status, headers, data = self.send("POST", "/v1/chat/completions", body)
        return status, headers, json.loads(data)

    def rate(self, **said: Any) -> tuple[int, dict[str, Any]]:
        status, _, data = self.send("POST", "/v1/feedback", said)
        return status, json.loads(data)

    def send(
        self, method: str, path: str, body: Any = None, token: str = TOKEN
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Authorization": f"Bearer {token}"})
            said = connection.getresponse()
            return said.status, dict(said.getheaders()), said.read()
        finally:
            connection.close()


@contextmanager
def model_door(
    store: Path, *arguments: str, recipe: Path = TINY, token: str = TOKEN
) -> Iterator[ModelDoor]:
    """`winnow serve-model` on a free port, ended afterwards if it still runs."""
    heard = store.parent / "heard"
    where = ["--recipe", str(recipe), "--store", str(store), "--port", "0", *arguments]
    with heard.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "serve-model", *where],
            stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT,
            env=os.environ | {"WINNOW_MODEL_TOKEN": token, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert process.stdout
    try:
        first = process.stdout.readline()
        assert first, heard.read_text()
        yield ModelDoor(process, int(first.rpartition(":")[2].partition("/")[0]), heard)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
