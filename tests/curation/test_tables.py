"""Tables in parts: whatever the way to it, the same table is read and the same digest said."""

from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import ParquetFile

from curation.frames import TEXT_GROUP, Bare, frame_digest, row_sum
from curation.rows import digest
from curation.store import Change, Made, Store
from curation.table_texts import put_text_run, texts_of
from curation.tables import MAX_PARTS, SPREAD, lookup, read_table, write_table

VALUES = st.dictionaries(
    st.integers(0, 30), st.tuples(st.sampled_from(["甲", "b", ""]), st.floats() | st.none())
)
SCHEMA = {"id": pl.String, "source": pl.String, "value": pl.Float64}


def frame(content):
    rows = [(digest(i), source, value) for i, (source, value) in content.items()]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def talks(n, *, prefix=""):
    """Rows with texts, more than a few so that a change is a small share of them."""
    return pl.DataFrame(
        {
            "id": [digest(prefix + str(i)) for i in range(n)],
            "messages": [[{"role": "user", "content": f"打开{prefix}{i}"}] for i in range(n)],
            "tools": [""] * n,
            "track": ["domain"] * n,
        }
    )


def grow(store, versions, name="x/rows"):
    """Publish each frame in turn; the last version."""
    for content in versions:
        version = store.write_version(name, Made({"rows": content}), inputs={}, how={})
        store.publish(version)
    return version


def written(store):
    return sum(p.stat().st_size for p in (store.root / "objects").rglob("*") if p.is_file())


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_a_table_grown_by_changes_is_the_table_written_whole(tmp_path_factory, history):
    folder = tmp_path_factory.mktemp("store")
    grown = grow(Store(folder / "grown"), map(frame, history))
    whole = grow(Store(folder / "whole"), [frame(history[-1])])
    assert grown.data_version == whole.data_version
    assert grown.table("rows").equals(whole.table("rows"), null_equal=True)
    assert grown.tables["rows"]["rows"] == len(history[-1])


CHANGES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 400), st.sampled_from(["甲", "b"]), max_size=8),
        st.sets(st.integers(0, 400), max_size=8),
    ),
    min_size=4,
    max_size=12,
)


@given(CHANGES, st.sampled_from(["by id", "by row with ids", "by row"]), st.integers(0, 400))
def test_merged_parts_say_what_they_said_apart(tmp_path_factory, changes, kind, asked):
    """Rows come, change and leave while parts and their slices are few and small."""
    now = {i: "甲" for i in range(300)}
    folder, columns = tmp_path_factory.mktemp("store"), ["id", "n"]
    grown, histories = Store(folder / "grown"), [dict(now)]
    for upserts, gone in changes:
        now = {i: v for i, v in {**now, **upserts}.items() if i not in gone}
        histories.append(dict(now))
    frames = [
        pl.DataFrame([(digest(i), v) for i, v in said.items()], schema=columns, orient="row")
        for said in histories
    ]
    if kind != "by id":
        frames = [frame.rename({"id": "row"}) for frame in frames]
    if kind == "by row with ids":
        frames = [frame.with_columns(id=pl.col("row").str.head(1)) for frame in frames]
    limits = patch.multiple("curation.tables", MAX_PARTS=1, SPREAD=1)
    with limits, patch("curation.runs.SLICE", 7):
        version = grow(grown, frames)
        assert len(version.tables["rows"]["parts"]) <= 8
    whole = grow(Store(folder / "whole"), frames[-1:])
    assert version.data_version == whole.data_version
    assert version.table("rows").equals(whole.table("rows"))
    if kind != "by row":
        ids = [digest(asked), digest(asked)[0]]
        there = whole.table("rows").filter(pl.col("id").is_in(ids))
        assert version.lookup("rows", ids).equals(there)


@given(VALUES, VALUES)
def test_changes_lead_from_one_version_to_the_other(tmp_path_factory, before, after):
    store = Store(tmp_path_factory.mktemp("store"))
    old, new = grow(store, [frame(before)]), grow(store, [frame(after)])
    change = new.changes("rows", old)
    again = Store(tmp_path_factory.mktemp("store"))
    base = grow(again, [frame(before)])
    made = Made({"rows": change}, since=base)
    assert again.write_version("x/rows", made, inputs={}, how={}).data_version == new.data_version


def test_a_small_change_writes_a_small_part_and_no_text_twice(tmp_path):
    store = Store(tmp_path)
    base = talks(5000)
    grow(store, [base])
    before = written(store)
    version = grow(store, [pl.concat([base, talks(5, prefix="新")])])
    assert written(store) - before < 0.05 * before
    assert version.table("rows").equals(pl.concat([base, talks(5, prefix="新")]).sort("id"))
    assert len(version.tables["rows"]["parts"]) == 2


def test_a_table_made_from_rows_shares_their_texts(tmp_path):
    store = Store(tmp_path)
    rows = grow(store, [talks(3000)])
    before = written(store)
    made = Made({"rows": talks(3000).filter(pl.col("id") > "8")})
    kept = store.write_version("x/kept", made, inputs={"rows": rows}, how={})
    assert kept.tables["rows"]["texts"] == rows.tables["rows"]["texts"]
    assert written(store) - before < before
    assert kept.table("rows").equals(talks(3000).filter(pl.col("id") > "8").sort("id"))


def test_a_few_rows_of_a_large_table_have_their_own_texts(tmp_path):
    store, few = Store(tmp_path), talks(3000).head(30)
    rows = grow(store, [talks(3000)])
    plain = Bare(few.drop("messages", "tools"), few.schema)
    kept = store.write_version("x/kept", Made({"rows": plain}), inputs={"rows": rows}, how={})
    assert not set(map(str, kept.tables["rows"]["texts"])) & set(
        map(str, rows.tables["rows"]["texts"])
    )
    assert kept.table("rows").equals(few.sort("id"))


def test_rows_behind_all_others_are_added_without_a_new_part(tmp_path):
    """So a table that is made in batches, in the order of its ids, is one part in the end."""
    store, rows, entry = Store(tmp_path), talks(100).sort("id"), None
    with patch("curation.runs.SLICE", 16), patch("curation.tables.SLICE", 16):
        for batch in rows.iter_slices(20):
            none_gone = batch.select("id").clear()
            content = batch if entry is None else Change(batch, none_gone)
            entry = store.remember_table("facts", "facts", content, entry)
    assert entry and len(entry["parts"]) == 1
    assert entry["digest"] == frame_digest(rows)
    assert read_table(store, entry).equals(rows)


def test_a_lookup_reads_only_what_may_hold_the_rows(tmp_path):
    rows = talks(100).sort("id")
    with patch("curation.runs.SLICE", 16):
        version = grow(Store(tmp_path), [rows])
    store = Store(tmp_path)
    with patch.object(store, "frame_path", wraps=store.frame_path) as paths:
        found = lookup(store, version.tables["rows"], [rows["id"][50]])
    assert found.equals(rows[50:51])
    assert len({call.args[0] for call in paths.call_args_list}) <= 4  # and the smallest, for types


def test_texts_lie_in_groups_of_which_few_are_read_for_a_row(tmp_path):
    rows = talks(5000).sort("id")
    entry = grow(Store(tmp_path), [rows]).tables["rows"]
    store, few = Store(tmp_path), rows[:12:3]
    groups = [
        ParquetFile(store.frame_path(one.key)).metadata for run in texts_of(entry) for one in run
    ]
    sizes = [said.row_group(i).num_rows for said in groups for i in range(said.num_row_groups)]
    assert sum(sizes) == 5000 and max(sizes) == TEXT_GROUP
    assert lookup(store, entry, few["id"].to_list()).equals(few)
    assert lookup(store, entry, rows["id"].to_list()).equals(rows)
    assert lookup(store, entry, few["id"].to_list(), ["track"]).equals(few.select("id", "track"))


def test_large_runs_of_texts_are_never_written_again(tmp_path):
    store, rows = Store(tmp_path), talks(60).sort("id")
    with patch("curation.table_texts.SLICE", 16), patch("curation.table_texts.MAX_TEXTS", 4):
        large = [put_text_run(store, rows[i::3].drop("track")) for i in range(3)]
        first = Made({"rows": Bare(rows.drop("messages", "tools"), rows.schema)}, texts=large)
        store.publish(store.write_version("x/rows", first, inputs={}, how={}))
        for i in range(12):
            rows = pl.concat([rows, talks(1, prefix=f"新{i}")])
            version = grow(store, [rows])
            runs = texts_of(version.tables["rows"])
            assert {*large} <= {*runs} and len(runs) <= 3 + 4
    assert version.table("rows").equals(rows.sort("id"))


def test_no_character_of_a_folder_s_name_has_a_meaning(tmp_path):
    store = Store(tmp_path / "[a] *?%20车")
    version = grow(store, [talks(10), talks(11)])
    assert version.table("rows").equals(talks(11).sort("id"))
    assert version.lookup("rows", talks(11)["id"][10:]).height == 1


def test_many_small_changes_are_drawn_together(tmp_path):
    store = Store(tmp_path)
    contents = [talks(1000 + i) for i in range(MAX_PARTS + SPREAD + 4)]
    version = grow(store, contents)
    assert len(version.tables["rows"]["parts"]) < MAX_PARTS + SPREAD
    assert version.table("rows").equals(contents[-1].sort("id"))


def test_many_small_texts_are_drawn_together(tmp_path):
    store, contents = Store(tmp_path), [talks(1000 + i) for i in range(9)]
    with patch("curation.table_texts.MAX_TEXTS", 4):
        version = grow(store, contents)
        again = grow(store, contents, name="y/rows")
    assert len(version.tables["rows"]["texts"]) <= 4
    assert version.table("rows").equals(contents[-1].sort("id"))
    assert version.lookup("rows", contents[-1]["id"][1000:]).height == 8
    assert again.data_version == version.data_version


def test_a_table_takes_the_texts_that_those_it_is_made_from_drew_together(tmp_path):
    store, drawn = Store(tmp_path), 0
    rows = grow(store, [talks(1000)])
    with patch("curation.table_texts.MAX_TEXTS", 4):
        for i in range(12):
            rows = grow(store, [talks(1001 + i)])
            upstream, before = texts_of(rows.tables["rows"]), {*store.blobs.list("objects/texts")}
            wanted = rows.table("rows").filter(pl.col("id") > "1")
            made = Made({"rows": wanted}, since=store.head("x/kept"))
            kept = store.write_version("x/kept", made, inputs={"rows": rows}, how={})
            store.publish(kept)
            runs = texts_of(kept.tables["rows"])
            assert len(runs) <= 8 and kept.table("rows").equals(wanted)
            assert {*store.blobs.list("objects/texts")} == before  # nothing of its own
            drawn += {*runs} <= {*upstream} and len(runs) < 4
    assert drawn > 1


def test_a_table_takes_no_texts_over_that_lack_a_column(tmp_path):
    store = Store(tmp_path)
    bare = grow(store, [talks(1200).drop("tools")], name="x/bare")
    with patch("curation.table_texts.MAX_TEXTS", 2):
        for i in range(6):
            said = talks(1000 + i)
            made = Made({"rows": said}, since=store.head("x/rows"))
            store.publish(store.write_version("x/rows", made, inputs={"bare": bare}, how={}))
    rows = store.head("x/rows")
    assert rows and rows.table("rows").equals(said.sort("id"))
    assert not {*texts_of(rows.tables["rows"])} & {*texts_of(bare.tables["rows"])}


def test_no_change_is_the_same_version(tmp_path):
    store = Store(tmp_path)
    assert grow(store, [talks(10)]).key == grow(store, [talks(10).reverse()]).key


def test_lookup_finds_the_last_word_on_an_id(tmp_path):
    store = Store(tmp_path)
    base = talks(100)
    changed = base.with_columns(
        track=pl.when(pl.col("id") == base["id"][3]).then(pl.lit("general")).otherwise("track")
    )
    version = grow(store, [base, changed.filter(pl.col("id") != base["id"][4])])
    assert len(version.tables["rows"]["parts"]) == 2
    found = version.lookup("rows", [base["id"][3], base["id"][4], "0" * 32])
    assert found["track"].to_list() == ["general"]
    assert found["messages"][0][0]["content"] == "打开3"


def test_some_columns_are_read_without_the_others(tmp_path):
    version = grow(Store(tmp_path), [talks(10), talks(11)])
    assert version.table("rows", ["track"]).columns == ["track"]
    assert version.table("rows", ["id", "messages"]).columns == ["id", "messages"]
    assert version.table("rows", ["track"]).height == 11


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["甲", "b", "c"]))
def test_only_the_rows_that_an_expression_is_true_of_are_read(tmp_path_factory, history, source):
    grown = grow(Store(tmp_path_factory.mktemp("store")), map(frame, history))
    for where in (pl.col("source") == source, pl.col("value") > 0, pl.col("value").is_null()):
        wanted = grown.table("rows").filter(where)
        assert grown.table("rows", where=where).equals(wanted, null_equal=True)
        assert grown.table("rows", ["id"], where=where).equals(wanted.select("id"))


def test_rows_asked_for_by_a_column_come_with_their_texts(tmp_path):
    rows = talks(8).with_columns(track=pl.Series(["domain", "general"] * 4))
    some = rows.head(4).with_columns(track=pl.lit("general"))
    version = grow(Store(tmp_path), [rows, pl.concat([some, rows.tail(4)])])
    found = version.table("rows", ["messages"], where=pl.col("track") == "domain")
    said = rows.tail(4).filter(pl.col("track") == "domain").sort("id")
    assert found.equals(said.select("messages")) and found.height == 2


def test_a_table_without_ids_grows_too(tmp_path):
    store = Store(tmp_path)
    edges = pl.DataFrame({"child": [str(i) for i in range(40)], "parent": ["p", None] * 20})
    more = pl.concat([edges.tail(-1), pl.DataFrame({"child": ["z"], "parent": ["p"]})])
    old, version = grow(store, [edges]), grow(store, [more])
    assert len(version.tables["rows"]["parts"]) == 2
    assert version.table("rows").sort("child").equals(more.sort("child"))
    change = version.changes("rows", old)
    assert (change.upserts.height, change.gone["child"].to_list()) == (1, ["0"])


def test_an_id_change_that_takes_away_what_is_not_there_changes_nothing(tmp_path):
    store = Store(tmp_path)
    base = grow(store, [frame({1: ("a", 1.0), 2: ("b", None)})])
    nobody = Change(frame({}), pl.DataFrame({"id": ["f" * 32]}))
    entry = write_table(store, "rows", nobody, previous=base.tables["rows"])
    assert entry["digest"] == base.tables["rows"]["digest"]


@pytest.mark.parametrize("one, other", [(None, float("nan")), (0.0, -0.0), (1.0, float("inf"))])
def test_every_difference_of_a_number_shows_in_the_digest(one, other):
    pair = [pl.DataFrame({"value": pl.Series([v], dtype=pl.Float64)}) for v in (one, other)]
    assert frame_digest(pair[0]) != frame_digest(pair[1])


def test_the_sum_over_rows_is_the_sum_of_its_parts():
    rows = frame({i: ("丙", i / 3) for i in range(7)})
    parts = row_sum(rows.head(3)) + row_sum(rows.tail(4))
    assert row_sum(rows) == parts % 2**256


def test_a_change_of_nothing_but_nulls_takes_the_types_of_its_table(tmp_path):
    store = Store(tmp_path)
    old = grow(store, [frame({i: ("a", 1.0) for i in range(20)})])
    nulls = frame({1: ("a", None)}).with_columns(value=pl.lit(None))
    change = Change(nulls, nulls.select("id").clear())
    new = store.write_version("x/rows", Made({"rows": change}, since=old), inputs={}, how={})
    assert new.table("rows").schema == SCHEMA and new.table("rows")["value"].null_count() == 1
    assert len(new.tables["rows"]["parts"]) == 2


def test_a_column_that_was_empty_and_has_numbers_now_is_written_whole(tmp_path):
    store = Store(tmp_path)
    empty = frame({i: ("a", None) for i in range(20)}).with_columns(value=pl.lit(None))
    old = grow(store, [empty])
    one = frame({1: ("a", 2.0)})
    made = Made({"rows": Change(one, one.select("id").clear())}, since=old)
    new = store.write_version("x/rows", made, inputs={}, how={})
    assert new.table("rows").schema == SCHEMA and new.table("rows")["value"].sum() == 2.0


@pytest.mark.parametrize("case", ["an id again", "rows gone", "both", "told by its id"])
def test_a_change_told_by_whole_rows_fits_a_table_whose_ids_were_all_different(tmp_path, case):
    """Such as occurrences before the first repeat, which must not take the first one's place."""
    store = Store(tmp_path)
    before = frame({i: ("甲", float(i)) for i in range(40)})
    again = before[:1].with_columns(source=pl.lit("b"))
    upserts = again if case in ("an id again", "both") else frame({77: ("b", 1.0)})
    gone = before.clear() if case == "an id again" else before[1:3]
    if case == "told by its id":
        upserts = before[1:2].with_columns(source=pl.lit("b"))
    entry = write_table(store, "facts", before)
    grown = write_table(store, "facts", Change(upserts, gone), previous=entry)
    expected = pl.concat([before.join(gone, on=before.columns, how="anti"), upserts])
    assert read_table(store, grown).equals(read_table(store, write_table(store, "x", expected)))
    assert grown["rows"] == expected.height and grown["sum"] == f"{row_sum(expected):064x}"
    both = 2 if case in ("an id again", "both") else 1
    assert lookup(store, grown, again["id"].to_list()).height == both
