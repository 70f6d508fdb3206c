"""Faults of scores: what is no number, and scorers that raise, cost one row or stop the run."""

from dataclasses import replace

import polars as pl
import pytest

from assets.graph import build_stages
from assets.recipe import Plug
from assets.stage import run_stage
from curation.accounts import Account, prove_chain
from curation.plugins import plugin
from curation.store import Store
from tests.faults._deliver import job_of, lines, numbered, reading, write


def scoring(name, work):
    """A scorer of the recipe that is a plain function of a row's utterance."""

    @plugin()
    def factory():
        def score(rows, context):
            texts = (turns[-2]["content"] for turns in rows["messages"])
            return pl.Series([work(text) for text in texts], dtype=pl.Float64)

        return score

    return Plug(name, name, factory, {})


def curate(tmp_path, scorer, pairs, rule="怪 < 1"):
    """The tiny graph up to the rows kept, with one scorer and one rule."""
    path = write(tmp_path / "rows.jsonl", lines(pairs))
    job = job_of(tmp_path, reading(path))
    options = {**job.recipe.options, "guard": {"max_share": 1.0}}
    recipe = replace(job.recipe, scorers={"怪": scorer}, keep=(rule,), options=options)
    stages = {stage.name: stage for stage in build_stages(recipe)}
    needed = {"kept_rows"}
    for name in reversed(stages):
        needed |= set(stages[name].inputs) if name in needed else set()
    for name in (name for name in stages if name in needed):
        version = run_stage(replace(job, recipe=recipe), stages[name]).version
    assert version.name == "tiny/kept_rows" and all(link.holds for link in prove_chain(version))
    return version


def test_a_score_that_is_no_number_never_passes_a_rule(tmp_path):
    odd = {0: float("nan"), 1: float("inf"), 2: float("-inf"), 3: None, 4: 5.0}
    pairs = numbered(40)
    place = {text: i for i, (text, _) in enumerate(pairs)}
    version = curate(tmp_path, scoring("怪", lambda t: odd.get(place.get(t, 9), 0.5)), pairs)
    fates = version.table("fates")
    said = dict(fates.group_by("fate", "reason").len().select(
        pl.concat_str("fate", "reason", separator=" "), "len").iter_rows())  # fmt: skip
    assert said["quarantined error: 怪"] == 3
    assert said["dropped 怪 < 1"] == 2
    account = Account.read(version)
    assert account and not account.problems()
    assert version.table("scores")["怪"].is_nan().sum() == 0


def test_a_scorer_that_raises_on_one_row_costs_that_row(tmp_path):
    pairs = numbered(40)

    def work(text):
        if text == pairs[7][0]:
            raise RuntimeError("一行坏了")
        return 0.5

    version = curate(tmp_path, scoring("怪", work), pairs)
    gone = version.table("fates").filter(pl.col("fate") != "kept")
    assert gone["fate"].to_list() == ["quarantined"] and gone["reason"].to_list() == ["error: 怪"]


@pytest.mark.parametrize("error", [ValueError("no model"), KeyError("a\nb"), RuntimeError("x\ny")])
def test_a_scorer_that_raises_on_every_row_stops_the_run_with_one_line(tmp_path, error):
    def work(text):
        raise error

    with pytest.raises(
        ValueError, match=f"^the scorer '怪' fails: {type(error).__name__}: [^\n]+$"
    ):
        curate(tmp_path, scoring("怪", work), numbered(40))
    store = Store(tmp_path / "store")
    assert "tiny/split_rows" in store.names() and "tiny/facts/怪" not in store.names()
    assert curate(tmp_path, scoring("怪", lambda t: 0.5), numbered(40)).tables["rows"]["rows"] >= 40
