"""Facts hold finite numbers or none, and are made once."""

import math

import polars as pl
import pytest

from curation.rows import ROW_SCHEMA, dialogue, make_row, rows_frame
from curation.rules import judge_rows
from curation.scorers._base import CannotScore, ScoreContext, full_text, learn_once, score_each
from curation.scoring import FACT_SCHEMA, failed_scores, join_facts, score_rows
from curation.tasks.free_text import free_text

ROWS = rows_frame(make_row(dialogue(f"把空调调到{i}度", "好的")) for i in range(16, 22))


def context(report=lambda line: None):
    return ScoreContext(task=free_text(), reference=ROWS, report=report)


def give(values, dtype: type[pl.DataType] = pl.Float64):
    return lambda rows, _context: pl.Series(values, dtype=dtype)


def test_a_number_that_is_none_becomes_an_error_and_never_a_score():
    facts = score_rows(ROWS, give([1.0, math.nan, math.inf, None, -math.inf, 0.0]), context())
    assert facts.schema == FACT_SCHEMA
    assert facts["value"].to_list() == [1.0, None, None, None, None, 0.0]
    assert facts["status"].to_list() == ["ok", "error", "error", "missing", "error", "ok"]


def test_yes_and_no_come_back_as_they_went_in():
    facts = score_rows(ROWS, give([True, False, None] * 2, pl.Boolean), context())
    assert facts["value"].to_list() == [1.0, 0.0, None] * 2
    joined = join_facts(ROWS, {"pii": facts, "again": facts})
    assert (
        joined["pii"].dtype == pl.Boolean and joined["again"].to_list() == [True, False, None] * 2
    )
    assert judge_rows(joined, ["not pii"])["fate"].to_list() == ["dropped", "kept", "dropped"] * 2


def test_a_scorer_that_raises_costs_the_row_it_cannot_bear_and_no_other():
    lines, odd = [], ROWS["id"][3]

    def scorer(rows, _context):
        if odd in rows["id"]:
            raise KeyError("空")
        return pl.Series([0.5] * rows.height, dtype=pl.Float64)

    facts = score_rows(ROWS, scorer, context(lines.append))
    assert facts["id"].to_list() == sorted(ROWS["id"])
    assert facts.filter(pl.col("status") == "error")["id"].to_list() == [odd]
    assert lines == [f"row {odd} has no score: KeyError: '空'"]
    assert failed_scores({"s": facts}, ["s"]).rows() == [(odd, "s")]


def test_a_scorer_that_fails_on_most_rows_raises_its_own_error():
    def scorer(_rows, _context):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        score_rows(ROWS, scorer, context())


@pytest.mark.parametrize("fault", [CannotScore("no such label"), OSError("没有模型")])
def test_a_scorer_that_can_score_no_row_is_asked_once(fault):
    asked = []

    def scorer(rows, _context):
        asked.append(rows.height)
        raise fault

    with pytest.raises(type(fault), match=str(fault)):
        score_rows(ROWS, scorer, context())
    assert asked == [ROWS.height]


def test_a_scorer_that_gives_too_few_or_another_type_is_refused():
    with pytest.raises(ValueError, match="gave 1 values of type Float64 for 6 rows"):
        score_rows(ROWS, give([1.0]), context())
    with pytest.raises(ValueError, match="type String"):
        score_rows(ROWS, give(["a"] * 6, pl.String), context())


def test_a_row_without_a_fact_breaks_a_rule_on_it():
    facts = score_rows(ROWS[:2], give([1.0, 2.0]), context())
    fates = judge_rows(join_facts(ROWS, {"quality": facts}), ["quality > 0"])
    assert fates["fate"].to_list() == ["kept"] * 2 + ["dropped"] * 4
    fates = judge_rows(join_facts(ROWS, {"pii": FACT_SCHEMA.to_frame()}), ["not pii"])
    assert set(fates["fate"]) == {"dropped"}


def test_a_scorer_may_not_take_the_name_of_a_column():
    with pytest.raises(ValueError, match="'lang' is named like a column"):
        join_facts(ROWS, {"lang": FACT_SCHEMA.to_frame()})


def test_no_rows_make_no_facts():
    assert score_rows(ROW_SCHEMA.to_frame(), give([]), context()).schema == FACT_SCHEMA


def test_one_row_that_cannot_be_measured_costs_one_score():
    assert score_each(["1", "x", "3"], float).to_list() == [1.0, None, 3.0]


def test_a_reference_is_learned_once_until_another_one_comes():
    seen: list[int] = []
    learned = learn_once(lambda rows: seen.append(rows.height) or rows.height)
    other = ROWS.head(2)
    assert [learned(rows) for rows in (ROWS, ROWS, other, other, ROWS)] == [6, 6, 2, 2, 6]
    assert seen == [6, 2, 6]


def test_the_full_text_holds_every_turn():
    assert full_text(ROWS[:1])[0].endswith("度\n好的")
