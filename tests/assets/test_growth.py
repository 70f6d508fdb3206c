"""A store that grew says what a fresh one says; an exam that stays is not set again."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation import band_index
from curation.bad_cases import add_bad_cases
from curation.exam import set_exam
from curation.lineage import explain_row
from curation.reviews import add_verdicts
from curation.store import Store
from tests.assets._project import (
    HAN,
    LAST,
    PLAIN,
    SEEDS,
    SOURCES,
    Project,
    case_of,
    command,
    deliver,
    require_books,
    require_same,
    talk,
)


@pytest.fixture(autouse=True)
def small_indexes(monkeypatch):
    """Bands of a few rows are looked up in an index, as else those of many."""
    monkeypatch.setattr(band_index, "LEAST", 8)


# What a row may say: the same again, nearly the same, with another answer, in two languages.
PROMPTS = ("打开车窗", "打开车窗！", "把左边的车窗打开一半", "把左边的车窗打开一半吧", "turn it on")
ANSWERS = ("车窗", "左边的车窗", "it")
LINES = st.one_of(
    st.builds(
        lambda prompt, what: {**command("x", what), "prompt": prompt},
        st.sampled_from(PROMPTS),
        st.sampled_from(ANSWERS),
    ),
    st.sampled_from(talk(6)),
    st.sampled_from(["{", "[1]", '{"prompt": "没有答案"}', "不是 JSON"]),
)  # fmt: skip
DELIVERY = st.tuples(
    st.sampled_from(["append", "write", "write", "remove", "wrong", "judge"]),
    st.sampled_from(["seeds", "general", "exam", "traffic"]),
    st.sampled_from(["1.jsonl", "3.jsonl", "5.jsonl"]),
    st.lists(LINES, min_size=1, max_size=6),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(DELIVERY, min_size=1, max_size=3))
def test_a_store_that_grew_says_what_a_fresh_one_says(tiny_base, deliveries):
    with TemporaryDirectory() as folder:
        # No scorer here learns from the reference, which is frozen by design and would differ.
        grown = Project(Path(folder), tiny_base, sources=SOURCES, **PLAIN)
        for name in SOURCES:
            grown.write(f"{name}/2.jsonl", talk(40, start=900) if name == "general" else [])
        grown.write("seeds/2.jsonl", SEEDS)
        grown.build()
        wrong, said = list[tuple[str, Any]](), list[tuple[str, Any]]()
        for number, (kind, source, file, lines) in enumerate(deliveries):
            if kind == "wrong":
                wrong += [(f"{number}:{i}", case_of(line)) for i, line in enumerate(lines)]
                add_bad_cases(grown.store, wrong)
            elif kind == "judge":
                said += [(f"{number}:{i}", one) for i, one in enumerate(judge(grown, file, lines))]
                add_verdicts(grown.store, said)
            else:
                deliver(grown, kind, f"{source}/{file}", lines)
            grown.build()
            fresh = Store(Path(folder) / f"fresh{number}")
            add_bad_cases(fresh, wrong)
            add_verdicts(fresh, said)
            grown.build(store=fresh)
            require_same(grown, fresh)
            require_books(grown.head(LAST))


def judge(project: Project, file: str, lines: Sequence[Any]) -> list[dict[str, str]]:
    """As many verdicts as lines, on rows that ask the same as others before all the rest."""
    conflicts = project.head("duplicates").table("conflicts")["ids"].explode().drop_nulls()
    ids = [*conflicts, *project.head("duplicates").table("fates")["id"]][: len(lines)]
    verdict = "accept" if file == "1.jsonl" else "reject"
    return [{"id": row_id, "verdict": verdict, "by": file} for row_id in ids]


def test_a_row_that_becomes_a_general_one_is_judged_as_that(tmp_path, tiny_base):
    """A row is of the domain while a source says so, though another calls it general."""
    scorers = {"length": {}, "task_valid": {}}
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN | {"scorers": scorers})
    twice = [command("车窗"), {"prompt": "打开车窗", "answer": "不是命令"}]
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    project.write("seeds/2.jsonl", twice)
    project.build()
    (tmp_path / "seeds" / "2.jsonl").unlink()
    project.write("general/2.jsonl", [*twice, {"prompt": "打开车窗！", "answer": "好的"}])
    build = project.build()
    fresh = Store(tmp_path / "fresh")
    project.build(store=fresh)
    require_same(project, fresh)
    assert build.counted["signatures"] == build.counted["task_valid"] == 3
    project.write("seeds/2.jsonl", twice)
    project.build()
    fresh = Store(tmp_path / "fresh again")
    project.build(store=fresh)
    require_same(project, fresh)


@pytest.mark.parametrize("source", ["exam", "traffic"])
def test_a_training_row_that_another_source_holds_out_later_leaves_training(
    tmp_path, tiny_base, source
):
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN | {"keep": []})
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    project.build()
    trained = {SEEDS[1]["prompt"], SEEDS[-1]["prompt"]}
    assert trained <= trained_prompts(project)
    project.write(f"{source}/1.jsonl", [SEEDS[1], SEEDS[-1]])
    project.build()
    assert not trained & trained_prompts(project)
    ids = project.head("rows").table("shared").filter(source="seeds", kept_source=source)["id"]
    assert ids.len() == 2 and project.head("unique_rows").lookup("rows", ids).is_empty()
    assert set(ids) <= set(project.head("split_rows").table("exam")["id"])
    why = {explain_row(project.store, "delta", row_id)[0]["verdict"] for row_id in ids}
    split = SOURCES[source]["split"]
    assert why == {f"not a candidate: it belongs to the {split} split"}
    require_books(project.head(LAST))
    fresh = Store(tmp_path / "fresh")
    project.build(store=fresh)
    require_same(project, fresh)


def trained_prompts(project: Project) -> set[str]:
    trained = project.head(LAST).table("rows")["messages"].to_list()
    return {turn["content"] for turns in trained for turn in turns if turn["role"] == "user"}


@pytest.fixture
def examined(tmp_path: Path, tiny_base: Path) -> Project:
    """A built project with an exam: test rows, traffic that is held out, and bad cases."""
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN)
    project.write("exam/1.jsonl", [command(f"{what}灯") for what in "近远前后"])
    project.write("traffic/1.jsonl", [command(f"{what}窗") for what in "左右前后"])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(60))
    complain(project.store)
    project.build()
    return project


@pytest.fixture
def set_anew(examined: Project, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many candidates an exam was set, each time that one was."""
    asked = list[int]()

    def count(unique: Any, *given: Any, **options: Any) -> Any:
        asked.append(unique.height)
        return set_exam(unique, *given, **options)

    monkeypatch.setattr("assets.exam.set_exam", count)
    return asked


def complain(store: Store) -> None:
    said = [case_of(command(f"{what}门")) for what in "车尾左右"]
    add_bad_cases(store, ((str(i), case) for i, case in enumerate(said)))


def test_while_the_exam_stays_only_new_general_rows_are_judged(examined, set_anew):
    repeats = [{"prompt": HAN[:30] + end, "answer": "好的，就这样。"} for end in ("天", "天吧")]
    leak = {**command("近灯"), "answer": "另外一个回答"}
    examined.write("general/2.jsonl", [*talk(9, start=300), leak, *repeats, repeats[0]])
    examined.build()
    assert set_anew == []
    split, pairs = examined.head("split_rows"), examined.head("duplicates").table("pairs")
    assert "general" in split.table("fates").filter(reason="leak")["source"]
    assert pairs.filter(kind="near").height and {*pairs["id"]} <= {*split.table("clusters")["id"]}
    fresh = Store(examined.folder / "fresh")
    complain(fresh)
    examined.build(store=fresh)
    require_same(examined, fresh)
    require_books(examined.head(LAST))
    (examined.folder / "general" / "2.jsonl").unlink()
    set_anew.clear()
    assert examined.build(last="split_rows") and set_anew == []
    clusters = examined.head("split_rows").tables["clusters"]
    assert clusters["digest"] != split.tables["clusters"]["digest"]


@pytest.mark.parametrize("file", ["seeds", "exam", "traffic"])
def test_an_exam_is_set_anew_when_a_row_comes_that_it_is_set_from(examined, set_anew, file):
    examined.write(f"{file}/2.jsonl", [command("后备箱")])
    examined.build(last="split_rows")
    assert set_anew
