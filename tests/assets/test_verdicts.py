"""What people said of rows is honoured by the next build, and costs the rows it is about."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from assets import feedback
from assets.stage import CheckFailed
from curation.accounts import prove_chain
from curation.fixes import edit_records
from curation.lineage import explain_row
from curation.reviews import add_verdicts
from curation.rows import UTTERANCE
from curation.store import Store
from tests.assets._counting import rows_signed
from tests.assets._project import (
    LAST,
    PLAIN,
    RECIPE,
    SEEDS,
    Project,
    command,
    require_books,
    require_same,
    talk,
)

ZH = [
    {**command(what), "prompt": f"打开天窗和车灯{end}"}
    for what, end in (("天窗", ""), ("车灯", ""), ("天窗", "！"))
]
EN = [{**command("it", what), "prompt": "open it"} for what in ("door", "lamp")]

FRAMED = {**command("副驾座椅通风"), "prompt": "麻烦你现在打开一下副驾座椅通风"}
"""Another frame, so that the augmenter has something to make of each seed."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    """A built project in which two prompts have two answers each."""
    task = RECIPE["task"] | {"closed": {"do": ["打开"]}}
    project = Project(tmp_path_factory.mktemp("verdicts"), tiny_base, **PLAIN, task=task)
    project.write("seeds/1.jsonl", [*SEEDS, *ZH, *EN, FRAMED])
    project.write("general/1.jsonl", talk(60))
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def id_of(project: Project, record: dict[str, str]) -> str:
    rows = project.head("rows").table("rows")
    answers = rows["messages"].list.last().struct.field("content")
    same = (rows.select(u=UTTERANCE)["u"] == record["prompt"]) & (answers == record["answer"])
    return rows.filter(same)["id"].item()


def ids_of(project: Project, step: str) -> set[str]:
    return {*project.head(step).table("rows", ["id"])["id"]}


def say(project: Project, verdict: str, record: dict[str, str], **more: str) -> None:
    judge(project.store, [{"id": id_of(project, record), "verdict": verdict, **more}])


def judge(store: Store, verdicts: Iterable[dict[str, Any]]) -> None:
    add_verdicts(store, [(f"line {i}", said) for i, said in enumerate(verdicts, 1)])


def fate(project: Project, record: dict[str, str]) -> tuple[str, str, str]:
    row = project.head("duplicates").lookup("fates", [id_of(project, record)])
    return row.select("fate", "reason", "into").row(0)


def trained(project: Project, record: dict[str, str]) -> bool:
    return bool(project.head(LAST).lookup("rows", [id_of(project, record)]).height)


def require_fresh(project: Project) -> None:
    """The store says what one says that was given files and verdicts at once."""
    fresh = Store(project.folder / f"fresh {project.head('duplicates').key[-12:-5]}")
    shutil.copytree(project.store.root / "verdicts", fresh.root / "verdicts", dirs_exist_ok=True)
    project.build(store=fresh)
    require_same(project, fresh)
    require_books(project.head(LAST))


@pytest.mark.parametrize(("right", "wrong"), [(ZH[1], ZH[0]), EN], ids=["zh", "en"])
def test_what_is_accepted_stays_and_what_contradicts_it_goes(project, right, wrong):
    assert not trained(project, right) and not trained(project, wrong)
    before = {name: ids_of(project, name) for name in ("augmented_rows", "split_rows")}
    say(project, "accept", right, by="甲", reason="窗 is a window")
    with rows_signed() as signed:
        build = project.build()
    new = {name: len(ids_of(project, name) - ids) for name, ids in before.items()}
    assert (sum(signed), build.counted.get("length", 0)) == tuple(new.values())
    assert build.recalled["rows"] and build.recalled["bad_cases"]
    assert trained(project, right) and not trained(project, wrong)
    assert fate(project, right) == ("kept", "", "")
    assert fate(project, wrong) == ("dropped", "rejected", id_of(project, right))
    assert project.head("duplicates").table("conflicts").height == 1  # of the other language
    (why,) = explain_row(project.store, "delta", id_of(project, wrong))
    assert why["verdict"].startswith("dropped at duplicates into " + id_of(project, right))
    assert why["reviewed"] == {
        "id": id_of(project, right), "verdict": "accept", "by": "甲", "reason": "窗 is a window",
    }  # fmt: skip
    require_fresh(project)


def test_when_all_answers_but_one_are_rejected_that_one_is_trained_on(project):
    say(project, "reject", ZH[1], reason="答非所问")
    project.build()
    assert fate(project, ZH[1]) == ("dropped", "rejected", "")
    kept = [fate(project, record)[0] for record in (ZH[0], ZH[2])]
    assert sorted(kept) == ["kept", "merged"]
    assert project.head("duplicates").table("conflicts").height == 1
    require_fresh(project)


def test_a_verdict_that_is_taken_back_brings_the_row_back(project):
    before = {name: project.head(name).data_version for name in ("duplicates", LAST)}
    for verdict in ("reject", "accept"):
        say(project, verdict, SEEDS[0], by="reviewer-2")
        project.build()
        require_fresh(project)
    assert before == {name: project.head(name).data_version for name in before}


def test_what_a_rejected_row_would_have_taught_is_not_made(project):
    def made_of(record: dict[str, str]) -> int:
        edges = project.head("augmented_rows").table("edges")
        return edges.filter(parent=id_of(project, record)).height

    assert made_of(ZH[2]) and made_of(SEEDS[1]) and made_of(SEEDS[0])
    say(project, "accept", ZH[1])
    say(project, "reject", SEEDS[1])
    project.build()
    assert not made_of(ZH[2]) and not made_of(SEEDS[1]) and made_of(SEEDS[0])
    require_fresh(project)


def test_of_several_reviewers_the_majority_counts_and_a_tie_decides_nothing(project):
    for by, verdict in (("甲", "reject"), ("乙", "accept")):
        say(project, verdict, SEEDS[0], by=by)
    project.build()
    assert trained(project, SEEDS[0])
    assert project.head("verdicts").table("rows")["verdict"].to_list() == ["undecided"]
    say(project, "reject", SEEDS[0], by="丙")
    project.build()
    assert not trained(project, SEEDS[0])
    require_fresh(project)


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [(SEEDS[0], command("打开空调")["answer"]), (talk(1)[0], "说得不对。")],
    ids=["domain", "general"],
)
def test_what_people_set_right_is_trained_on_in_the_place_of_what_was_wrong(project, wrong, answer):
    i = id_of(project, wrong)
    (row,) = project.head("rows").lookup("rows", [i]).to_dicts()
    for by in ("甲", "乙"):  # the second says the same, and it is one row
        judge(project.store, edit_records(row, answer, task=project.recipe.task, by=by))
    project.build()
    assert fate(project, wrong) == ("dropped", "rejected", "")
    (edge,) = project.head("augmented_rows").table("edges").filter(parent=i, kind="fix").to_dicts()
    (told,) = explain_row(project.store, "delta", edge["child"])
    assert (told["origin"], told["source"]) == ("human", "reviews")
    assert told["fates"]["kept_rows"]["fate"] == "kept" and i not in ids_of(project, "kept_rows")
    assert told["stems_from"][0]["row"] == i
    require_fresh(project)
    ids = (i, edge["child"])
    judge(project.store, [{"id": j, "verdict": "withdraw", "by": by} for j in ids for by in "甲乙"])
    project.build()
    assert {*ids} & ids_of(project, "kept_rows") == {i}
    require_fresh(project)


def test_verdicts_on_general_rows_and_on_ids_that_no_row_has(project):
    say(project, "reject", talk(1)[0])
    judge(project.store, [{"id": "0" * 32, "verdict": "reject"}])
    project.build()
    assert not trained(project, talk(1)[0])
    assert project.head("duplicates").values["fates"]["dropped: rejected"] == 1
    require_fresh(project)


def test_verdicts_cost_the_rows_they_are_about(project):
    say(project, "reject", talk(1)[0])
    build = project.build()
    assert build.counted == {} and build.recalled["augmented_rows"] is False
    again = project.build()
    assert again.counted == {} and all(again.recalled.values())


def test_the_account_of_the_inbox_stands_in_the_chain(project):
    row = id_of(project, SEEDS[0])
    judge(project.store, [
        {"id": row, "verdict": "accept"}, {"id": row, "verdict": "reject"},
        {"id": row, "verdict": "accept", "by": "甲"}, {"id": "空调"},
    ])  # fmt: skip
    project.build()
    links = prove_chain(project.head("duplicates"))
    (line,) = [link.line for link in links if link.step == "verdicts"]
    assert line == "4 in = 1 quarantined + 1 replaced + 2 standing"
    assert all(link.holds for link in links)


def test_a_verdict_that_the_snapshot_loses_stops_the_run(project, monkeypatch):
    say(project, "reject", SEEDS[0])
    take = feedback.read_said
    monkeypatch.setattr(feedback, "read_said", lambda *a: take(*a)[1:])
    with pytest.raises(CheckFailed, match="verdicts: conservation: source 'inbox': 1 rows"):
        project.build(last="verdicts")


def test_a_machine_whose_inbox_is_empty_forgets_no_verdict(project):
    say(project, "reject", SEEDS[0])
    project.build(last="verdicts")
    head = project.head("verdicts").key
    shutil.rmtree(project.store.root / "verdicts")
    with pytest.raises(ValueError, match="newest snapshot has 1 verdicts: .* copy verdicts/ of"):
        project.build(last="verdicts")
    assert project.head("verdicts").key == head
