"""`winnow reviews`: what is listed, what is said of it, and what the next build makes of that."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cli import EXAMPLES, build_parser, main
from pipelines.cli_reviews import REVIEW_EXAMPLES
from tests.assets._project import PLAIN, SEEDS, Project, command, talk

ZH = [{**command(what), "prompt": "打开天窗和车灯"} for what in ("天窗", "车灯")]
EN = [{**command(what), "prompt": f"open it{end}"} for what, end in
      (("door", ""), ("lamp", ""), ("lamp", "!"))]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    project = Project(tmp_path, tiny_base, **PLAIN)
    project.write("seeds/1.jsonl", [*SEEDS, *ZH, *EN])
    project.write("general/1.jsonl", talk(30))
    project.build(last="duplicates")
    return project


def winnow(project: Project, *words: str) -> int:
    where = ["--recipe", str(project.recipe.path), "--store", str(project.store.root)]
    return main(["reviews", *words, *where])


def listed(project: Project, capsys: Any, *words: str) -> list[Any]:
    assert winnow(project, "list", "--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def test_open_conflicts_are_listed_with_every_answer_most_rows_first(project, capsys):
    english, chinese = listed(project, capsys)
    assert english["prompt"].startswith("open it") and chinese["prompt"] == "打开天窗和车灯"
    assert sorted(len(answer["ids"]) for answer in english["answers"]) == [1, 2]
    answers = [answer["answer"] for answer in chinese["answers"]]
    assert sorted(answers) == sorted(record["answer"] for record in ZH)
    assert all(answer["sources"] == ["seeds"] for answer in chinese["answers"])
    assert winnow(project, "list", "--limit", "1") == 0
    shown = capsys.readouterr().out
    assert english["answers"][0]["ids"][0][:12] in shown and "天窗" not in shown
    assert shown.endswith("2 label_conflict in all\n")


def test_what_is_accepted_or_rejected_waits_no_more_and_the_build_honours_it(project, capsys):
    english, chinese = listed(project, capsys)
    (lamp,) = [a for a in english["answers"] if len(a["ids"]) == 2]
    (door,) = [a for a in english["answers"] if len(a["ids"]) == 1]
    right, wrong = (answer["ids"][0] for answer in chinese["answers"])
    assert winnow(project, "accept", right[:12], "--by", "审阅乙") == 0
    assert winnow(project, "reject", *lamp["ids"], "--reason", "no lamp was named") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 new verdicts, 0 already known, 0 quarantined",
        "2 new verdicts, 0 already known, 0 quarantined",
    ]
    assert listed(project, capsys) == []
    project.build()
    fates = project.head("duplicates").lookup("fates", [right, wrong, *door["ids"], *lamp["ids"]])
    said = {row["id"]: (row["fate"], row["reason"]) for row in fates.to_dicts()}
    assert said[right] == said[door["ids"][0]] == ("kept", "")
    assert {said[i] for i in (wrong, *lamp["ids"])} == {("dropped", "rejected")}
    assert listed(project, capsys) == []
    assert winnow(project, "list") == 0
    assert capsys.readouterr().out == "nothing waits for people\n"
    where = ["--recipe", str(project.recipe.path), "--store", str(project.store.root)]
    assert main(["lineage", "why", wrong, *where]) == 0
    assert f"accept of {right} by 审阅乙" in capsys.readouterr().out


def test_whom_reviewers_disagree_about_is_asked_of_others(project, capsys):
    i = project.head("rows").table("rows").filter(track="general")["id"][0]
    for by, verdict in (("甲", "accept"), ("B", "reject")):
        assert winnow(project, verdict, i, "--by", by) == 0
    capsys.readouterr()
    (tie,) = listed(project, capsys, "--kind", "tie")
    assert tie["answers"][0]["ids"] == [i]
    assert len(listed(project, capsys, "--kind", "label_conflict")) == 2
    assert winnow(project, "reject", i, "--by", "丙") == 0
    capsys.readouterr()
    assert listed(project, capsys, "--kind", "tie") == []


def test_who_goes_back_to_what_he_said_first_is_heard(project, capsys):
    _, chinese = listed(project, capsys)
    (i, *_), *_ = (answer["ids"] for answer in chinese["answers"])
    for verdict, waiting in (("reject", 1), ("accept", 1), ("reject", 1)):
        assert winnow(project, verdict, i) == 0
        assert capsys.readouterr().out.startswith("1 new verdicts")
        assert len(listed(project, capsys)) == waiting
    project.build(last="duplicates")
    assert project.head("duplicates").lookup("fates", [i])["fate"].item() == "dropped"


def test_a_file_or_a_pipe_is_taken_in_line_by_line(project, capsys, monkeypatch):
    _, chinese = listed(project, capsys)
    ids = [answer["ids"][0] for answer in chinese["answers"]]
    lines = [json.dumps({"id": i, "verdict": "reject", "by": "甲"}) for i in ids]
    data = "\n".join(
        [lines[0], "{broken", '{"id": "打开", "verdict": "accept"}', lines[1], ""]
    ).encode()
    file = project.folder / "said.jsonl"
    file.write_bytes(data)
    assert winnow(project, "add", str(file)) == 0
    said = capsys.readouterr()
    assert said.out == "2 new verdicts, 0 already known, 2 quarantined\n"
    first, second = said.err.splitlines()
    assert first.startswith("said.jsonl:2: broken JSON")
    assert second == "said.jsonl:3: 'id' is '打开', not the id of a row (32 hex digits)"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert winnow(project, "add", "-") == 0
    said = capsys.readouterr()
    assert said.out == "0 new verdicts, 2 already known, 2 quarantined\n"
    assert said.err.startswith("stdin.jsonl:2: broken JSON")


def test_rows_go_out_as_tasks_and_annotations_come_back_as_verdicts(project, capsys):
    file = project.folder / "tasks.json"
    assert winnow(project, "export", "--label-studio", str(file), "--size", "10") == 0
    assert capsys.readouterr().out.startswith(f"10 tasks written to {file}, their labels to")
    assert "<Choices" in file.with_suffix(".xml").read_text()
    tasks = json.loads(file.read_text())
    assert {task["data"]["why"] for task in tasks} == {"label_conflict", "random"}
    for n, task in enumerate(tasks):
        said = [["verdict", "choices", {"choices": ["accept" if n else "reject"]}]]
        texts = ["答案不对"] if n < 2 else []
        said += [["reason", "textarea", {"text": texts}]]
        result = [{"from_name": a, "to_name": "answer", "type": b, "value": c} for a, b, c in said]
        task["annotations"] = [{"result": result, "completed_by": {"email": "ann@example.com"}}]
    tasks[9]["data"]["row_id"] = "0" * 32
    file.write_text(json.dumps(tasks), encoding="utf-8")
    assert winnow(project, "import", str(file)) == 0
    said = capsys.readouterr()
    assert said.out == "9 new verdicts, 0 already known, 1 quarantined\n"
    assert "no row has the id '0000" in said.err and said.err.count("\n") == 1
    project.build(last="duplicates")
    fate = project.head("duplicates").lookup("fates", [tasks[0]["data"]["row_id"]])
    assert fate["reason"].item() == "rejected"
    (line,) = project.head("verdicts").lookup("rows", [tasks[0]["data"]["row_id"]]).to_dicts()
    assert (line["by"], line["reason"]) == ("ann@example.com", "答案不对")


def test_agreement_and_samples_are_told(project, capsys):
    ids = project.head("rows").table("rows").filter(track="general")["id"].to_list()
    lines = [
        {"id": i, "by": by, "verdict": "reject" if n == 0 or (by == "乙" and n < 3) else "accept"}
        for n, i in enumerate(ids)
        for by in ("甲", "乙", *(["gold"] if n < 2 else []))
    ]
    file = project.folder / "said.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert winnow(project, "add", str(file)) == 0
    capsys.readouterr()
    assert winnow(project, "agreement") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["reviewers  2", "in common  30 rows that two or more judged"]
    assert [line.split() for line in shown[-3:]] == [
        ["gold", "rows", "judged", "right:"], ["乙", "1", "of", "2"], ["甲", "2", "of", "2"],
    ]  # fmt: skip
    assert winnow(project, "agreement", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pairs"][0]["agreed"] == 28
    assert winnow(project, "samples", "--json") == 0
    samples = {one["group"]: one for one in json.loads(capsys.readouterr().out)}
    general = samples["source general"]
    assert (general["rows"], general["looked"], general["state"]) == (30, 29, "more")
    assert samples["source seeds"]["state"] == "more"
    assert winnow(project, "samples") == 0
    assert "source general" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["accept", "0" * 32], f"no row of 'delta' has an id that begins with '{'0' * 32}'"),
        (["reject", "空调"], "no row of 'delta' has an id that begins with '空调'"),
        (["add", "none.jsonl"], "there is no file 'none.jsonl'"),
        (["import", "none.json"], "there is no file 'none.json'"),
        (["list", "--kind", "ties"], "nothing of the kind 'ties' waits (did you mean 'tie'?)"),
    ],
)
def test_a_users_mistake_is_one_line_and_adds_nothing(project, capsys, words, said):
    assert winnow(project, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"winnow: {said}"
    assert not [*(project.store.root / "verdicts").glob("*")]


@pytest.mark.parametrize("name", [name.split()[1] for name in REVIEW_EXAMPLES])
def test_every_help_shows_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["reviews", name, "--help"])
    example = EXAMPLES[f"reviews {name}"]
    assert f"example:\n  {example}" in capsys.readouterr().out
