"""Deliveries: new rows alone cost.

Every stage here is the true one, run through `run_stage` on files that a test writes. Work is
counted by what the stages report they have to do, and signatures and model scores where they are
made too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from assets.stage import CheckFailed
from curation.augmenters._base import AugmentWork
from curation.bad_cases import add_bad_cases
from curation.rows import digest
from curation.scripted_llm import ScriptedLLM
from curation.split import half_of
from curation.text import text_key
from tests.assets._counting import rows_read_by_models, rows_signed
from tests.assets._project import (
    HAN,
    LAST,
    RECIPE,
    RULE_SCORERS,
    SEEDS,
    Project,
    command,
    talk,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    """A built project of some hundred rows, with a scorer that learns from a frozen reference."""
    scorers = {**RECIPE["scorers"], "perplexity": {}}
    project = Project(tmp_path_factory.mktemp("delta"), tiny_base, scorers=scorers)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(200))
    project.write("general/2.jsonl", talk(100, start=200))
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def test_new_rows_cost_each_step_exactly_as_many(project):
    project.write("general/2.jsonl", talk(30, start=300), append=True)
    project.write("general/3.jsonl", talk(20, start=330))
    looked_at = set(project.head(LAST).table("tokens")["id"])
    with rows_signed() as signed:
        counted = project.build().counted
        assert project.build().counted == {}
    assert sum(signed) == 50
    turns = set(project.head(LAST).table("tokens")["id"]) - looked_at
    steps = ("signatures", *RULE_SCORERS, "perplexity")
    assert counted == dict.fromkeys(steps, 50) | ({"tokens": len(turns)} if turns else {})


def test_new_rows_are_made_only_when_what_they_are_made_from_is_another(project, monkeypatch):
    asked = list[int]()

    def count(**given: Any) -> AugmentWork:
        asked.append(given["seeds"].height)
        return AugmentWork(**given)

    monkeypatch.setattr("assets.augment.AugmentWork", count)
    before = project.head("augmented_rows")
    project.write("general/3.jsonl", talk(20, start=330))
    project.build()
    again = project.head("augmented_rows")
    assert asked == [] and again.key != before.key and again.data_version == before.data_version
    assert again.tables == before.tables and again.manifest["checks"] == before.manifest["checks"]
    assert again.input("rows").key == project.head("rows").key
    project.write("seeds/2.jsonl", [command("后备箱")])
    project.build()
    assert asked == [len(SEEDS) + 1]
    (project.folder / "seeds" / "2.jsonl").unlink()
    project.build()
    assert asked == [len(SEEDS) + 1] and project.head("augmented_rows").tables == before.tables
    add_bad_cases(project.store, [("1", command("空调") | {"gold": "{}", "predicted": "{}"})])
    project.build()
    assert len(asked) == 2


def test_a_row_is_tokenised_when_its_turn_comes_in_the_mix_and_never_again(project):
    chosen, kept = project.head(LAST), project.head("kept_rows").table("rows")
    assert chosen.table("tokens")["id"].equals(chosen.table("rows", ["id"])["id"])
    project.change(mix={**RECIPE["mix"], "general": 2})
    more = project.build().counted["tokens"] + chosen.table("rows").height
    assert project.head(LAST).table("rows").height == more < kept.height
    project.change(mix=RECIPE["mix"])
    assert project.build().counted == {}


def test_rows_that_only_left_leave_the_scores_of_the_others(project):
    scores = project.head("kept_rows").table("scores")
    project.write("general/4.jsonl", talk(200, start=600))
    project.build()
    (project.folder / "general" / "4.jsonl").unlink()
    assert project.build().counted == {}
    assert project.head("kept_rows").table("scores").equals(scores)


def test_nothing_new_recalls_every_stage(project):
    again = project.build()
    assert again.counted == {} and all(again.recalled.values())


def test_the_same_rows_in_another_order_or_other_files_cost_nothing(project):
    before = project.head("rows").data_version
    lines = (project.folder / "general" / "1.jsonl").read_text(encoding="utf-8").splitlines()
    project.write("general/1.jsonl", reversed(lines))
    with rows_signed() as signed:
        reordered = project.build()
        (project.folder / "general" / "1.jsonl").rename(project.folder / "general" / "9.jsonl")
        renamed = project.build()
    assert not sum(signed)
    for build in (reordered, renamed):
        assert build.counted == {} and not build.recalled["sources/general"]
        assert all(build.recalled[name] for name in ("duplicates", "kept_rows", LAST))
    assert project.head("rows").data_version == before


def test_another_rule_scores_nothing_anew_and_the_old_one_is_recalled(project):
    old, keep = project.head("kept_rows").key, project.said["keep"]
    project.change(keep=["length <= 50", *keep[1:]])
    changed = project.build()
    assert changed.counted == {} and not changed.recalled["kept_rows"]
    assert all(done for name, done in changed.recalled.items() if name.startswith("facts/"))
    assert project.head("kept_rows").key != old
    project.change(keep=keep)
    assert all(project.build().recalled.values())
    assert project.head("kept_rows").key == old


def test_another_threshold_that_is_taken_back_hits_what_was_there(project):
    old = project.head(LAST).key
    project.change(dedup={"threshold": 0.7})
    changed = project.build()
    assert changed.counted == {"signatures": changed.counted["signatures"]}
    assert not changed.recalled["duplicates"]
    project.change(dedup={"threshold": 0.8})
    assert all(project.build().recalled.values()) and project.head(LAST).key == old


def test_a_reference_stays_what_it_was_until_its_edition_is_raised(project):
    old = project.head("reference").data_version
    project.write("general/3.jsonl", talk(40, start=400))
    project.build()
    assert project.head("reference").data_version == old
    project.change(reference={"edition": 2})
    raised = project.build()
    rows = project.head("split_rows").table("rows", ["id"]).height
    assert raised.counted == {"perplexity": rows}
    assert project.head("reference").data_version != old


def test_a_rule_that_takes_too_much_of_a_source_stops_the_run_with_the_numbers(project):
    old = project.head("kept_rows").key
    project.change(guard={"max_share": 0.3})
    project.write("general/3.jsonl", [row | {"answer": "很" * 120} for row in talk(200, start=500)])
    with pytest.raises(CheckFailed, match=r"removes 200 of 500 rows \(40%\) of source 'general'"):
        project.build()
    assert project.head("kept_rows").key == old
    (project.folder / "general" / "3.jsonl").unlink()
    project.build()
    assert project.head("kept_rows").table("rows", ["id"]).height >= 300


def test_scores_by_a_model_cost_a_forward_pass_for_each_new_row_alone(tmp_path, tiny_base):
    judge = tmp_path / "judge"
    make_judge(tiny_base, judge)
    scorers = {"model_perplexity": {}, "reward": {"model": str(judge)}}
    project = Project(tmp_path, tiny_base, scorers=scorers, keep=[])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(20))
    project.build()
    project.write("general/1.jsonl", talk(5, start=20), append=True)
    project.write("seeds/2.jsonl", [command("除雾"), command("香氛")])
    made = project.head("augmented_rows").table("rows", ["id"])
    with rows_read_by_models() as read:
        counted = project.build().counted
        done = dict(read)
        project.write("general/1.jsonl", reversed([*talk(20), *talk(5, start=20)]))
        assert project.build().counted == {} and read == done
    new = project.head("augmented_rows").table("rows", ["id"]).join(made, on="id", how="anti")
    expected = 7 + new.height
    assert counted["model_perplexity"] == counted["reward"] == expected
    assert sorted(read.values()) == [expected, expected] and len(read) == 2
    facts = project.head("facts/reward").table("facts")
    assert set(facts["status"]) == {"ok"} and facts["value"].n_unique() > 5


def make_judge(base: Path, out: Path) -> None:
    """A reward model with a random head on a tiny base, not trained: any fixed one will do."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def learnable(n: int, *, tail: str = "") -> list[str]:
    """Things whose prompts fall into the half that may be learned from."""
    things = [a + b + tail for a in "左右前后" for b in "灯窗门镜座扇箱屏锁帘泵锅炉钟琴笔"]
    return [t for t in things if half_of(digest(text_key(f"能不能打开{t}"))) == "learn"][:n]


def bad_case(thing: str, predicted: str) -> dict[str, str]:
    return {**command(thing), "prompt": f"能不能打开{thing}", "predicted": predicted}


def test_a_language_model_is_asked_for_new_error_types_alone(tmp_path, tiny_base, monkeypatch):
    monkeypatch.setenv("DELTA_KEY", "a-key-of-this-test")

    def respond(request: dict[str, Any]) -> Any:
        nonlocal number
        number += 1
        things = [f"{a}{b}" for a in HAN[number % 40 : number % 40 + 5] for b in "甲乙丙丁"]
        return {"rows": [{"from": 1, **command(thing)} for thing in things]}

    def deliver(predicted: str, things: Sequence[str]) -> None:
        cases = [bad_case(thing, predicted) for thing in things]
        cases = [{"gold": case.pop("answer"), **case} for case in cases]
        add_bad_cases(project.store, ((str(i), case) for i, case in enumerate(cases)))

    number, things = 0, learnable(4)
    with ScriptedLLM(respond) as server:
        augment = {"use": "llm", "model": "m", "base_url": server.base_url, "api_key": "DELTA_KEY"}
        project = Project(tmp_path, tiny_base, augment=augment)
        project.write("seeds/1.jsonl", SEEDS)
        project.write("general/1.jsonl", talk(20))
        asked = []
        for delivery in (
            lambda: deliver("{}", things[:2]),
            lambda: deliver("不是 JSON", things[2:]),
            lambda: project.write("general/2.jsonl", talk(9, start=90)),
            lambda: [memo.unlink() for memo in (tmp_path / "store" / "memo").glob("*.json")],
        ):
            delivery()
            before = server.count
            project.build(last="augmented_rows")
            asked.append(server.count - before)
        types = project.head("error_types").table("rows")["signature"].to_list()
        made = project.head("augmented_rows").values["usage"]
    assert len(types) == 2 and asked == [1, 1, 0, 0]
    assert (made["calls"], made["cached_calls"]) == (2, 1)


def test_a_judge_is_asked_twice_about_each_new_row_and_never_again(
    tmp_path, tiny_base, monkeypatch
):
    """Once for each order of its rubric."""
    monkeypatch.setenv("DELTA_KEY", "sk-test-delta")
    with ScriptedLLM(lambda _request: {"score": 4}) as server:
        reach = {"model": "m", "base_url": server.base_url, "api_key": "DELTA_KEY"}
        judge = {"scorers": {"llm_judge": reach}, "keep": ["llm_judge >= 3"]}
        project = Project(tmp_path, tiny_base, **judge)
        project.write("seeds/1.jsonl", SEEDS)
        project.write("general/1.jsonl", talk(20))
        asked, said = [], []
        for deliver in (
            lambda: None,
            lambda: project.write("general/2.jsonl", talk(9, start=90)),
            lambda: project.write("general/1.jsonl", reversed(talk(20))),
            lambda: project.change(keep=["llm_judge > 3"]),
            lambda: [memo.unlink() for memo in (tmp_path / "store" / "memo").glob("*.json")],
        ):
            deliver()
            before = server.count
            build = project.build(last="kept_rows")
            asked.append(server.count - before)
            said.append(build.counted.get("llm_judge", 0))
        rows = project.head("split_rows").tables["rows"]["rows"]
    assert asked == [2 * (rows - 9), 18, 0, 0, 0]
    assert said == [rows - 9, 9, 0, 0, 0]
