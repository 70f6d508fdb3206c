"""What a model server is given: answers that prove the adapter, and a folder that is whole."""

from pathlib import Path

import polars as pl
import pytest

from assets.served import find_probes, merge_once
from curation.registry import find_version
from curation.store import Made, Store
from evaluation.cases import CASE_SCHEMA
from tests.conftest import copy_rows
from tests.pipelines.conftest import TINY
from training.ship import write_sums

HOW = {"code": "c", "section": None}


def test_probes_are_first_what_the_base_answers_otherwise(tmp_path: Path):
    store = Store(tmp_path)
    exam = copy_rows(12, seed=1, track="domain")
    ids = sorted(exam["id"])
    cases = [{"id": id, "arm": "candidate", "predicted": "好的"} for id in ids[:-1]]
    cases += [{"id": ids[-1], "arm": "candidate", "predicted": " "}]
    cases += [{"id": id, "arm": "base", "predicted": "好的" if n < 8 else "?"}
              for n, id in enumerate(ids)]  # fmt: skip
    rows = pl.DataFrame(cases, schema=CASE_SCHEMA).with_columns(
        split=pl.lit("test"), kind=pl.lit("task")
    )
    split = store.write_version("tiny/split_rows", Made({"exam": exam}), inputs={}, how=HOW)
    evaluation = store.write_version(
        "tiny/evaluation", Made({"rows": rows}), inputs={"split_rows": split}, how=HOW
    )
    values = {"number": 1, "id": "1" * 32, "promoted": False}
    inputs = {"evaluation": evaluation}
    store.publish(
        store.write_version("tiny/model_version", Made(values=values), inputs=inputs, how=HOW)
    )
    probes = find_probes(find_version(store, "tiny", "v1"), limit=4)
    asked = {row["id"]: row["messages"] for row in exam.to_dicts()}
    wanted = [asked[id][:-1] for id in (*ids[8:11], ids[0])]
    assert [[turn["content"] for turn in probe.messages] for probe in probes] == [
        [turn["content"] for turn in turns] for turns in wanted
    ]
    assert {probe.answer for probe in probes} == {"好的"}


def test_a_whole_folder_is_used_again_and_a_damaged_one_never(tmp_path: Path):
    folder = tmp_path / "v1"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    write_sums(folder)
    where = {"place": str(tmp_path / "s"), "root": str(tmp_path / "s"), "recipe": str(TINY)}
    options = {**where, "version": "v1", "dtype": "float32", "to": folder, "report": print}
    assert merge_once(**options) == {"folder": str(folder)}
    (folder / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(LookupError, match="has no model version yet"):  # so it would be made anew
        merge_once(**options)
    assert not folder.exists()
