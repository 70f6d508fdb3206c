"""A recipe built in a bucket: another machine finds all of it done."""

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from tests.s3_server import BUCKET, KEYS, serve

PLACE = f"s3://{BUCKET}/座舱"
SOURCES = ["seeds", "dirt", "traffic", "test", "general", "general_test"]
STAGES = [
    *(f"sources/{name}" for name in SOURCES),
    *("rows", "bad_cases", "error_types", "verdicts", "augmented_rows"),
    *("duplicates", "unique_rows"),
]


@pytest.fixture
def s3():
    with serve() as server:
        yield server


def test_what_one_machine_built_in_a_bucket_is_unchanged_on_another(project, s3):
    second = replace(project, folder=project.folder / "second")
    second.folder.mkdir()
    here = {**s3.environment, "WINNOW_STORE": PLACE}
    with s3.counted() as building:
        built = project.winnow("run", "--select", *STAGES, **here)
    assert built.returncode == 0, built.stdout + built.stderr
    assert f"{len(STAGES)} computed, 0 unchanged" in built.stdout
    with s3.counted() as recalling:
        again = second.winnow("run", "--select", *STAGES, "--store", PLACE, **s3.environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"0 computed, {len(STAGES)} unchanged" in again.stdout
    assert len(building) < 25 * len(STAGES) and len(recalling) < 20 * len(STAGES)
    assert not {m for m, path in recalling if m == "PUT" and "/refs/" in path}

    checked = second.winnow("store", "check", "--json", **here)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["damage"] == []
    out = second.folder / "rows.jsonl"
    assert second.winnow("export", "unique_rows", "--to", str(out), **here).returncode == 0
    assert out.read_text(encoding="utf-8").count("\n") > 100


def test_a_bucket_out_of_reach_is_one_line(project, s3):
    nowhere = {**s3.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = project.winnow("store", "pins", "--store", PLACE, **nowhere)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "cannot be used" in done.stderr and "not-a-real-secret" not in done.stderr


def test_the_secret_of_a_bucket_is_written_nowhere(project, s3):
    here = {**s3.environment, "WINNOW_STORE": PLACE, "AWS_SESSION_TOKEN": "session-token-canary"}
    here["WINNOW_TRUSTED_ENDPOINT"] = here["AWS_ENDPOINT_URL"]
    done = project.winnow("run", "--select", "sources/seeds", **here)
    assert done.returncode == 0, done.stdout + done.stderr
    s3.lose_reply = lambda method, path: method == "PUT" and "/objects/" in path
    stopped = project.winnow("run", "--select", "sources/dirt", **here)
    assert stopped.returncode != 0 and "cannot be used" in stopped.stderr
    s3.lose_reply = lambda method, path: False
    files = {str(p): p.read_bytes() for p in project.folder.rglob("*") if p.is_file()}
    assert any(".dagster" in name and name.endswith(".db") for name in files)
    assert any("/cache/objects/" in name for name in files) and s3.names()
    heard = done.stdout + done.stderr + stopped.stdout + stopped.stderr + str(s3.log)
    for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], here["AWS_SESSION_TOKEN"]):
        spelt = [secret.encode(), b64encode(secret.encode())]
        for place, data in {**files, **s3.contents(), "output": heard.encode()}.items():
            assert not any(form in data for form in spelt), place
