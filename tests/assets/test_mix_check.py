"""The mix check: it holds only at the very ratio, in every unit, and a shortage is said."""

from pathlib import Path

import polars as pl
import pytest

from assets.mix import _asked, _ratio_check
from curation.chat import load_tokenizer
from tests.assets._project import LAST, RECIPE, Project, command, talk
from training.tokens import tokenise_rows

THINGS = ("车窗", "天窗", "空调", "车灯", "座椅加热", "sunshade", "radio", "wiper", "mirror")


def report(general, domain):
    line = {"tokens": 1, "loss_tokens": 1}
    return {"general": {"rows": general, **line}, "domain": {"rows": domain, **line}}


def test_the_exact_ratio_passes_and_one_row_off_fails():
    wanted = _asked({})
    assert (wanted["general"], wanted["domain"], wanted["unit"]) == (7, 1, "rows")
    assert _ratio_check(report(70, 10), wanted, "")[0]
    assert not _ratio_check(report(69, 10), wanted, "")[0]
    assert not _ratio_check(report(0, 0), wanted, "")[0]


def test_a_shortage_fails_the_check_and_stands_in_its_words():
    passed, text = _ratio_check(report(50, 10), _asked({"general": 7}), "the pool is short")
    assert not passed and text.endswith("the pool is short")


def test_tokens_are_exact_to_half_of_the_longest_row():
    tokens = {"general": {"rows": 3, "tokens": 1395}, "domain": {"rows": 9, "tokens": 200}}
    said = {track: line | {"loss_tokens": 1} for track, line in tokens.items()}
    passed, text = _ratio_check(said, _asked({"unit": "tokens"}), "", longest=10)
    assert passed and text.startswith("general:domain 6.975:1 by tokens")
    assert not _ratio_check(said, _asked({"unit": "tokens"}), "", longest=9)[0]


SAFETY = {"use": "jsonl", "path": "safety", "track": "general", "category": "safety"}
RULES = {"scorers": {}, "keep": ["not label_conflict"], "guard": {"max_share": 1.0}}
MIX = {"general": 4, "domain": 1, "min_share": 0.2}


def lines(n: int, *, start: int = 0) -> list[dict[str, str]]:
    """General rows, some three times as long as others."""
    return [
        line | {"answer": line["answer"] * (1 + number % 3)}
        for number, line in enumerate(talk(n, start=start), start)
    ]


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path) -> Project:
    """A project of 600 general rows, 12 of them of safety, and 27 domain rows; not built."""
    project = Project(tmp_path, tiny_base, sources={**RECIPE["sources"], "safety": SAFETY}, **RULES)
    said = [f"{side}{what}" for side in ("前排", "后排", "the left ") for what in THINGS]
    project.write("seeds/1.jsonl", [command(what) for what in said])
    project.write("general/1.jsonl", lines(588))
    project.write("safety/1.jsonl", lines(12, start=5_000))
    return project


def trained(project: Project) -> pl.DataFrame:
    return project.head(LAST).table("rows")


def count(rows: pl.DataFrame, unit: str, base: Path) -> dict[str, list[int]]:
    """What each copy of each row counts, by track, tokenised here once more."""
    tokens = tokenise_rows(rows, load_tokenizer(str(base)))
    counted = rows.with_columns(size=pl.lit(1) if unit == "rows" else tokens[f"n_{unit}"])
    copies = counted.select("track", pl.col("size").repeat_by("repeats")).explode("size")
    return {track: part["size"].to_list() for (track,), part in copies.group_by("track")}


@pytest.mark.parametrize("unit", ["rows", "tokens", "loss_tokens"])
def test_a_build_has_the_ratio_in_each_unit_and_keeps_a_floor(project, tiny_base, unit):
    """Tokens to half of a row; of safety rows, which are two in a hundred, there are ten."""
    project.change(mix=MIX | {"unit": unit, "floors": {"safety": 0.1}})
    project.build()
    counted = count(trained(project), unit, tiny_base)
    off = abs(sum(counted["general"]) - 4 * sum(counted["domain"]))
    assert off <= (0 if unit == "rows" else max(counted["general"]) / 2)
    assert sum(counted["domain"]) >= 27
    passed, said = project.head(LAST).checks["mix_ratio"]
    assert passed and f":1 by {unit.replace('_', ' ')}" in said
    general = trained(project).filter(track="general")
    safety = general.filter(category="safety").height
    assert general.height >= 50 and abs(safety - 0.1 * general.height) <= 1


@pytest.mark.parametrize("unit", ["rows", "tokens", "loss_tokens"])
def test_a_pool_that_grows_by_a_twentieth_keeps_most_of_the_choice(project, unit):
    project.change(mix=MIX | {"unit": unit})
    project.build()
    before = trained(project)
    project.write("general/2.jsonl", lines(30, start=588))
    project.build()
    after = trained(project)
    assert after.join(before, on="id", how="anti").height  # the new ones have their part
    assert before.join(after, on="id", how="semi").height / before.height >= 0.93


def test_a_missed_floor_fails_the_check_and_stops_no_build(project):
    project.change(mix=MIX | {"floors": {"safety": 0.5}})
    project.build()
    passed, said = project.head(LAST).checks["mix_ratio"]
    general = trained(project).filter(track="general").height
    assert (
        not passed and f"'safety' has 12 of {general} general rows, under its floor of 0.5" in said
    )
    assert said.startswith("general:domain 4.000:1 by rows")


@pytest.mark.parametrize("unit", ["rows", "tokens", "loss_tokens"])
def test_a_shortage_is_said_and_a_great_one_stops_the_build(project, unit):
    project.change(mix=MIX | {"general": 120, "unit": unit})
    project.build()
    passed, said = project.head(LAST).checks["mix_ratio"]
    name = unit.replace("_", " ")
    assert not passed and f"general {name}, all repeated, give " in said
    before = project.head(LAST).key
    project.change(mix=MIX | {"general": 120, "unit": unit, "min_share": 0.9})
    with pytest.raises(ValueError, match=f"general {name} and there are .* add general rows"):
        project.build()
    assert project.head(LAST).key == before
