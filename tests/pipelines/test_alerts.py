"""Alerts: failures and rejections are kept once, told until they are heard, and never twice."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from assets.io import Runtime
from assets.recipe import load_recipe
from curation.alerts import Alert, add_alerts, read_alerts, tell_alerts
from curation.bad_cases import add_bad_cases
from curation.store import Made, Store
from pipelines.alerts import alert_sensor, find_alerts
from pipelines.automation import BACKOFF_S, JOB, SET_TAG, find_waiting, set_name
from pipelines.cli import main
from tests.pipelines.conftest import TINY

RECIPE = load_recipe(TINY)
DAY_S = 86400.0


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@contextmanager
def listening(*statuses: int) -> Iterator[tuple[str, list[dict]]]:
    """A server that gives these statuses in turn, the last for ever; its URL and what it took."""
    left, heard = [*statuses], []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = left.pop(0) if len(left) > 1 else left[0]
            heard.append(said | {"status": status})
            self.send_response(status)
            self.send_header("Location", self.path)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a-secret", heard
        server.shutdown()


def reject(store, id="a" * 32, number=1):
    rules = [["exact_match >= 0.9", False, "exact_match 0.5"], ["leaks = 0", True, "leaks 0"]]
    verdict = {"promote": False, "rules": rules}
    said = {"id": id, "number": number, "promoted": False, "verdict": verdict}
    version = store.write_version("tiny/model_version", Made(values=said), inputs={}, how={})
    store.publish(version)


def fail_run(instance, error: Exception):
    @dg.op
    def adapter():
        raise error

    @dg.job(name=JOB)
    def rebuild():
        adapter()

    rebuild.execute_in_process(instance=instance, raise_on_error=False)


def tick(folder, instance) -> str:
    sensor = alert_sensor(Runtime(RECIPE, folder))
    decision = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(decision, dg.SkipReason)
    return decision.skip_message or ""


def test_failures_rejections_and_giving_up_are_each_kept_once(tmp_path, instance, capsys):
    store = Store(tmp_path)
    assert tick(tmp_path, instance) == "0 alerts kept, 0 told now"
    fail_run(instance, dg.Failure("kept_rows: 90% of\na source left\x1b[31m"))
    fail_run(instance, ZeroDivisionError("division by zero"))
    reject(store)
    for _ in range(2):
        assert tick(tmp_path, instance) == "3 alerts kept, 0 told now"
    case = {"prompt": "把第1扇窗关上", "gold": "好", "predicted": "坏"}
    add_bad_cases(store, [(str(n), case | {"predicted": str(n)}) for n in range(9)])
    tags = {SET_TAG: set_name(find_waiting(store, RECIPE))}
    for _ in range(len(BACKOFF_S) + 1):
        run = instance.add_run(dg.DagsterRun(job_name="other", tags=tags))
        instance.report_run_canceled(run)
    assert tick(tmp_path, instance) == "4 alerts kept, 0 told now"
    texts = [alert["text"] for alert in read_alerts(store)]
    assert "adapter: kept_rows: 90% of a source left" in texts[0]
    assert texts[1].endswith("failed: adapter: ZeroDivisionError: division by zero")
    assert texts[2] == (
        "tiny v1 was rejected by the gate: exact_match >= 0.9 is not met (exact_match 0.5)"
    )
    assert "5 rebuilds on these led to no model version, the last ended as canceled" in texts[3]
    assert main(["alerts", "--store", str(tmp_path), "--limit", "3"]) == 0
    said = capsys.readouterr().out
    assert all(text.isprintable() for text in texts)
    assert "4 alerts" in said and "\x1b" not in said and len(said.splitlines()) == 4


def test_what_is_older_than_a_week_is_no_news(tmp_path, instance):
    store = Store(tmp_path)
    reject(store)
    fail_run(instance, ValueError("no"))
    (now,) = [version.published_at for version in store.history("tiny/model_version")]
    assert now and len(find_alerts(store, RECIPE, instance, now=now + 6 * DAY_S)) == 2
    assert not find_alerts(store, RECIPE, instance, now=now + 8 * DAY_S)


def test_an_alert_is_told_again_until_it_was_heard_and_then_never(tmp_path, instance, monkeypatch):
    reject(Store(tmp_path))
    with listening(500, 302, 204) as (url, heard):
        monkeypatch.setenv("WINNOW_ALERT_URL", url)
        lines = [tick(tmp_path, instance) for _ in range(4)]
    assert [said["status"] for said in heard] == [500, 302, 204]  # and no redirect was followed
    assert {said["text"] for said in heard} == {heard[0]["text"]} and heard[0]["recipe"] == "tiny"
    wrong = "WINNOW_ALERT_URL: HTTP {}, tried again at the next tick"
    assert lines == [
        f"1 alerts kept, 0 told now; {wrong.format(500)}",
        f"1 alerts kept, 0 told now; {wrong.format(302)}",
        "1 alerts kept, 1 told now",
        "1 alerts kept, 0 told now",
    ]


def test_an_address_that_does_not_answer_is_said_without_the_address(tmp_path, monkeypatch):
    store = Store(tmp_path)
    add_alerts(store, [Alert("gate", "1", "门槛未过"), Alert("gate", "2", "x" * 999)])
    with listening(200) as (closed, _):
        pass
    for url in (closed, "file:///etc/a-secret", "http://a-secret\n/", "a-secret"):
        told, wrong = tell_alerts(store, url, recipe="tiny")
        assert told == 0 and wrong and "a-secret" not in wrong, url
    with listening(200) as (url, heard):
        assert tell_alerts(store, url, recipe="tiny", since=2e10) == (0, "")
        assert tell_alerts(store, url, recipe="tiny") == (2, "")
    assert [len(said["text"]) for said in heard] == [4, 400]
    assert all(alert["told"] for alert in read_alerts(store))
