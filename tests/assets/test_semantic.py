"""Semantic copies in a project: a delivery costs its rows, and says what a whole build says."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.recipe import RecipeError
from curation.semantic import semantic_copies
from curation.store import Made, Store, Version
from tests.assets._project import PLAIN, SEEDS, SOURCES, Project, command, deliver, talk
from tests.curation.test_guard_model import WORDS
from tests.curation.test_vectors import encoder  # noqa: F401 (a fixture)

SCORER = {"semantic_copy": {"similarity": 0.7, "rows_per_topic": 10}}
SECTIONS = PLAIN | {"scorers": SCORER, "keep": ["semantic_copy < 0.7"]}
STORIES = ("大象", "兔子", "小猫", "老虎", "长颈鹿")
STEPS = ("topics/semantic_copy", "facts/semantic_copy", "kept_rows")


def ask(i: int) -> dict[str, str]:
    """A general row that is near to four others, and a copy of none."""
    polite = ("", "请", "麻烦你", "你好，")[i // 5 % 4]
    thing = STORIES[i % 5]
    return {"prompt": f"{polite}给我讲一个关于{thing}的睡前故事", "answer": f"从前有{thing}。{i}"}


def fresh_build(project: Project, folder: Path) -> Store:
    """A store begun now, to which the project's topics were handed on."""
    again = Store(folder)
    topics = project.head(STEPS[0])
    made, how = Made({"topics": topics.table("topics")}), topics.manifest["how"]
    again.publish(again.write_version(topics.name, made, inputs={}, how=how))
    project.build(store=again, last="kept_rows")
    return again


def require_same(project: Project, again: Store) -> None:
    for name in STEPS:
        ours, theirs = project.head(name), project.head(name, store=again)
        for table in theirs.tables:
            assert ours.table(table).equals(theirs.table(table)), (name, table)
        assert ours.data_version == theirs.data_version, name


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    project = Project(tmp_path, tiny_base, sources=SOURCES, **SECTIONS)
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", [*talk(40), *map(ask, range(8))])
    project.build(last="kept_rows")
    return project


def copies(version: Version) -> pl.DataFrame:
    return version.table("copies")


def test_a_row_that_says_the_same_in_other_words_goes_by_the_rule(project):
    kept, found = project.head("kept_rows"), project.head("facts/semantic_copy")
    fates = kept.table("fates").filter(pl.col("fate") == "dropped")
    assert found.table("facts").height == kept.table("fates").height
    assert copies(found).height == fates.height > 0
    assert {*copies(found)["id"]} == {*fates["id"]}
    assert not {*copies(found)["into"]} & {*fates["id"]}  # each goes for one that stays
    assert fates["value"].min() >= 0.7 and found.values["status"] == {
        "ok": found.table("facts").height
    }


LINES = st.one_of(st.integers(0, 19).map(ask), st.sampled_from(talk(6)), st.just(command("车窗")))
DELIVERY = st.tuples(
    st.sampled_from(["append", "write", "write", "remove"]),
    st.sampled_from(["general", "seeds", "traffic"]),
    st.sampled_from(["1.jsonl", "3.jsonl"]),
    st.lists(LINES, min_size=1, max_size=8),
)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(DELIVERY, min_size=1, max_size=3))
def test_a_store_that_grew_says_what_a_fresh_one_says_by_the_same_topics(tiny_base, deliveries):
    with TemporaryDirectory() as folder:
        grown = Project(Path(folder), tiny_base, sources=SOURCES, **SECTIONS)
        grown.write("seeds/2.jsonl", SEEDS)
        grown.write("general/2.jsonl", [*talk(30, start=900), *map(ask, range(6))])
        grown.build(last="kept_rows")
        assert grown.head(STEPS[0]).table("topics").height > 2
        for number, (kind, source, file, lines) in enumerate(deliveries):
            deliver(grown, kind, f"{source}/{file}", lines)
            grown.build(last="kept_rows")
            require_same(grown, fresh_build(grown, Path(folder) / f"fresh{number}"))


def test_only_new_rows_get_a_vector_and_only_rows_beside_them_are_compared(project, monkeypatch):
    compared = list[int]()

    def count(rows: pl.DataFrame, **options: Any) -> pl.DataFrame:
        compared.append(rows.height)
        return semantic_copies(rows, **options)

    monkeypatch.setattr("assets.semantic.semantic_copies", count)
    before = project.head("facts/semantic_copy")
    project.write("general/2.jsonl", [ask(12)])
    build = project.build(last="kept_rows")
    now = project.head("facts/semantic_copy")
    assert (
        build.counted["semantic_copy"] == 1 and now.manifest["tables"] != before.manifest["tables"]
    )
    assert len(compared) == 1 and 1 < compared[0] < now.table("facts").height / 2
    (one,) = {*now.table("facts")["id"]} - {*before.table("facts")["id"]}
    assert one in copies(now)["id"]
    (project.folder / "general" / "2.jsonl").unlink()
    build = project.build(last="kept_rows")
    assert project.head("facts/semantic_copy").data_version == before.data_version


def test_copies_of_a_row_that_goes_are_copies_no_more(project):
    gone = copies(project.head("facts/semantic_copy"))["into"].unique()
    rows = project.head("split_rows").lookup("rows", gone)
    prompts = {turns[-2]["content"] for turns in rows["messages"]}
    left = [line for line in (*talk(40), *map(ask, range(8))) if line["prompt"] not in prompts]
    assert len(left) < 48
    project.write("general/1.jsonl", left)
    project.build(last="kept_rows")
    assert not {*copies(project.head("facts/semantic_copy"))["into"]} & {*gone}
    require_same(project, fresh_build(project, project.folder / "again"))


def test_topics_stay_until_another_edition(project):
    frozen = project.head(STEPS[0]).data_version
    project.write("general/2.jsonl", talk(60, start=300))
    project.build(last="kept_rows")
    assert project.head(STEPS[0]).data_version == frozen
    stricter = {"semantic_copy": SCORER["semantic_copy"] | {"similarity": 0.9}}
    project.change(scorers=stricter, keep=["semantic_copy < 0.9"])
    assert "semantic_copy" not in project.build(last="kept_rows").counted
    assert project.head(STEPS[0]).data_version == frozen
    project.change(reference={"edition": 2})
    project.build(last="kept_rows")
    assert project.head(STEPS[0]).table("topics").height > 8
    assert project.head(STEPS[0]).data_version != frozen
    require_same(project, fresh_build(project, project.folder / "again"))


def test_a_template_that_is_named_later_has_its_rows_compared_anew(project):
    before = copies(project.head("facts/semantic_copy")).height
    project.change(dedup={"templates": ["给我讲一个关于{what}的睡前故事"]})
    rows = project.head("split_rows").table("rows", ["id"]).height
    assert project.build(last="kept_rows").counted["semantic_copy"] >= rows
    assert copies(project.head("facts/semantic_copy")).height < before
    require_same(project, fresh_build(project, project.folder / "again"))


def test_a_models_vectors_grow_the_same(tmp_path, tiny_base, encoder):  # noqa: F811
    said = {"semantic_copy": {"model": str(encoder), "rows_per_topic": 10, "similarity": 0.9}}
    project = Project(tmp_path, tiny_base, sources=SOURCES, **SECTIONS | {"scorers": said})
    words = WORDS.split()
    draw = random.Random(1)
    lines = [{"prompt": " ".join(draw.choices(words, k=7)), "answer": f"好 {i}"} for i in range(40)]
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", lines[:25])
    project.build(last="kept_rows")
    project.write("general/2.jsonl", lines[25:])
    assert project.build(last="kept_rows").counted["semantic_copy"] == 15
    assert copies(project.head("facts/semantic_copy")).height
    require_same(project, fresh_build(project, tmp_path / "again"))


def test_a_rule_on_its_quantile_is_refused(project):
    with pytest.raises(RecipeError, match="semantic_copy_q"):
        project.change(keep=["semantic_copy_q < 0.98"])


def test_a_model_that_is_not_there_is_said_in_one_line(project, tmp_path):
    (tmp_path / "empty").mkdir()
    project.change(scorers={"semantic_copy": {"model": str(tmp_path / "empty")}})
    with pytest.raises((ValueError, OSError)) as error:
        project.build(last="kept_rows")
    assert "empty" in str(error.value)
