"""The command line: one line for a mistake, the right exit code, and an example in every help."""

import json

import pytest

from curation.store import Store
from pipelines.cli import EXAMPLES, build_parser, main

COMMANDS = [
    ["demo"],
    ["run"],
    ["check"],
    ["bad-cases", "add"],
    ["bad-cases", "list"],
    ["lineage", "model"],
    ["lineage", "rows"],
    ["lineage", "why"],
    ["lineage", "diff"],
    ["export"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([*command, "--help"])
    assert stop.value.code == 0
    assert f"example:\n  {EXAMPLES[command[-1]]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "no_such_recipe.yaml"],
        ["run", "--select", "no_such_asset"],
        ["lineage", "model", "v99"],
        ["lineage", "rows", "v1", "--where", "no such sql"],
        ["export", "no_such_asset", "--to", "x.jsonl"],
        ["bad-cases", "add", "no_such_file.jsonl"],
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_two(built, arguments):
    done = built.ask(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_check_names_the_assets(built):
    done = built.ask("check")
    assert done.returncode == 0 and "kept_rows" in done.stdout


def test_a_question_about_a_row_is_answered_in_words(built):
    done = built.ask("lineage", "why", "打开空调")
    assert done.returncode == 0 and "trained on" in done.stdout and "seeds.jsonl:1" in done.stdout


def test_a_dropped_merged_or_quarantined_row_says_why(built):
    said = {
        "打开车灯": "dropped at kept_rows: task_valid",
        "打开空调！": "merged at duplicates into",
        "关闭天窗": "quarantined at dirt.jsonl:4",
    }
    for text, verdict in said.items():
        answers = json.loads(built.ask("lineage", "why", text, "--json").stdout)
        assert any(answer["verdict"].startswith(verdict) for answer in answers), answers


def test_an_unknown_row_is_said_and_exits_with_one(built):
    done = built.ask("lineage", "why", "no such text anywhere")
    assert done.returncode == 1 and "no row has this id or text" in done.stderr


def test_the_rows_of_a_model_lead_to_their_parents(built):
    done = built.ask("lineage", "rows", "v2", "--where", "origin = 'transform'", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows and all(row["parents"] for row in rows)


def test_the_difference_of_two_models_names_its_causes(built):
    said = json.loads(built.ask("lineage", "diff", "v1", "v2", "--json").stdout)
    assert said["came"]["new bad case"] > 0 and "bad_cases" in said["inputs_changed"]


@pytest.mark.parametrize("form", ["messages", "alpaca", "sharegpt", "csv", "parquet"])
def test_export_writes_every_row(built, tmp_path, form):
    target = tmp_path / f"rows.{form}"
    done = built.ask("export", "training_set", "--to", str(target), "--format", form)
    assert done.returncode == 0 and target.stat().st_size > 0
    version = Store(built.store).head("tiny/training_set")
    assert version is not None
    assert done.stdout.startswith(f"{version.tables['rows']['rows']} rows of training_set")


def test_bad_cases_are_added_once_and_broken_ones_named(project):
    good = {"prompt": "打开空调", "gold": "{}", "predicted": "x"}
    file = project.folder / "cases.jsonl"
    file.write_text(json.dumps(good) + "\n{broken\n" + json.dumps({"prompt": "x"}) + "\n")
    done = project.ask("bad-cases", "add", str(file))
    assert done.returncode == 0
    assert done.stdout.strip() == "1 new bad cases, 0 already known, 2 quarantined"
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        "cases.jsonl:2",
        "cases.jsonl:3",
    ]
    again = project.ask("bad-cases", "add", str(file))
    assert again.stdout.startswith("0 new bad cases, 1 already known")


def test_main_returns_the_exit_code(capsys):
    assert main(["check", "no_such.yaml"]) == 2
    assert capsys.readouterr().err.startswith("winnow: no_such.yaml: this file does not exist")
