"""A type is left alone when two versions were taught it and fixed no more of its held cases."""

import pytest

from curation.error_types import find_error_types
from curation.gains import find_stalled
from curation.store import Store
from tests.curation.lineage_world import Plan, case, publish

LEARN = [case(f"开灯{n}", "开", "关") | {"half": "learn"} for n in range(3)]
HOLD = [case(f"请开灯{n}", "开", "关") | {"half": "hold"} for n in range(6)]


def build(store, *fixed, taught=(True, True, True), held=6):
    """One version for each number of held cases that it answers right; what is stalled then."""
    cases = [*LEARN, *HOLD[:held]]
    traffic = [(c["prompt"], c["gold"]) for c in HOLD[:held]]
    labels = {"traffic": {"split": "heldout", "track": "domain"}}
    for turn, (right, learns) in enumerate(zip(fixed, taught, strict=True), 5):
        wrong = {c["prompt"]: "关" for c in HOLD[right:held]}
        seeds = [(f"打开第{n}扇窗", f"窗{n}") for n in range(turn)]  # or it were the same version
        sources = {"seeds": seeds, "traffic": traffic}
        known = cases if learns else HOLD[:held]
        version = publish(store, Plan(sources, labels, cases=known, answers=wrong))
    snapshot = version.upstream()["bad_cases"].table("rows")
    if snapshot.filter(half="learn").is_empty():
        return []
    return find_stalled(store, "w", snapshot, find_error_types(snapshot))


@pytest.mark.parametrize(
    ("fixed", "stalled"),
    [((2, 2, 2), True), ((3, 2, 3), True), ((2, 2, 3), False), ((2, 3, 2), False)],
)
def test_two_rounds_without_a_gain_stop_a_type(tmp_path, fixed, stalled):
    assert build(Store(tmp_path), *fixed) == (["not_json"] if stalled else [])


def test_two_versions_say_nothing_yet(tmp_path):
    assert build(Store(tmp_path), 2, 2, taught=(True, True)) == []


def test_few_held_cases_say_nothing(tmp_path):
    assert build(Store(tmp_path), 2, 2, 2, held=4) == []


def test_a_version_that_was_not_taught_the_type_is_no_round(tmp_path):
    assert build(Store(tmp_path), 2, 2, 2, taught=(True, False, True)) == []
    assert build(Store(tmp_path / "2"), 2, 2, 2, taught=(False, True, True)) == ["not_json"]
