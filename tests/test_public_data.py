"""Real public rows that none of us wrote: read, counted, merged and given back exactly.

The rows are not part of the repository; they lie in `../shared/data` beside it. Without that folder
these tests are left out, and say so.
"""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from curation.fates import chain_fates
from curation.formats import write_record
from curation.ingest import merge_sources, read_source
from curation.scorers._base import ScoreContext
from curation.scorers.harmful import harmful
from curation.sources._base import Record
from curation.sources.json import json as json_array
from curation.store import Store
from curation.tasks.free_text import free_text
from tests.pipelines.conftest import make_project

FOLDER = Path(__file__).parents[1].parent / "shared" / "data"
FILES = {
    "alpaca_zh_demo": "alpaca",
    "alpaca_en_demo": "alpaca",
    "dpo_zh_demo": "sharegpt",
    "dpo_en_demo": "sharegpt",
    "glaive_toolcall_zh_demo": "sharegpt",
    "gsm8k_train": "alpaca",
}


@pytest.fixture(scope="module")
def public_data() -> Path:
    if not FOLDER.is_dir():
        pytest.skip(f"no public rows: the folder {FOLDER.name!r} beside the repository is absent")
    return FOLDER


@pytest.fixture(scope="module")
def ingested(public_data):
    return {
        name: read_source(
            json_array(path=public_data / f"{name}.json")(), source=name, track="general"
        )
        for name in FILES
    }


def test_every_public_record_has_an_outcome(public_data, ingested):
    for name, part in ingested.items():
        delivered = json.loads((public_data / f"{name}.json").read_text())
        assert part.counts["delivered"] == len(delivered)
    refused = [p.occurrences.filter(pl.col("outcome") == "quarantined") for p in ingested.values()]
    assert pl.concat(refused)["reason"].to_list() == ["text holds the unsafe character U+000C"]


@pytest.mark.parametrize(("name", "form"), FILES.items())
def test_public_records_come_back_exactly(public_data, ingested, name, form):
    delivered = json.loads((public_data / f"{name}.json").read_text())
    rows = {r["id"]: r for r in ingested[name].rows.iter_rows(named=True)}
    new = ingested[name].occurrences.filter(pl.col("outcome") == "new")
    for position, row_id in new.select("position", "id").iter_rows():
        index = int(position.rpartition("[")[2].rstrip("]"))
        assert write_record(rows[row_id], form=form) == delivered[index]


def test_public_conversations_survive_another_form(ingested):
    for part in ingested.values():
        for row in part.rows.head(200).iter_rows(named=True):
            again = read_source(
                [
                    _record(write_record(row, form="messages")),
                    _record(write_record(row, form="sharegpt")),
                ],
                source="again",
            )
            assert again.rows["id"].to_list() == [row["id"]] and again.counts["duplicate"] == 1


def test_public_sources_merge_in_any_order(ingested):
    parts = [part.rows for part in ingested.values()]
    one, other = merge_sources(parts), merge_sources(parts[::-1])
    assert one[0].equals(other[0]) and one[1].equals(other[1])
    assert one[0].height + one[1].height == sum(part.height for part in parts)


def test_no_public_row_is_taken_for_harmful(ingested):
    """Plots, news and sums among them name weapons and crimes, and ask for none."""
    rows = pl.concat([part.rows for part in ingested.values()])
    flags = harmful()(rows, ScoreContext(task=free_text(), reference=rows.clear()))
    assert rows.height > 10_000 and rows.filter(flags).is_empty()


def _record(data):
    return Record("again:1", data)


RECIPE = """
name: public
sources:
  gsm8k: {{use: json, path: {folder}/gsm8k_train.json, track: domain}}
  alpaca_zh: {{use: json, path: {folder}/alpaca_zh_demo.json, track: general}}
  alpaca_en: {{use: json, path: {folder}/alpaca_en_demo.json, track: general}}
  tool_calls: {{use: json, path: {folder}/glaive_toolcall_zh_demo.json, track: general}}
split: {{test: 0.05, heldout: 0.05}}
scorers: {{length: {{}}, repetition: {{}}, special_tokens: {{}}, pii: {{}}, perplexity: {{}}}}
keep: ["length <= 6000", "not special_tokens", "not pii", "repetition < 0.7", "perplexity < 5000"]
train: {{base_model: demo}}
"""
CURATION = (
    *("sources/gsm8k", "sources/alpaca_zh", "sources/alpaca_en", "sources/tool_calls", "rows"),
    *(
        "bad_cases",
        "error_types",
        "verdicts",
        "augmented_rows",
        "duplicates",
        "unique_rows",
        "reference",
        "split_rows",
    ),
    *(f"facts/{name}" for name in ("length", "repetition", "special_tokens", "pii", "perplexity")),
    "kept_rows",
)


@pytest.mark.slow
def test_the_chain_curates_public_rows_and_accounts_for_each(public_data, tmp_path):
    recipe = tmp_path / "public.yaml"
    recipe.write_text(RECIPE.format(folder=public_data))
    project = replace(make_project(tmp_path), recipe=recipe)
    first, again = (project.winnow("run", "--select", *CURATION) for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert again.stdout.splitlines()[-1] == f"0 computed, {len(CURATION)} unchanged"
    store = Store(project.store)
    entered = store.head("public/rows").table("rows")  # type: ignore[union-attr]
    steps = [store.head(f"public/{step}") for step in ("duplicates", "split_rows", "kept_rows")]
    assert all(step and step.checks["conservation"][0] for step in steps)
    final = chain_fates(*(step.table("fates") for step in steps if step))
    assert final["id"].to_list() == entered.sort("id")["id"].to_list()
    kept = final.filter(pl.col("fate") == "kept").height
    assert 0.8 * entered.height < kept < entered.height
