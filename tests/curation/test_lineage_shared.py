import polars as pl
from polars.testing import assert_frame_equal

from curation.lineage.shared import ids_where, lookup_each, texts_holding
from curation.rows import dialogue, make_row, rows_frame
from curation.store import Made, Store, Version


def row(number: int, source: str = "a") -> dict[str, object]:
    return make_row(dialogue(f"第{number}句", "好的"), source=source)


def grown(store: Store) -> list[Version]:
    """Three versions of a table: forty rows, some replaced and some gone, then some more."""
    first = [row(n) for n in range(40)]
    second = [row(n, "b") for n in range(3)] + first[5:]
    versions = []
    for rows in (first, second, [*second, row(50), row(3)]):
        made = Made(tables={"rows": rows_frame(rows)})
        versions.append(store.write_version("x/rows", made, inputs={}, how={}))
        store.publish(versions[-1])
    return versions


def test_many_versions_answer_what_each_answers_alone(tmp_path):
    versions = grown(Store(tmp_path))
    ids = [str(row(n)["id"]) for n in (0, 3, 4, 7, 50, 99)]
    assert len(versions[-1].tables["rows"]["parts"]) == 3
    for version, found in zip(versions, lookup_each(versions, "rows", ids), strict=True):
        alone = version.lookup("rows", ids, texts=False)
        assert_frame_equal(
            pl.DataFrame(list(found.values()), schema=alone.schema).sort("id"), alone
        )
    sources = [
        {id: said["source"] for id, said in found.items()}
        for found in lookup_each(versions, "rows", ids[:1], ["source"])
    ]
    assert sources == [{ids[0]: "a"}, {ids[0]: "b"}, {ids[0]: "b"}]


def test_nothing_asked_is_nothing_found(tmp_path):
    versions = grown(Store(tmp_path))
    assert lookup_each([], "rows", ["a"]) == []
    assert lookup_each(versions, "rows", []) == [{}, {}, {}]
    assert ids_where([], "rows", pl.col("id") == "a") == []


def test_a_condition_is_asked_of_every_part(tmp_path):
    versions = grown(Store(tmp_path))
    replaced = {row(n)["id"] for n in range(3)}
    assert set(ids_where(versions, "rows", pl.col("source") == "b")) == replaced


def test_a_text_is_found_in_a_turn_or_as_one(tmp_path):
    versions = grown(Store(tmp_path))
    whole, part = row(5)["id"], row(50)["id"]
    assert texts_holding(versions, "第5句") == {whole: True}
    assert texts_holding(versions, "第5")[str(part)] is False
    assert texts_holding(versions, "没有") == {}
