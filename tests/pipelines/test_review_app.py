"""The API of the review page: what it takes, what it refuses, and what a closed page needs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from curation.reviews import INBOX, decide_rows, read_said
from curation.store import Store
from pipelines.cli import main
from pipelines.cli_review import TOKEN, read_token
from pipelines.review.app import TOKEN_HEADER, review_app
from tests.curation.review_world import SEEDS, build_store, id_of, open_desk

SECRET = "a token of some length"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("built"))


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(built, tmp_path / "store"))


@pytest.fixture
def client(store: Store) -> TestClient:
    app = review_app(
        open_desk(store), token=SECRET, hosts=["127.0.0.1"], shown=True, reviewer='<b>"审阅甲"'
    )
    return TestClient(app, base_url="http://127.0.0.1:8710", headers={TOKEN_HEADER: SECRET})


def call(client: TestClient, name: str, **said: Any) -> Any:
    answer = client.post(f"/api/{name}", json={"reviewer": "审阅甲", **said})
    return answer.status_code, answer.json()


def test_a_row_is_shown_judged_and_followed_by_the_next(client, store):
    status, first = call(client, "next")
    assert status == 200 and first["item"]["kind"] == "row"
    row = first["item"]["id"]
    status, second = call(client, "say", id=row, verdict="reject", reason="made_up", seconds=2)
    assert status == 200 and second["item"]["id"] != row and second["progress"]["done"] == 1
    assert second["progress"]["left"] == first["progress"]["left"] - 1
    decided = decide_rows(read_said(INBOX.read(store)))
    assert decided.select("id", "verdict", "reason").rows() == [(row, "reject", "made_up")]
    status, undone = call(client, "undo")
    assert (undone["item"]["id"], undone["progress"]["done"]) == (row, 0)
    assert call(client, "skip", id=row)[1]["item"]["id"] != row


def test_an_edit_that_the_task_refuses_is_said_and_kept_nowhere(client, store):
    row = id_of(*SEEDS[0])
    assert call(client, "check", id=row, answer="{")[1] == {"reason": "not_json"}
    status, told = call(client, "say", id=row, verdict="reject", answer="{")
    assert (status, told) == (400, {"error": "the answer is refused: not_json"})
    assert not INBOX.read(store)


def test_the_report_tells_agreement_and_samples(client):
    _, told = call(client, "report")
    assert told["agreement"]["rows"] == 0 and told["agreement"]["krippendorff"] is None
    assert {line["state"] for line in told["samples"]} == {"more"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "broken JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "codec can't decode"),
        (b"{}", "'reviewer' is None, not text"),
        (b'{"reviewer": "gold"}', "take your own name"),
        (b'{"reviewer": "a", "reviewer": "b"}', "duplicate key"),
        (b" " * 1_000_001, "longer than 1,000,000 bytes"),
    ],
)
def test_a_body_that_is_none_is_one_line(client, body, said):
    answer = client.post("/api/next", content=body)
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_nothing_is_answered_without_the_token_or_under_another_name(client, store):
    said = {"reviewer": "审阅甲", "id": id_of(*SEEDS[0]), "verdict": "reject"}
    for headers in ({TOKEN_HEADER: ""}, {TOKEN_HEADER: "wrong"}, {TOKEN_HEADER: "é".encode()}):
        assert client.post("/api/say", json=said, headers=headers).status_code == 401
    away = {"host": "rebound.example"}
    assert client.post("/api/say", json=said, headers=away).status_code == 400
    assert client.get("/", headers=away).status_code == 400
    assert not INBOX.read(store)
    assert client.get("/api/next").status_code == 405
    assert client.post("/api/other", json=said).status_code == 404
    assert client.get("/files/app.py").status_code == 404


def test_every_answer_forbids_what_the_page_does_not_need(client):
    page = client.get("/")
    for answer in (page, client.get("/files/page.js"), client.get("/nowhere")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert SECRET in page.text and "&lt;b&gt;&quot;审阅甲&quot;" in page.text
    assert "<script>" not in page.text and " on" + "click" not in page.text


def test_where_a_token_is_asked_for_the_page_does_not_hold_it(store):
    app = review_app(open_desk(store), token=SECRET, hosts=["*"], shown=False)
    client = TestClient(app, base_url="http://review.example")
    assert SECRET not in client.get("/").text
    assert client.post("/api/next", json={"reviewer": "甲"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [("0.0.0.0", "", "others can reach '0.0.0.0'"), ("127.0.0.1", "short", "has 5 characters")],
)
def test_a_page_that_others_reach_needs_a_token_of_some_length(monkeypatch, host, token, said):
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(ValueError, match=said):
        read_token(host)
    monkeypatch.setenv(TOKEN, SECRET)
    assert read_token(host) == SECRET


def test_the_command_says_in_a_line_what_is_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    (tmp_path / "store").mkdir()
    where = ["--store", str(tmp_path / "store")]
    assert main(["review", *where]) == 2
    assert "nothing of recipe 'in_car' has been built yet" in capsys.readouterr().err
    assert main(["review", "--host", "0.0.0.0", *where]) == 2
    assert "set WINNOW_REVIEW_TOKEN to a secret" in capsys.readouterr().err
