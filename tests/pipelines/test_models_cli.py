"""`winnow models`, `promote`, `rollback` and `compare`, on versions whose answers are given."""

import json
from pathlib import Path

import polars as pl
import pytest

from assets.compare import compare_bases
from assets.recipe import load_recipe
from curation.promotions import read_promotions
from curation.registry import promote_judged
from curation.store import Made, Store
from curation.tasks._corrupt import compact
from evaluation.cases import CASE_SCHEMA
from pipelines.cli import main
from pipelines.cli_models import _say_comparison
from tests.conftest import copy_rows
from tests.pipelines.conftest import TINY

HOW = {"code": "c", "section": None}
N = 60


def gold(n: int) -> str:
    return compact({"actions": [{"do": "打开", "what": f"车窗{n}"}]})


def answers(arm: str, right: int, *, tokens: int = 5) -> pl.DataFrame:
    """Cases of which the first so many were answered right; the second half is English."""
    rows = [
        {"id": f"{n:02d}", "arm": arm, "split": "test", "kind": "task", "source": "test",
         "lang": "zh" if n < N / 2 else "en", "prompt": f"打开车窗{n}", "gold": gold(n),
         "predicted": gold(n) if n < right else "好的", "loss_nats": 2.0, "n_bytes": 9,
         "n_tokens": tokens}
        for n in range(N)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CASE_SCHEMA)


def register(store: Store, number: int, right: int, *, decision: str = "promote") -> None:
    """One version as the last stages leave it, but for its folder."""

    def step(name: str, made: Made, **inputs):
        version = store.write_version(f"tiny/{name}", made, inputs=inputs, how=HOW)
        store.publish(version)
        return version

    cases = pl.concat([answers("base", 0), answers("few_shot", 10), answers("candidate", right)])
    clusters = pl.DataFrame(
        {"id": [f"{n:02d}" for n in range(N)], "cluster": [str(n) for n in range(N)]}
    )
    split = step("split_rows", Made(tables={"clusters": clusters}))
    predictions = step("predictions", Made(tables={"rows": cases}))
    evaluation = step("evaluation", Made(), predictions=predictions, split_rows=split)
    if decision == "promote":
        promote_judged(store, "tiny", number=number, id=f"{number:032x}")
    values = {
        "number": number, "id": f"{number:032x}", "promoted": decision == "promote",
        "verdict": {"decision": decision, "rules": [], "reasons": ["worse in en"]},
        "metrics": {"candidate": {"exact_match": right / N}},
    }  # fmt: skip
    step("model_version", Made(values=values), evaluation=evaluation, predictions=predictions)


@pytest.fixture
def store(tmp_path) -> Store:
    found = Store(tmp_path / "store")
    register(found, 1, 30)
    register(found, 2, 55)
    register(found, 3, 54, decision="needs_people")
    return found


@pytest.fixture
def winnow(store, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--recipe", str(TINY), "--store", str(store.root)])
        return code, *capsys.readouterr()

    return call


def test_models_says_which_is_in_use_and_what_waits_for_people(winnow):
    code, said, _ = winnow("models")
    lines = [line.split() for line in said.splitlines()]
    assert code == 0
    assert lines[1][:3] == ["v1", "promoted", "0.500"]
    assert lines[2][:5] == ["v2", "in", "use", "promoted", "0.917"]
    assert lines[3][:4] == ["v3", "needs", "people", "0.900"]
    assert "v3 needs people:\n  worse in en" in said
    assert json.loads(winnow("models", "--json")[1])[1]["champion"] is True


def test_promote_and_rollback_refuse_in_one_line_what_cannot_be_loaded(winnow, store):
    for words in (("promote", "v3", "--reason", "急用"), ("rollback",)):
        code, said, error = winnow(*words)
        assert code == 2 and not said and len(error.splitlines()) == 1
    assert winnow("promote", "v9")[2].startswith("winnow: there is no model version 'v9'")
    assert winnow("promote", "v2")[:2] == (0, "v2 is in use already\n")
    assert [entry.number for entry in read_promotions(store, "tiny")] == [1, 2]


def test_compare_holds_the_last_version_against_the_others(winnow):
    code, said, _ = winnow("compare", "v1", "v2", "--json")
    answer = json.loads(said)
    assert code == 0 and answer["n_cases"] == N
    assert [*answer["metrics"]] == ["base", "few_shot", "v1", "v2"]
    assert answer["metrics"]["v1"]["exact_match"] == 0.5
    against = answer["against"]["v1"]
    assert (against["verdict"], answer["new"], answer["main"]) == ("better", "v2", "exact_match")
    assert "25 better and 0 worse of 60 cases" in against["line"]
    lines = winnow("compare", "v2", "v1")[1].splitlines()
    assert any(line.split()[:2] == ["v2", "worse"] for line in lines)
    assert "clearly worse than v2 where:" in lines
    assert any(line.split()[:2] == ["lang", "en"] for line in lines)


def test_compare_asks_for_versions_or_base_models(winnow):
    for words in ((), ("v1", "--base", "x")):
        code, _, error = winnow("compare", *words)
        assert code == 2 and "winnow compare v1 v2" in error


def test_base_models_are_asked_the_present_test_set(tiny_base: Path, tmp_path):
    recipe, store = load_recipe(TINY), Store(tmp_path / "store")
    with pytest.raises(LookupError, match="'tiny' has no test set yet"):
        compare_bases(store, recipe, [str(tiny_base)])
    general = copy_rows(4, seed=8).with_columns(split=pl.lit("test"))
    asked = copy_rows(4, seed=9, track="domain").with_columns(split=pl.lit("test"))
    exam = pl.concat([general, asked]).unique("id").with_columns(guarded=True)
    clusters = pl.DataFrame(schema={"id": pl.String, "cluster": pl.String})
    made = Made(tables={"exam": exam, "clusters": clusters})
    store.publish(store.write_version("tiny/split_rows", made, inputs={}, how=HOW))
    twin = tmp_path / "twin"
    twin.symlink_to(tiny_base)
    answer = compare_bases(store, recipe, [str(tiny_base), str(twin)])
    one, other = answer["metrics"].values()
    assert one == other and one["general_bpb"] > 0 and answer["n_cases"] == 4
    assert answer["against"][tiny_base.name]["verdict"] == "unclear"
    assert [*answer["speed"]] == [*answer["metrics"]]
    speed = answer["speed"][tiny_base.name]
    assert speed["tokens_per_s"] > 0 and 1 <= speed["tokens_per_answer"] <= 16
    lines = "\n".join(_say_comparison(answer))
    assert f"{speed['n_params']:,} parameters" in lines and "tokens an answer" in lines
    with pytest.raises(ValueError, match="stands twice: name each base model once"):
        compare_bases(store, recipe, [str(tiny_base)] * 2)
    (empty := tmp_path / "空").mkdir()
    with pytest.raises(ValueError, match="空' cannot be read: "):
        compare_bases(store, recipe, [str(tiny_base), str(empty)])
