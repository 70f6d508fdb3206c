"""A store that grew says what a fresh one says; an exam that stays is not set again."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curation import band_index
from curation.bad_cases import add_bad_cases
from curation.exam import set_exam
from curation.lineage import explain_row
from curation.once import REASON, name_prompts
from curation.reviews import add_verdicts
from curation.rows import dialogue, row_id
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
    hand_on_exam,
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
TESTED = [command(what) for what in ANSWERS]
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
@example([("write", "exam", "1.jsonl", TESTED), ("write", "exam", "1.jsonl", []),
          ("write", "seeds", "3.jsonl", TESTED)])  # fmt: skip
@example([("write", "seeds", "1.jsonl", TESTED), ("write", "traffic", "1.jsonl", TESTED),
          ("remove", "traffic", "1.jsonl", [])])  # fmt: skip
@example([("write", "traffic", "1.jsonl", TESTED), ("write", "seeds", "1.jsonl", TESTED),
          ("write", "general", "1.jsonl", TESTED)])  # fmt: skip
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
        guarded = grown.head("split_rows").table("once")
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
            guarded = require_as_fresh(grown, fresh, guarded)
            require_books(grown.head(LAST))


def judge(project: Project, file: str, lines: Sequence[Any]) -> list[dict[str, str]]:
    """As many verdicts as lines, on rows that ask the same as others before all the rest."""
    conflicts = project.head("duplicates").table("conflicts")["ids"].explode().drop_nulls()
    ids = [*conflicts, *project.head("duplicates").table("fates")["id"]][: len(lines)]
    verdict = "accept" if file == "1.jsonl" else "reject"
    return [{"id": row_id, "verdict": verdict, "by": file} for row_id in ids]


def require_as_fresh(grown: Project, fresh: Store, was: pl.DataFrame) -> pl.DataFrame:
    """All is the same, but for what shares a cluster with a row that was guarded and is no more.

    `was` is what fresh stores said to remember before; what they say with this one comes back.
    """
    ours, theirs = (grown.head("split_rows", store=store) for store in (None, fresh))
    now = theirs.table("once")
    gone = was.join(now, on="prompt", how="anti")
    if was.join(now, on="id", how="anti").is_empty():  # nothing guarded was withdrawn
        require_same(grown, fresh)
    require_same(grown, fresh, steps=("rows", "duplicates", "unique_rows"))
    for table in ("exam", "clusters"):
        assert ours.table(table).equals(theirs.table(table)), table
    fates, others = ours.table("fates"), theirs.table("fates")
    assert fates["id"].equals(others["id"])
    left = fates.join(others, on=fates.columns, how="anti", nulls_equal=True)
    assert {*left["reason"]} <= {REASON} and {*fates.filter(reason=REASON)["id"]} == {*left["id"]}
    assert {*others.join(left, on="id", how="semi")["fate"]} <= {"kept"}
    rows = pl.concat(ours.input(name).table("rows") for name in ("rows", "augmented_rows"))
    again = name_prompts(rows).join(gone, on="prompt", how="semi")["id"]
    clusters = ours.table("clusters")
    theirs_too = clusters.filter(pl.col("id").is_in(again.implode())).select("cluster")
    related = clusters.join(theirs_too, on="cluster", how="semi")["id"]
    assert {*left["id"]} <= {*again, *related}
    assert not {*fates.filter(pl.col("fate") == "kept")["id"]} & {*again}
    if gone.height:
        require_same_with_memory(grown, fresh)
    return pl.concat([was.join(now, on="id", how="anti"), now])


def require_same_with_memory(grown: Project, fresh: Store) -> None:
    """What a store comes to that begins with nothing but what the grown one remembers."""
    hand_on_exam(grown, fresh)
    grown.build(store=fresh)
    require_same(grown, fresh)


def test_a_row_that_becomes_a_general_one_is_judged_as_that(tmp_path, tiny_base):
    """A row is of the domain while a source says so, though another calls it general."""
    scorers = {"length": {}, "task_valid": {}}
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN | {"scorers": scorers})
    twice = [command("地图"), {"prompt": "打开地图", "answer": "不是命令"}]
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    project.write("seeds/2.jsonl", twice)
    project.build()
    (tmp_path / "seeds" / "2.jsonl").unlink()
    project.write("general/2.jsonl", [*twice, {"prompt": "打开地图！", "answer": "好的"}])
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


def test_a_withdrawn_test_row_is_not_trained_on_when_it_comes_again(tmp_path, tiny_base):
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN | {"keep": []})
    project.write("exam/1.jsonl", [command("近灯")])
    project.write("seeds/1.jsonl", SEEDS)
    project.write("general/1.jsonl", talk(40))
    project.build()
    project.write("exam/2.jsonl", [command("远灯"), command("the fan")])
    project.build()
    (tmp_path / "exam" / "2.jsonl").unlink()
    project.build()  # what was before; but the version of then has not seen the second file
    assert project.head("split_rows").table("exam").height == 1
    project.write("general/2.jsonl", talk(5, start=900))
    project.build()  # while the exam stays, what is remembered stays too
    project.change(split={"threshold": 0.7})
    project.write("seeds/2.jsonl", [command("远灯"), command("the FAN"), command("雾灯")])
    project.build()
    version = project.head("split_rows")
    again = version.table("fates").filter(reason=REASON)
    assert again.height >= 2 and version.lookup("rows", again["id"]).is_empty()
    asked = {*map(str.lower, trained_prompts(project))}
    assert "请打开雾灯" in asked
    assert not [prompt for prompt in asked if "远灯" in prompt or "fan" in prompt]
    require_books(project.head(LAST))
    assert project.build().recalled["split_rows"]
    project.change(split={"threshold": 0.7, "edition": 2})
    project.build()
    assert {"请打开远灯", "请打开the FAN"} <= trained_prompts(project)


def test_what_is_withdrawn_while_the_exam_stays_is_dropped_everywhere(tmp_path, tiny_base):
    """A row of the share to test on, which repeats another: no exam is set anew when it goes."""
    project = Project(tmp_path, tiny_base, sources=SOURCES, **PLAIN, split={"test": 0.4})
    asked = [command(f"{what}灯") for what in "近远前后左右"] + [
        command(w) for w in ("fan", "lamp")
    ]
    same = [{**line, "prompt": line["prompt"] + "吧"} for line in asked]
    project.write("seeds/1.jsonl", asked)
    project.write("general/1.jsonl", talk(200))
    project.write("general/2.jsonl", [{**line, "answer": "好的，马上。"} for line in asked])
    project.build()
    exam = project.head("split_rows").table("exam")
    project.write("seeds/2.jsonl", same)
    project.build()
    merged = project.head("duplicates").table("pairs").join(exam, on="id", how="semi")["id"]
    gone, *_ = [line for line in asked if id_of(line) in {*merged}]
    version = project.head("split_rows")
    assert version.table("withdrawn").is_empty()
    project.write("seeds/1.jsonl", [line for line in asked if line is not gone])
    project.build()
    now = project.head("split_rows")
    assert now.table("exam").equals(version.table("exam")) and now.table("withdrawn").height
    again = now.table("fates").filter(reason=REASON)
    assert "general" in again["source"]
    require_books(project.head(LAST))
    fresh = Store(tmp_path / "fresh")
    project.build(store=fresh)
    require_same_with_memory(project, fresh)


def id_of(line: dict[str, str]) -> str:
    return row_id(dialogue(line["prompt"], line["answer"]))


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
