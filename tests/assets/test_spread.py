"""Topics spread in a project: read from the scorer that made them, alike in a grown store."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assets.recipe import RecipeError
from curation.store import Made, Store
from tests.assets._project import (
    LAST,
    SEEDS,
    SOURCES,
    Project,
    command,
    deliver,
    hand_on_exam,
    talk,
)
from tests.assets.test_mix_check import RULES
from tests.assets.test_semantic import SCORER, ask

SECTIONS = RULES | {"scorers": SCORER, "mix": {"general": 4, "domain": 1, "spread": 1.0}}
TOPICS = "topics/semantic_copy"


def stories(n: int) -> list[dict[str, str]]:
    """Rows of one topic in two languages, much alike."""
    return [
        {"prompt": f"Tell me a bedtime story about rabbit {i}", "answer": f"Once, {i}."}
        if i % 2
        else ask(i) | {"answer": f"从前有{i}只。"}
        for i in range(n)
    ]


def build(folder: Path, base: Path, **sections: object) -> Project:
    project = Project(folder, base, sources=SOURCES, **SECTIONS | sections)
    project.write("seeds/2.jsonl", SEEDS)
    project.write("general/2.jsonl", [*talk(30, start=900), *stories(120)])
    project.build()
    return project


def fresh_build(project: Project, folder: Path) -> Store:
    """A store begun now with the topics of the project and its memory of the exam."""
    again = Store(folder)
    topics = project.head(TOPICS)
    made, how = Made({"topics": topics.table("topics")}), topics.manifest["how"]
    again.publish(again.write_version(topics.name, made, inputs={}, how=how))
    hand_on_exam(project, again)
    project.build(store=again)
    return again


def require_same(project: Project, again: Store) -> None:
    ours, theirs = project.head(LAST), project.head(LAST, store=again)
    for table in theirs.tables:
        assert ours.table(table).equals(theirs.table(table)), table
    assert ours.values == theirs.values and ours.checks == theirs.checks
    assert ours.data_version == theirs.data_version


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    return build(tmp_path_factory.mktemp("spread"), tiny_base)


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    return built.copy(tmp_path)


def drawn(project: Project) -> dict[str, float]:
    return project.head(LAST).values["topics"]["drawn"]


def test_a_build_says_how_many_topics_it_drew_from_and_how_evenly(project):
    told = project.head(LAST).values["topics"]
    assert told["drawn"]["effective"] > told["pool"]["effective"] > 1
    placed = project.head("facts/semantic_copy").table("places", ["id", "topic"])
    general = project.head(LAST).table("rows").filter(track="general").join(placed, on="id")
    assert told["drawn"]["topics"] == general["topic"].n_unique()
    passed, said = project.head(LAST).checks["mix_ratio"]
    assert passed and said.startswith("general:domain 4.000:1 by rows")
    counts = "{} of {} topics".format(*(told[of]["topics"] for of in ("drawn", "pool")))
    assert f"; {counts}, as even as {told['drawn']['effective']} of one size" in said


def test_another_spread_draws_other_rows_and_none_reads_no_topics(project):
    even = drawn(project)["effective"]
    project.change(mix=SECTIONS["mix"] | {"spread": 0.5})
    project.build()
    assert 1 < drawn(project)["effective"] < even
    project.change(mix=SECTIONS["mix"] | {"spread": 0})
    project.build()
    version = project.head(LAST)
    assert version.values["topics"] == {} and "topics" not in version.checks["mix_ratio"][1]
    assert not [name for name in version.manifest["inputs"] if name.startswith("facts/")]


def test_the_first_scorer_that_makes_topics_is_read(tmp_path, tiny_base):
    copies = {"use": "semantic_copy", "rows_per_topic": 10}
    scorers = {"asked": copies, "length": {}, "said": copies | {"rows_per_topic": 5}}
    project = build(tmp_path, tiny_base, scorers=scorers)
    inputs = project.head(LAST).manifest["inputs"]
    assert "facts/asked" in inputs and "facts/said" not in inputs


LINES = st.one_of(st.integers(0, 300).map(lambda i: stories(i + 1)[i]),
                  st.sampled_from(talk(9)), st.sampled_from("门窗灯").map(command))  # fmt: skip
DELIVERY = st.tuples(
    st.sampled_from(["append", "write", "write", "remove"]),
    st.sampled_from(["general", "seeds", "traffic"]),
    st.sampled_from(["1.jsonl", "3.jsonl"]),
    st.lists(LINES, min_size=1, max_size=8),
)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@example([("write", "traffic", "1.jsonl", stories(87)[86:]),
          ("write", "traffic", "1.jsonl", stories(253)[252:])], 0.5)  # fmt: skip
@given(st.lists(DELIVERY, min_size=1, max_size=2), st.sampled_from([0.5, 1.0]))
def test_a_store_that_grew_says_what_a_fresh_one_says_by_the_same_topics(
    tiny_base, deliveries, spread
):
    with TemporaryDirectory() as folder:
        mix = SECTIONS["mix"] | {"spread": spread}
        grown = build(Path(folder), tiny_base, mix=mix)
        for number, (kind, source, file, lines) in enumerate(deliveries):
            deliver(grown, kind, f"{source}/{file}", lines)
            grown.build()
            require_same(grown, fresh_build(grown, Path(folder) / f"fresh{number}"))


def test_a_delivery_costs_its_rows_and_other_topics_draw_other_rows(project):
    before = project.head(LAST)
    project.write("general/3.jsonl", talk(1, start=300))
    counted = project.build().counted
    assert counted["semantic_copy"] == 1 and counted.get("tokens", 0) <= 2
    project.change(reference={"edition": 2})
    project.build()
    assert project.head(LAST).data_version != before.data_version
    require_same(project, fresh_build(project, project.folder / "again"))


NO_TOPICS = "mix.spread: it draws by topic, and no scorer makes topics; add 'semantic_copy: {}'"


@pytest.mark.parametrize(("spread", "scorers", "line"), [
    (0.5, {"length": {}}, NO_TOPICS),
    (1.5, SCORER, "mix: spread is 1.5, not between 0"),
    (float("nan"), SCORER, "mix: spread is nan, not between 0"),
    ("很多", SCORER, "mix.spread: expected a number, got '很多'"),
])  # fmt: skip
def test_a_spread_that_cannot_be_is_refused_when_the_recipe_is_read(project, spread, scorers, line):
    with pytest.raises(RecipeError) as error:
        project.change(mix={"spread": spread}, scorers=scorers)
    assert len(error.value.lines) == 1 and error.value.lines[0].startswith(line)
