"""Bad cases by the command line and by a recipe's drop folder, up to the stage that reads them."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.recipe import RecipeError
from curation.bad_cases import read_inbox
from curation.store import Store
from pipelines.automation import decide_rebuild
from pipelines.cli import build_parser, main
from pipelines.cli_intake import INTAKE_EXAMPLES
from tests.assets._project import SEEDS, Project

CASES = [
    {"prompt": f"能不能打开{thing}", "gold": "{}", "predicted": "好的"}
    for thing in ("空调", "天窗", "车灯", "雨刮", "the radio")
]
WAITS = {"messages": [{"role": "user", "content": "关闭天窗"},
                      {"role": "assistant", "content": "好的，已打开天窗"}]}  # fmt: skip


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "drop").mkdir()
    project = Project(tmp_path, Path("demo"), intake={"folder": "drop", "found_by": "网关"})
    project.write("seeds/1.jsonl", SEEDS)
    return project


def winnow(project: Project, *words: str) -> int:
    return main(["bad-cases", *words, "--store", str(project.store.root)])


def test_what_is_dropped_is_in_the_next_snapshot_and_once_only(project):
    write(project.folder / "drop/1.jsonl", CASES[:3])
    project.build(last="bad_cases")
    assert project.head("bad_cases").table("rows").height == 3
    assert project.build(last="bad_cases").recalled["bad_cases"]
    write(project.folder / "drop/2.jsonl", CASES)
    assert not project.build(last="bad_cases").recalled["bad_cases"]
    rows = project.head("bad_cases").table("rows")
    assert rows.height == 5 and set(rows["found_by"]) == {"网关"}


def test_the_sensor_sees_what_was_dropped(project):
    write(project.folder / "drop/1.jsonl", CASES)
    project.change(automation={"min_new": 2})
    with dg.DagsterInstance.ephemeral() as instance:
        decision = decide_rebuild(project.store, project.recipe, instance)
    assert isinstance(decision, dg.RunRequest) and len(read_inbox(project.store)) == 5


def test_drops_are_read_anew_where_the_inbox_was_lost(project):
    write(project.folder / "drop/1.jsonl", CASES)
    project.build(last="bad_cases")
    shutil.rmtree(project.store.root / "intake")
    project.store = Store(project.store.root)
    project.build(last="bad_cases")
    assert len(read_inbox(project.store)) == 5


def test_a_drop_folder_that_is_not_there_is_said_when_the_recipe_is_loaded(project):
    with pytest.raises(RecipeError, match="intake.folder: file 'nowhere' does not exist"):
        project.change(intake={"folder": "nowhere"})


def test_cases_of_every_form_are_added_and_one_without_a_correction_is_given_it(project, capsys):
    folder = project.folder / "said"
    folder.mkdir()
    write(folder / "plain.jsonl", CASES[:2])
    write(folder / "chat.jsonl", [WAITS, {**WAITS, "correction": "好的，已关闭天窗"}])
    write(folder / "other.jsonl", [{**WAITS, "meta": {"fix": "好，关了"}}])
    assert winnow(project, "add", str(folder / "plain.jsonl"), str(folder)) == 0
    said = capsys.readouterr()
    assert said.out == "3 new bad cases, 2 already known, 2 quarantined\n"
    assert "chat.jsonl:1: no corrected answer" in said.err
    assert winnow(project, "add", str(folder / "other.jsonl"), "--gold", "meta.fix") == 0
    assert capsys.readouterr().out.startswith("1 new bad cases")
    assert winnow(project, "list", "--quarantined") == 0
    assert capsys.readouterr().out == "0 lines quarantined\n"  # somebody corrected that answer

    write(folder / "late.jsonl", [json.loads(json.dumps(WAITS).replace("\\u5929", "\\u8f66"))])
    assert winnow(project, "add", str(folder / "late.jsonl"), "--form", "chat") == 1
    capsys.readouterr()
    assert winnow(project, "list", "--quarantined", "--json") == 0
    (waits,) = json.loads(capsys.readouterr().out)
    assert winnow(project, "list", "--quarantined") == 0
    assert f"winnow bad-cases correct {waits['case'][:12]} --gold TEXT" in capsys.readouterr().out
    assert winnow(project, "correct", waits["case"][:12], "--gold", "好的，已关", "--by", "甲") == 0
    assert capsys.readouterr().out.startswith("1 new bad cases")
    assert read_inbox(project.store)[-1]["found_by"] == "甲"
    assert winnow(project, "correct", waits["case"], "--gold", "again") == 2
    assert "0 cases without a corrected answer" in capsys.readouterr().err


def test_a_database_is_read_by_the_name_of_its_variable(project, capsys, monkeypatch):
    with sqlite3.connect(project.folder / "app.db") as db:
        db.execute("create table wrong (id, prompt, gold, predicted)")
        db.execute("insert into wrong values (3, '打开', '好', '不')")
    db.close()
    monkeypatch.setenv("APP_DB", f"sqlite:///{project.folder / 'app.db'}")
    sql = "select id, prompt, gold, predicted from wrong where id > :cursor order by id"
    for new in (1, 0):
        assert winnow(project, "pull", "--url", "APP_DB", "--sql", sql) == 0
        assert capsys.readouterr().out.startswith(f"{new} new bad cases, 0 already known")
    assert winnow(project, "pull", "--url", "NO_DB", "--sql", sql) == 2
    assert "'NO_DB' is neither a database URL" in capsys.readouterr().err


def test_many_refused_lines_are_counted_and_what_a_terminal_obeys_is_escaped(project, capsys):
    folder = project.folder / "said"
    folder.mkdir()
    write(folder / "a\x1b[2J.jsonl", [{"prompt": i} for i in range(50)])
    assert winnow(project, "add", str(folder)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1].startswith("… 50 in all") and "\\x1b[2J" in lines[0]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", INTAKE_EXAMPLES)
def test_every_help_shows_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["bad-cases", name, "--help"])
    assert f"example:\n  {INTAKE_EXAMPLES[name]}" in capsys.readouterr().out
