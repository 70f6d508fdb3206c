"""Conservation is proved by source, and a greedy rule is stopped."""

import hashlib

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.fates import (
    FATE_SCHEMA,
    NotConserved,
    TooManyDropped,
    chain_fates,
    count_fates,
    keep_rows,
    kept,
    make_fates,
    prove_conservation,
    require_conservation,
    require_share,
)

COLUMNS = ("id", "source")


def some_rows(n, source="seeds"):
    ids = [hashlib.sha256(f"{source}{i}".encode()).hexdigest()[:32] for i in range(n)]
    return pl.DataFrame(
        {"id": ids, "source": [source] * n}, schema={"id": pl.String, "source": pl.String}
    )


def test_fates_have_the_schema_whatever_they_are_made_from():
    rows = some_rows(3).with_columns(score=pl.Series([1.0, 2.0, None]))
    fates = make_fates(rows, "dropped", reason="score < 1", value=pl.col("score"), threshold=1)
    assert fates.schema == FATE_SCHEMA
    assert fates["value"].to_list() == [1.0, 2.0, None]
    assert kept(rows.clear()).schema == FATE_SCHEMA


def test_rows_that_all_have_a_fate_are_conserved_by_source():
    a, b = some_rows(5), some_rows(3, "general")
    fates = pl.concat(
        [kept(a[:4]), make_fates(a[4:], "dropped", reason="r"), make_fates(b, "not_sampled")]
    )
    proof = require_conservation(a, fates, created=b).to_dicts()
    assert [(p["source"], p["entered"], p["created"], p["kept"], p["dropped"]) for p in proof] == [
        ("general", 0, 3, 0, 0),
        ("seeds", 5, 0, 4, 1),
    ]
    assert proof[1]["checksum_in"] == f"{sum(int(i, 16) for i in a['id']) % 2**128:032x}"


def test_a_lost_row_beside_a_doubled_one_is_noticed_although_the_counts_agree():
    rows = some_rows(4)
    fates = kept(rows[[0, 1, 2, 2]])
    assert prove_conservation(rows, fates)["conserved"].to_list() == [False]
    with pytest.raises(
        NotConserved, match=r"'seeds': 4 entered .* 1 without a fate .* several fates"
    ):
        require_conservation(rows, fates)


def test_a_row_that_changed_its_source_is_noticed():
    rows = some_rows(2)
    with pytest.raises(NotConserved, match="under another source"):
        require_conservation(rows, kept(rows.with_columns(source=pl.lit("other"))))


def test_an_unknown_fate_and_an_odd_id_are_refused():
    rows = some_rows(1)
    with pytest.raises(ValueError, match="unknown fate 'lost'"):
        prove_conservation(rows, kept(rows).with_columns(fate=pl.lit("lost")))
    with pytest.raises(ValueError, match="'x' is not 32 hex digits"):
        prove_conservation(rows.with_columns(id=pl.lit("x")), kept(rows))


def test_no_rows_are_conserved():
    assert require_conservation(some_rows(0), FATE_SCHEMA.to_frame()).is_empty()


@given(st.lists(st.integers(0, 2**128 - 1), unique=True, max_size=30), st.randoms())
def test_the_checksum_is_exact_and_free_of_order(numbers, random):
    rows = pl.DataFrame({"id": [f"{n:032x}" for n in numbers], "source": ["s"] * len(numbers)})
    rows = rows.cast({"id": pl.String, "source": pl.String})
    shuffled = rows[random.sample(range(len(rows)), len(rows))]
    proof = require_conservation(rows, kept(shuffled))
    assert proof["checksum_in"].to_list() == [f"{sum(numbers) % 2**128:032x}"] * bool(numbers)


def test_a_reason_that_removes_more_than_its_share_stops_with_the_numbers():
    rows = some_rows(100)
    fates = pl.concat(
        [kept(rows[:69]), make_fates(rows[69:], "dropped", reason="repetition < 0.5")]
    )
    with pytest.raises(TooManyDropped, match=r"'repetition < 0.5' removes 31 of 100 rows \(31%\)"):
        require_share(count_fates(fates))
    assert require_share(count_fates(fates), max_share=0.31)["n"].to_list() == [31]


def test_merging_and_sampling_and_small_sources_are_not_stopped():
    rows, few = some_rows(40), some_rows(19, "few")
    merged = make_fates(rows[1:30], "merged", into=rows["id"][0], similarity=1.0)
    fates = pl.concat([kept(rows[:1]), merged, make_fates(rows[30:], "not_sampled")])
    require_share(
        count_fates(pl.concat([fates, make_fates(few, "quarantined", reason="not_json")]))
    )


def test_two_reasons_of_a_fifth_each_are_not_one_of_two_fifths():
    rows = some_rows(100)
    parts = [
        make_fates(rows[:20], "dropped", reason="a"),
        make_fates(rows[20:40], "dropped", reason="b"),
    ]
    require_share(count_fates(pl.concat([*parts, kept(rows[40:])])))


def test_a_chain_of_steps_keeps_the_last_word_on_each_row():
    rows = some_rows(4)
    first = pl.concat([kept(rows[:3]), make_fates(rows[3:], "dropped", reason="a")])
    second = pl.concat([kept(rows[:1]), make_fates(rows[1:3], "not_sampled")])
    fates = chain_fates(first, second)
    require_conservation(rows, fates)
    assert count_fates(fates).rows() == [
        ("seeds", "dropped", "a", 1),
        ("seeds", "kept", "", 1),
        ("seeds", "not_sampled", "", 2),
    ]
    assert keep_rows(rows, fates)["id"].to_list() == [rows["id"][0]]
