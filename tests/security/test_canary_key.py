"""A key in the environment of a whole run is found in nothing that the run leaves or says."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from curation.scripted_llm import Failure, ScriptedLLM, broken_json, server_error
from curation.store import Store
from tests.pipelines.conftest import TINY, Project, make_project

KEY, HUB_TOKEN = "sk-canary-51b7e0c94d", "hf_canary_51b7e0c94d"
SECRETS = {"OPENAI_API_KEY": KEY, "HF_TOKEN": HUB_TOKEN, "OPENAI_LOG": "debug"}
READ = [f"sources/{name}" for name in yaml.safe_load(TINY.read_text(encoding="utf-8"))["sources"]]
AUGMENTED = (*READ, "rows", "bad_cases", "error_types", "verdicts", "augmented_rows")
EXPORTS = [
    *(["export", "training_set", "--to", f"out/rows.{form}", "--format", form]
      for form in ("messages", "alpaca", "sharegpt", "csv", "parquet")),
    ["export", "augmented_rows", "--to", "out/made.jsonl"],
    ["lineage", "export", "v1", "--hf", "out/hf"],
    ["lineage", "export", "v1", "--llama-factory", "out/llama"],
    ["lineage", "export", "v1", "--openlineage", "out/events.ndjson"],
    ["lineage", "card", "v1", "--to", "out/MODEL_CARD.md"],
    ["lineage", "reproduce", "v1", "--to", "out/again"],
]  # fmt: skip
CASES = ["空调", "天窗", "车灯", "雨刮", "蓝牙", "音乐", "除雾", "香氛"]


def opened(thing: str) -> dict:
    return {"actions": [{"do": "打开", "what": thing}]}


def llm_project(folder: Path, base_url: str) -> Project:
    """A project whose augmenter asks a model; the key stands under its usual name."""
    raw = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    for source in raw["sources"].values():
        source["path"] = str((TINY.parent / source["path"]).resolve())
    raw["augment"] = {"use": "llm", "model": "m", "base_url": base_url, "timeout_s": 20}
    project = Project(make_project(folder).folder, folder / "llm.yaml")
    project.recipe.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    cases = [
        {"prompt": f"能不能打开{t}", "gold": json.dumps(opened(t)), "predicted": "{}"}
        for t in CASES
    ]
    lines = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    (folder / "cases.jsonl").write_text(lines, encoding="utf-8")
    return project


def run(project: Project, *select: str) -> tuple[int, str]:
    """Deliver the cases and build, with every log of the client switched on."""
    add = project.winnow("bad-cases", "add", "cases.jsonl", **SECRETS)
    done = project.winnow("run", *(["--select", *select] if select else []), **SECRETS)
    return done.returncode, "".join([add.stdout, add.stderr, done.stdout, done.stderr])


def holders(folder: Path) -> list[str]:
    """Files that hold a secret; the store, the ledger, Dagster's history and logs are all here."""
    secrets = (KEY.encode(), HUB_TOKEN.encode())
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any(".dagster" in p.parts for p in files) and any(p.suffix == ".sqlite" for p in files)
    return [str(p) for p in files if any(s in contents(p) for s in secrets)]


def contents(path: Path) -> bytes:
    """The bytes of a file, and what a table or a database says, where it may be compressed."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        data += repr(pl.read_parquet(path).rows()).encode()
    if data.startswith(b"SQLite format 3"):
        data += b"\n".join(cells(path))
    return data


def cells(path: Path) -> Iterator[bytes]:
    """Every text and blob of a database, and again as it was before zlib, as Dagster's snapshots
    of jobs are compressed."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table.decode()}"'):
                for cell in (value for value in row if isinstance(value, bytes)):
                    yield cell
                    with suppress(zlib.error):
                        yield zlib.decompress(cell)


def test_a_key_in_a_snapshot_of_a_job_would_be_found(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        dg.GraphDefinition("leaky", description=KEY).to_job().execute_in_process(instance=instance)
    (runs,) = tmp_path.rglob("runs.db")
    assert KEY.encode() in contents(runs)
    assert KEY.encode() not in runs.read_bytes()  # else nothing had to be decompressed


@pytest.mark.slow
def test_an_echoed_key_is_in_no_file_and_no_line_of_a_run_and_its_exports(tmp_path):
    """The whole graph, from the answers of a model that repeats the key to every export."""
    echo = json.dumps({"error": {"message": f"you sent Bearer {KEY}"}})
    good = [{"from": 1, "prompt": f"请打开{t}", "answer": opened(t)} for t in "灯窗门镜座扇箱屏"]
    bad = [{"from": 1, "prompt": f"请打开{KEY}", "answer": opened(KEY)}]
    failures = [Failure(500, echo), server_error(), broken_json(), Failure(200, echo)]
    with ScriptedLLM(lambda _: {"rows": good + bad, "key": KEY}, failures=failures) as server:
        code, said = run(project := llm_project(tmp_path, server.base_url))
        assert server.count > len(failures)
    assert code == 0, said
    made = Store(project.store).head("tiny/augmented_rows")
    assert made is not None and made.table("rows").height >= 8
    assert Store(project.store).head("tiny/model_version") is not None
    (tmp_path / "out").mkdir()
    for words in EXPORTS:
        done = project.winnow(*words, **SECRETS)
        assert done.returncode == 0, (words, done.stdout + done.stderr)
        said += done.stdout + done.stderr
    written = {p.relative_to(tmp_path / "out").parts[0] for p in (tmp_path / "out").rglob("*.*")}
    assert written == {Path(w).name for words in EXPORTS for w in words if w.startswith("out/")}
    assert KEY not in said and HUB_TOKEN not in said and holders(tmp_path) == []


def test_a_refusal_that_echoes_the_key_is_said_without_it(tmp_path):
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with ScriptedLLM(lambda _: Failure(401, echo)) as server:
        code, said = run(llm_project(tmp_path, server.base_url), *AUGMENTED)
    assert code != 0 and "the key was refused" in said and "***" in said
    assert KEY not in said and HUB_TOKEN not in said and holders(tmp_path) == []
