"""The leakage check: what got past the split step stops the build, which says how much it is."""

from pathlib import Path

import polars as pl
import pytest

from assets.stage import CheckFailed, Job, run_stage
from curation.rows import EDGE_SCHEMA, dialogue, make_row, rows_frame
from curation.store import Made
from tests.assets._project import LAST, SEEDS, SOURCES, Project, command, talk

ASKED = command("后排左边的遮阳帘"), command("the rear left sunshade of my car")
GONE = command("前排右边的阅读灯"), command("the front right reading lamp")
EXAM = [make_row(dialogue(line["prompt"], line["answer"])) for line in ASKED]
MADE = make_row(dialogue("取消香氛", ASKED[0]["answer"]))
EDGES = pl.DataFrame(
    [{"child": MADE["id"], "parent": EXAM[0]["id"], "kind": "augment_seed", "call": ""}],
    schema=EDGE_SCHEMA,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    """A built project with an exam of two rows, Chinese and English; two more were in it once."""
    project = Project(tmp_path_factory.mktemp("leakage"), tiny_base, sources=SOURCES)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(30))
    project.write("exam/1.jsonl", [*ASKED, *GONE])
    project.write("traffic/1.jsonl", [])
    project.build()
    project.write("exam/1.jsonl", ASKED)
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def plant(project: Project, name: str, **tables: pl.DataFrame) -> None:
    """Publish a version of a step with these rows added to its tables."""
    head = project.head(name)
    every = {table: head.table(table) for table in head.tables}
    every |= {table: pl.concat([every[table], more]) for table, more in tables.items()}
    inputs = {key: head.input(key) for key in head.manifest["inputs"]}
    made = Made(tables=every, values=head.values)
    version = project.store.write_version(head.name, made, inputs=inputs, how=head.manifest["how"])
    project.store.publish(version)


def mix(project: Project) -> None:
    (stage,) = (stage for stage in project.stages if stage.name == LAST)
    run_stage(Job(project.recipe, project.store), stage)


def test_a_clean_training_set_says_that_nothing_leaks_and_what_was_compared(project):
    version = project.head(LAST)
    passed, said = version.checks["leakage"]
    n = version.tables["rows"]["rows"]
    assert passed
    zeros = "0 exact, 0 sibling, 0 near, 0 withdrawn"
    assert said == f"{zeros} of {n} rows give away one of 2 of the exam"


@pytest.mark.parametrize(
    ("prompt", "answer", "numbers"),
    [
        (ASKED[0]["prompt"], "另一个答案", "1 exact, 0 sibling, 0 near"),
        (ASKED[1]["prompt"].upper() + "!", "{}", "1 exact, 0 sibling, 0 near"),
        (MADE["messages"][0]["content"], ASKED[0]["answer"], "0 exact, 1 sibling, 0 near"),
        (ASKED[0]["prompt"] + "吧", ASKED[0]["answer"], "0 exact, 0 sibling, 1 near"),
        (ASKED[1]["prompt"] + " ok", ASKED[1]["answer"], "0 exact, 0 sibling, 1 near"),
        (GONE[0]["prompt"] + "！", "另一个答案", "0 exact, 0 sibling, 0 near, 1 withdrawn"),
        (GONE[1]["prompt"].upper(), "{}", "0 exact, 0 sibling, 0 near, 1 withdrawn"),
    ],
)
def test_a_leak_behind_the_back_of_the_split_step_stops_the_build(project, prompt, answer, numbers):
    before = project.head(LAST)
    leak = rows_frame([make_row(dialogue(prompt, answer), source="seeds")])
    plant(project, "augmented_rows", edges=EDGES)
    plant(project, "kept_rows", rows=leak)
    with pytest.raises(
        CheckFailed, match=f"training_set: leakage: {numbers}.* of .* such as"
    ) as stop:
        mix(project)
    assert leak["id"][0] in str(stop.value)
    assert project.head(LAST).key == before.key


def test_a_row_like_the_exam_with_another_answer_is_trained_on(project):
    said = command("后排右边的遮阳帘")
    plant(project, "kept_rows", rows=rows_frame([make_row(dialogue(**said), source="seeds")]))
    mix(project)
    trained = project.head(LAST).table("rows")["id"]
    assert make_row(dialogue(**said))["id"] in trained.to_list()


def test_a_training_set_is_looked_at_again_when_only_the_exam_is_another(project):
    trained = project.head(LAST).table("rows").filter(source="seeds")
    exam = trained.head(1).drop("repeats").with_columns(guarded=pl.lit(True))
    plant(project, "split_rows", exam=exam)
    with pytest.raises(CheckFailed, match="leakage: 1 exact, 0 sibling"):
        mix(project)
