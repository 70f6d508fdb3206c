"""Real public rows that none of us wrote: read, counted, merged and given back exactly.

The rows are not part of the repository; they lie in `../shared/data` beside it. Without that folder
these tests are left out, and say so.
"""

import json
from pathlib import Path

import polars as pl
import pytest

from curation.formats import write_record
from curation.ingest import merge_sources, read_source
from curation.sources._base import Record
from curation.sources.json import json as json_array

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
    parts = list(ingested.values())
    one, other = merge_sources(parts), merge_sources(parts[::-1])
    assert one.rows.equals(other.rows) and one.occurrences.equals(other.occurrences)
    assert one.counts["delivered"] == sum(p.counts["delivered"] for p in parts)


def _record(data):
    return Record("again:1", data)
