"""People judge the answers of two versions: through the API, and as the command line reports it."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from assets.human import report_choices, report_marks
from curation.judging_desk import JudgingDesk
from curation.store import Store
from pipelines.cli import main
from pipelines.review.app import TOKEN_HEADER, review_app
from tests.pipelines.conftest import TINY
from tests.pipelines.people_world import GOLD, RECIPE, build_store, open_blind, open_rating

SECRET = "a token of some length"


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("built") / "store")


@pytest.fixture
def store(two_versions: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(two_versions, tmp_path / "store"))


@pytest.fixture
def winnow(store, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--recipe", str(TINY), "--store", str(store.root)])
        return code, *capsys.readouterr()

    return call


def open_client(desk: JudgingDesk) -> TestClient:
    app = review_app(desk, token=SECRET, hosts=["127.0.0.1"], shown=True, reviewer="甲")
    return TestClient(app, base_url="http://127.0.0.1", headers={TOKEN_HEADER: SECRET})


def call(client: TestClient, name: str, **said: Any) -> Any:
    answer = client.post(f"/api/{name}", json={"reviewer": "甲", **said})
    return answer.status_code, answer.json()


def judge_right(client: TestClient, reviewer: str = "甲") -> int:
    """Choose the answer that is JSON, of every question there is; how many there were."""
    n, told = 0, call(client, "next", reviewer=reviewer)[1]
    while item := told["item"]:
        choice = ("left", "right")["actions" in item["answers"][1]]
        said = {"id": item["id"], "choice": choice, "seconds": 3, "reviewer": reviewer}
        n, told = n + 1, call(client, "choose", **said)[1]
    return n


def test_only_answers_that_differ_in_meaning_are_asked_and_no_version_is_named(store):
    client = open_client(open_blind(store))
    heard = [client.get("/").text]
    status, told = call(client, "next")
    assert status == 200 and told["progress"]["left"] == 6  # 前窗 … left window
    assert told["item"]["turns"][0] == {"role": "system", "text": "你是车载助手。"}
    while item := told["item"]:
        heard.append(json.dumps(told, ensure_ascii=False))
        assert {"好的", GOLD[item["turns"][-1]["text"]]} == {*item["answers"]}
        told = call(client, "choose", id=item["id"], choice="left")[1]
    heard.append(json.dumps(call(client, "report")[1]))
    versions = ("v1", "v2", f"{1:032x}", f"{2:032x}", "candidate", "champion")
    assert not [(v, said) for v in versions for said in heard if v in said]
    assert all('"gold": ""' in said for said in heard[1:-1])
    shown = open_client(open_blind(store, show_gold=True))
    assert call(shown, "next", reviewer="B")[1]["item"] is None  # one judge each, and 甲 was there


def test_a_choice_is_followed_by_the_next_question_and_can_be_taken_back(store):
    client = open_client(open_blind(store, show_gold=True))
    first = call(client, "next")[1]["item"]
    assert first["kind"] == "pair" and first["gold"] == GOLD[first["turns"][-1]["text"]]
    status, told = call(client, "choose", id=first["id"], choice="both_bad", seconds=2)
    assert status == 200 and told["item"]["id"] != first["id"]
    assert told["progress"] == {"done": 1, "left": 5, "median_s": 2.0}
    assert call(client, "undo")[1]["item"] == first
    assert call(client, "skip", id=first["id"])[1]["item"]["id"] != first["id"]
    assert call(client, "choose", id=first["id"], choice="best")[0] == 400
    assert call(client, "choose", id="0" * 32, choice="left")[0] == 404
    assert call(client, "say", id=first["id"], verdict="accept")[0] == 404  # no desk of rows


def test_the_report_says_who_won_by_how_much_and_whether_judges_agree(store, winnow):
    before = winnow("reviews", "blind", "v1", "v2")
    assert before[0] == 0 and "nobody judged v2 against v1 yet" in before[1]
    client = open_client(open_blind(store, judges=2))
    assert [judge_right(client, name) for name in ("甲", "B")] == [6, 6]
    told = json.loads(winnow("reviews", "blind", "v1", "v2", "--json")[1])
    assert (told["cases"], told["same"], told["differ"], told["judgements"]) == (9, 3, 6, 12)
    assert (told["won"], told["tied"], told["lost"]) == (5, 0, 1)
    assert told["judged"]["clusters"] == 5 and told["agreement"]["krippendorff"] == 1.0
    assert told["metric"]["agreed"] == 6
    assert told["of_all"][0] == pytest.approx(4 / 9, abs=1e-6)
    turned = json.loads(winnow("reviews", "blind", "v2", "v1", "--json")[1])
    assert (turned["won"], turned["lost"]) == (1, 5)  # what was said holds whichever comes first
    lines = winnow("reviews", "blind", "v1", "v2")[1].splitlines()
    assert any("won 5, tied 0, lost 1; it wins 83.3%" in line for line in lines)
    report = winnow("reviews", "blind", "v1", "v2", "--markdown")[1]
    assert report.startswith("## v2 against v1, judged by people\n\n|") and "| B and 甲 |" in report


def test_marks_are_kept_and_reported_by_dimension(store, winnow):
    client = open_client(open_rating(store, n=4, judges=2))
    item = call(client, "next")[1]["item"]
    assert item["kind"] == "rating" and len(item["answers"]) == 1
    status, told = call(client, "rate", id=item["id"], marks={"correctness": 1})
    assert status == 400 and "asked are ['correctness', 'completeness'" in told["error"]
    assert call(client, "rate", id=item["id"], marks=[5])[0] == 400
    for name, mark in (("甲", 5), ("B", 2)):
        told = call(client, "next", reviewer=name)[1]
        while item := told["item"]:
            marks = dict.fromkeys(item["dimensions"], mark)
            said = {"id": item["id"], "marks": marks, "comment": "格式好", "reviewer": name}
            told = call(client, "rate", **said)[1]
        assert told["progress"]["done"] == 4
    rated = json.loads(winnow("reviews", "ratings", "v2", "--json")[1])["v2"]
    assert (rated["cases"], rated["rated"], rated["reviewers"]) == (9, 4, 2)
    one = rated["dimensions"][0]
    assert (one["dimension"], one["n"], one["mean"], one["counts"]) == (
        "correctness", 4, 3.5, [0, 4, 0, 0, 4]
    )  # fmt: skip
    assert one["alpha"] < 0 and rated["comments"][0]["comment"] == "格式好"
    lines = winnow("reviews", "ratings", "v1", "v2")[1]
    assert "4 of 9 answers rated by 2 people" in lines
    assert "| correctness | v2 |" in winnow("reviews", "ratings", "v2", "--markdown")[1]


def test_what_the_whole_graph_built_can_be_judged(built, tmp_path):
    store = Store(shutil.copytree(built.store, tmp_path / "store"))
    test = store.head("tiny/evaluation").values["n_cases"]  # type: ignore[union-attr]
    held = store.head("tiny/bad_cases").table("rows").filter(pl.col("half") == "hold")  # type: ignore[union-attr]
    told = report_choices(store, RECIPE, ["v1", "v2"])
    assert test < told["cases"] <= test + held["row_id"].n_unique()
    desk = open_rating(store, n=2 * test)
    items = []
    while item := desk.next_item("甲"):
        desk.rate("甲", item["id"], dict.fromkeys(item["dimensions"], 3))
        items.append(item)
    rated = report_marks(store, RECIPE, ["v2"])["v2"]
    assert rated["rated"] == len(items) == rated["cases"]
    assert {item["turns"][0]["role"] for item in items} == {"system"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["review", "--blind", "v1", "v1"], "v1 and v1 are one version; name different ones"),
        (["review", "--blind", "v1", "v9"], "there is no model version 'v9'; known: v1, v2"),
        (["review", "--rate", "v1", "--cases", "0"], "--cases is 0; at least 1 is needed"),
        (["review", "--rate", "v1", "--judges", "0"], "judges is 0; at least 1 is needed"),
        (["reviews", "ratings", "v9"], "there is no model version 'v9'"),
    ],
)
def test_what_cannot_be_judged_is_one_line(winnow, words, said):
    code, _, error = winnow(*words)
    assert code == 2 and said in error and len(error.splitlines()) == 1
