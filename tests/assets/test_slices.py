"""`evaluate: {slices: […]}`: gaps of every arm beside its metrics, shown and judged by the gate."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from assets.evaluate import evaluation
from assets.recipe import RecipeError, load_recipe
from assets.stage import Job
from curation.bad_cases import BAD_CASE_SCHEMA
from curation.rows import ROW_SCHEMA, dialogue, make_row
from curation.store import Made, Store, Version
from evaluation.cases import CASE_SCHEMA

N = 60
SAID = {
    "name": "gaps",
    "task": {"use": "free_text"},
    "sources": {"test": {"use": "jsonl", "path": "test.jsonl", "track": "domain"}},
    "train": {"base_model": "demo"},
    "evaluate": {"metrics": ["exact_match"], "slices": ["dialect"], "min_cases": 10},
    "gate": ["gap_dialect <= champion_gap_dialect + 0.1", "gap_dialect <= 0.5"],
}


def recipe(folder: Path, **evaluate: object):
    (folder / "test.jsonl").touch()
    said = SAID | {"evaluate": {**SAID["evaluate"], **evaluate}}
    (folder / "gaps.yaml").write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    return load_recipe(folder / "gaps.yaml")


def build(store: Store, wrong: dict[str, int]) -> dict[str, Version]:
    """What the evaluation reads: 60 rows, each third one Cantonese, of which so many are wrong."""

    def step(name: str, made: Made, **inputs: Version) -> Version:
        return store.write_version(f"gaps/{name}", made, inputs=inputs, how={})

    exam, cases = [], []
    for n in range(N):
        dialect = "粤语" if n % 3 == 0 else "普通话"
        meta = {"difference": {"set": {"dialect": {"=": dialect}}}}
        row = make_row(dialogue(f"打开{n}号窗", "好"), split="test", track="domain", meta=meta)
        exam.append(row)
        for arm, most in wrong.items():
            cases.append(
                {"id": row["id"], "arm": arm, "split": "test", "kind": "task", "lang": "zh",
                 "prompt": f"打开{n}号窗", "gold": "好", "loss_nats": 1.0, "n_bytes": 3,
                 "predicted": "不" if dialect == "粤语" and n < 3 * most else "好"}
            )  # fmt: skip
    rows = pl.DataFrame(exam, schema=ROW_SCHEMA)
    nothing = pl.DataFrame(schema=ROW_SCHEMA).with_columns(repeats=pl.lit(1, pl.Int64))
    clusters = pl.DataFrame(schema={"id": pl.String, "cluster": pl.String})
    split = {"exam": rows.with_columns(guarded=pl.lit(True)), "clusters": clusters}
    answers = Made({"rows": pl.DataFrame(cases, schema=CASE_SCHEMA)})
    return {
        "predictions": step("predictions", answers, adapter=step("adapter", Made())),
        "training_set": step("training_set", Made({"rows": nothing})),
        "split_rows": step("split_rows", Made(split)),
        "bad_cases": step("bad_cases", Made({"rows": pl.DataFrame(schema=BAD_CASE_SCHEMA)})),
    }


def test_a_gap_between_dialects_stands_beside_the_metrics_and_the_gate_judges_it(tmp_path):
    store = Store(tmp_path / "store")
    job = Job(recipe(tmp_path), store)
    inputs = build(store, {"few_shot": 20, "champion": 2, "candidate": 6})
    values = evaluation(job, **inputs).values
    gaps = {arm: said["gap_dialect"] for arm, said in values["metrics"].items()}
    assert gaps == {"few_shot": 1.0, "champion": 0.1, "candidate": 0.3}
    (found,) = values["gaps"]
    assert [part["value"] for part in found["parts"]] == ["普通话", "粤语"] and found["p"] < 0.05
    assert "| dialect | 粤语 | 20 | 0.700 |" in values["gaps_table"]
    assert "gap&#95;dialect" in values["table"].splitlines()[0]
    rules = {rule: held for rule, held, _ in values["verdict"]["rules"]}
    assert rules == dict(zip(SAID["gate"], (False, True), strict=True))
    json.dumps(values)


def test_a_label_that_all_rows_share_has_no_gap_and_breaks_a_rule_on_it(tmp_path):
    store = Store(tmp_path / "store")
    inputs = build(store, {"champion": 1, "candidate": 1})
    said = recipe(tmp_path, slices=["dialect", "lang"])
    assert evaluation(Job(said, store), **inputs).values["verdict"]["promote"]
    strict = replace(said, gate=("gap_lang <= 1",))
    values = evaluation(Job(strict, store), **inputs).values
    assert values["metrics"]["candidate"]["gap_lang"] is None
    assert values["verdict"]["decision"] == "reject"


@pytest.mark.parametrize("slices", ["dialect", [1], ["a-b"]])
def test_slices_are_names_that_rules_can_speak_of(tmp_path, slices):
    with pytest.raises(RecipeError, match="evaluate.slices: expected a list of labels"):
        recipe(tmp_path, slices=slices)
