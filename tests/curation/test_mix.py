"""The ratio is exact, the choice is proportional and stable, and a shortage is said."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.fates import require_conservation
from curation.mix import mix_tracks
from curation.rows import dialogue, make_row, rows_frame

ANIMALS = ["qa", "qa", "qa", "chat", "chat", "maths"]


def pool(n, start=0):
    return rows_frame(
        make_row(
            dialogue(f"问题{i}" if i % 3 else f"question {i}", "答"),
            track="general",
            category=ANIMALS[i % 6],
            source="general",
        )
        for i in range(start, start + n)
    )


def ours(n):
    return rows_frame(make_row(dialogue(f"打开车窗{i}", "好的"), source="seeds") for i in range(n))


def rows_of(n_general, n_domain):
    return pl.concat([pool(n_general), ours(n_domain)])


POOL, OURS = pool(300), ours(40)


@given(st.integers(1, 40), st.integers(0, 7), st.integers(1, 4))
def test_the_ratio_is_exact_and_every_row_has_a_fate(n_domain, general, domain):
    rows = pl.concat([POOL, OURS[:n_domain]])
    if n_domain < domain:
        with pytest.raises(ValueError, match="needs at least"):
            mix_tracks(rows, general=general, domain=domain)
        return
    mixed = mix_tracks(rows, general=general, domain=domain)
    copies = dict(mixed.counts.select("track", "copies").iter_rows())
    assert copies.get("general", 0) * domain == copies["domain"] * general
    assert n_domain - copies["domain"] < domain and mixed.note == ""
    require_conservation(rows, mixed.judge(rows))


def test_by_default_there_are_seven_general_rows_for_each_domain_row():
    rows = rows_of(900, 100)
    mixed = mix_tracks(rows)
    assert mixed.ratio == 7 and mixed.rows["repeats"].unique().to_list() == [1]
    assert mixed.judge(rows).filter(pl.col("fate") == "not_sampled").height == 200
    assert mixed.counts["copies"].to_list() == [100, 700]


def test_each_stratum_keeps_its_share():
    rows = rows_of(1200, 60)
    mixed = mix_tracks(rows).rows.filter(pl.col("track") == "general")
    before = pool(1200).group_by("category", "lang").agg(share=pl.len() / 1200)
    after = mixed.group_by("category", "lang").agg(now=pl.len() / 420)
    both = before.join(after, on=["category", "lang"])
    assert both.height == before.height
    assert ((both["share"] - both["now"]).abs() < 1 / 420).all()


@pytest.mark.parametrize("salt", ["", "a", "b"])
def test_a_pool_that_grows_by_a_twentieth_keeps_most_of_the_choice(salt):
    before = mix_tracks(rows_of(4000, 300), salt=salt).rows
    grown = pl.concat([pool(4000), pool(200, 4000), ours(300)])
    after = mix_tracks(grown, salt=salt).rows
    assert before.join(after, on="id", how="semi").height / before.height >= 0.93
    more = mix_tracks(pl.concat([pool(4000), pool(200, 4000), ours(315)]), salt=salt).rows
    assert before.join(more, on="id", how="semi").height / before.height >= 0.93


def test_the_order_of_rows_does_not_matter_and_the_salt_does():
    rows = rows_of(400, 20)
    assert mix_tracks(rows).rows.equals(mix_tracks(rows.reverse()).rows)
    assert not mix_tracks(rows).rows.equals(mix_tracks(rows, salt="v2").rows)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.sampled_from([{}, {"maths": 0.3}]))
def test_the_front_of_the_line_is_that_of_the_whole_line(wanted, floors):
    rows = pl.concat([POOL, OURS[:5]])
    taken = [
        set(mix_tracks(rows, general=n, floors=floors).rows.filter(track="general")["id"])
        for n in [*sorted(wanted), 60]
    ]
    assert [len(ids) for ids in taken] == [5 * n for n in [*sorted(wanted), 60]]
    assert all(fewer <= more for fewer, more in zip(taken, taken[1:], strict=False))


def too_long(unfit, asked):
    """A `Fit` by which these rows are too long; the ids it is asked about are added to `asked`."""

    def fit(ids):
        asked.extend(ids)
        reason = pl.when(pl.col("id").is_in(unfit)).then(pl.lit("over_long")).otherwise(pl.lit(""))
        size = pl.lit(1, pl.Int64)
        return pl.DataFrame({"id": ids}).with_columns(reason=reason, value=pl.lit(9.0), size=size)

    return fit


@given(st.sets(st.integers(0, 339)), st.integers(0, 7))
def test_a_row_that_does_not_fit_leaves_its_turn_to_the_next_and_the_ratio_is_exact(bad, general):
    rows = pl.concat([POOL, OURS]).sort("id")
    unfit, asked = rows["id"].gather(sorted(bad)).to_list(), []
    others = rows.filter(~pl.col("id").is_in(unfit))
    n_domain, n_general = (
        others.filter(pl.col("track") == t).height for t in ("domain", "general")
    )
    if not n_domain or min(2 * n_general, general * n_domain) < 3 / 7 * general * n_domain:
        return
    mixed = mix_tracks(rows, too_long(unfit, asked), general=general)
    copies = dict(mixed.counts.select("track", "copies").iter_rows())
    assert copies["domain"] == n_domain
    assert copies.get("general", 0) == min(general * n_domain, 2 * n_general)
    require_conservation(rows, mixed.judge(rows))
    dropped = mixed.judge(rows).filter(pl.col("fate") == "dropped")
    assert set(dropped["id"]) <= set(unfit) and set(dropped["reason"]) <= {"over_long"}
    assert not set(mixed.rows["id"]) & set(unfit) and len(asked) == len(set(asked))
    again = mix_tracks(rows.reverse(), too_long(unfit, []), general=general)
    assert again.rows.equals(mixed.rows) and again.judge(rows).equals(mixed.judge(rows))


def test_rows_whose_turn_does_not_come_are_not_looked_at():
    asked = []
    rows = pl.concat([POOL, OURS[:10]])
    mixed = mix_tracks(rows, too_long([], asked))
    assert sorted(asked) == mixed.rows["id"].to_list() and len(asked) == 80
    first = mixed.rows.filter(pl.col("track") == "general")["id"][0]
    more = mix_tracks(rows, too_long([first], []))
    assert set(mixed.rows["id"]) - set(more.rows["id"]) == {first}
    assert more.rows.height == 80 and more.unfit.rows() == [(first, "over_long", 9.0, 1)]


def test_a_short_pool_is_repeated_at_most_twice():
    mixed = mix_tracks(rows_of(50, 10))
    assert mixed.ratio == 7 and "20 stand in twice" in mixed.note
    assert mixed.rows["repeats"].value_counts(sort=True).rows() == [(1, 40), (2, 20)]
    mixed = mix_tracks(rows_of(20, 10))
    assert mixed.ratio == 4 and "4.00:1" in mixed.note
    require_conservation(rows_of(20, 10), mixed.judge(rows_of(20, 10)))


def test_under_three_to_one_the_mix_fails_with_the_numbers():
    assert mix_tracks(rows_of(15, 10)).ratio == 3
    with pytest.raises(ValueError, match="10 domain rows want 70 .* are 28.* 2.80:1 is under 3:1"):
        mix_tracks(rows_of(14, 10))
    with pytest.raises(ValueError, match="0.00:1"):
        mix_tracks(ours(10))


def test_without_domain_rows_or_with_a_ratio_of_nothing_there_is_no_mix():
    with pytest.raises(ValueError, match="0 domain rows"):
        mix_tracks(pool(10))
    with pytest.raises(ValueError, match="-1 general"):
        mix_tracks(rows_of(10, 1), general=-1)
    assert mix_tracks(rows_of(10, 3), general=0).rows["track"].unique().to_list() == ["domain"]


def sized(rows):
    """A `Fit` by which a row counts as many as its prompt has characters."""
    sizes = dict(zip(rows["id"], rows["n_chars"] % 7 + 3, strict=True))

    def fit(ids):
        said = pl.DataFrame({"id": ids}).with_columns(reason=pl.lit(""), value=pl.lit(0.0))
        return said.with_columns(size=pl.Series([sizes[i] for i in ids], dtype=pl.Int64))

    return fit, sizes


@given(st.integers(1, 40), st.integers(0, 7), st.integers(1, 3))
def test_tokens_stand_at_the_ratio_to_half_of_the_last_row(n_domain, general, domain):
    rows = pl.concat([POOL, OURS[:n_domain]])
    fit, sizes = sized(rows)
    asked = {"general": general, "domain": domain, "max_repeats": 9, "min_share": 0.0}
    mixed = mix_tracks(rows, fit, unit="tokens", **asked)
    copies = mixed.rows.select("id", "track", "repeats").rows()
    came = {"general": 0, "domain": 0}
    for row_id, track, repeats in copies:
        came[track] += sizes[row_id] * repeats
    assert came["domain"] == sum(sizes[i] for i in OURS[:n_domain]["id"])
    assert 2 * abs(came["general"] - came["domain"] * general / domain) <= max(sizes.values()) + 2
    require_conservation(rows, mixed.judge(rows))
    again = mix_tracks(rows.reverse(), fit, unit="tokens", **asked)
    assert again.rows.equals(mixed.rows)


def test_a_pool_short_of_tokens_is_repeated_and_says_so_in_tokens():
    rows = pl.concat([POOL[:20], OURS[:10]])
    mixed = mix_tracks(rows, sized(rows)[0], unit="loss_tokens")
    assert "general loss tokens are short of" in mixed.note and "stand in twice" in mixed.note
    with pytest.raises(ValueError, match="domain tokens want .* general tokens and there are"):
        mix_tracks(pl.concat([POOL[:3], OURS]), sized(rows_of(300, 40))[0], unit="tokens")


@pytest.mark.parametrize("floor", [0.3, 0.5])
def test_a_category_has_its_floor_and_the_others_keep_their_proportion(floor):
    rows = rows_of(2400, 60)
    mixed = mix_tracks(rows, floors={"maths": floor})
    general = mixed.rows.filter(pl.col("track") == "general")
    shares = dict(general.group_by("category").agg(pl.len() / general.height).iter_rows())
    assert general.height == 420 and mixed.note == ""
    assert shares["maths"] == pytest.approx(floor, abs=2 / 420)
    assert shares["qa"] / shares["chat"] == pytest.approx(3 / 2, rel=0.03)


def test_a_floor_that_is_met_changes_nothing_and_one_the_pool_cannot_meet_is_said():
    rows = rows_of(1200, 60)
    plain = mix_tracks(rows)
    assert mix_tracks(rows, floors={"qa": 0.4, "nothing": 0.0001}).rows.equals(plain.rows)
    few = rows.filter((pl.col("category") != "maths") | (pl.col("id") < "1"))
    mixed = mix_tracks(few, floors={"maths": 0.2})
    there = few.filter(pl.col("category") == "maths").height
    assert 0 < there < 80 and f"'maths' has {there} of 420 general rows" in mixed.note
    require_conservation(few, mixed.judge(few))


@pytest.mark.parametrize("floors", [{"a": 1.0}, {"a": 0.6, "b": 0.4}, {"a": "0.1"}, {"a": -0.1}])
def test_floors_that_leave_no_room_are_refused(floors):
    with pytest.raises(ValueError, match="less than 1 together"):
        mix_tracks(rows_of(10, 1), floors=floors)
