"""The last stage takes nobody's word for a promotion: it judges this very adapter once more."""

import polars as pl
import pytest

from assets.evaluate import judge_again
from assets.recipe import load_recipe
from assets.release import judge_release
from curation.store import Made, Store, Version
from evaluation.compare import LABELS
from evaluation.paired import PAIR_SCHEMA
from tests.pipelines.conftest import TINY

RECIPE = load_recipe(TINY)
SCHEMA = {**PAIR_SCHEMA, "split": pl.String, **dict.fromkeys((*LABELS, "error_type"), pl.String)}


def step(store: Store, name: str, made: Made, **inputs: Version) -> Version:
    version = store.write_version(f"tiny/{name}", made, inputs=inputs, how={})
    store.publish(version)
    return version


def evaluated(store: Store, *, gains: list[float], exact: float, said: str) -> tuple[Version, ...]:
    """An adapter and its evaluation, which came to these gains over the champion and says this."""
    adapter = step(store, "adapter", Made(values={"weights": "甲"}))
    predictions = step(store, "predictions", Made(), adapter=adapter)
    rows = [(str(n), str(n), 0.5, 0.5 + g, g, "test", "", "zh", "", "", "", "")
            for n, g in enumerate(gains)]  # fmt: skip
    pairs = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    values = {"gate_values": {"exact_match": exact, "leaks": 0}, "verdict": {"decision": said}}
    made = Made(tables={"pairs": pairs}, values=values)
    return adapter, step(store, "evaluation", made, predictions=predictions)


@pytest.mark.parametrize(
    ("gains", "exact", "decision"),
    [
        ([0.0] * 12, 0.5, "promote"),
        ([0.0] * 9, 0.5, "needs_people"),  # the recipe wants ten cases
        ([1.0] * 9, 0.5, "promote"),
        ([-1.0] * 40, 0.5, "reject"),
        ([1.0] * 40, -1.0, "reject"),  # a rule of the recipe
    ],
)
def test_what_the_numbers_say_is_the_verdict(tmp_path, gains, exact, decision):
    adapter, evaluation = evaluated(Store(tmp_path), gains=gains, exact=exact, said=decision)
    assert judge_release(RECIPE, adapter, evaluation)["decision"] == decision
    pairs = evaluation.table("pairs")
    assert judge_again(RECIPE, evaluation.values["gate_values"], pairs).decision == decision


def test_an_evaluation_that_says_what_its_numbers_do_not_is_refused(tmp_path):
    adapter, evaluation = evaluated(Store(tmp_path), gains=[-1.0] * 40, exact=0.5, said="promote")
    with pytest.raises(ValueError, match="says 'promote', and its numbers say 'reject'"):
        judge_release(RECIPE, adapter, evaluation)


def test_an_evaluation_of_another_adapter_is_refused(tmp_path):
    store = Store(tmp_path)
    _, evaluation = evaluated(store, gains=[0.0] * 12, exact=0.5, said="promote")
    other = step(store, "adapter", Made(values={"weights": "乙"}))
    with pytest.raises(ValueError, match="of another adapter"):
        judge_release(RECIPE, other, evaluation)
