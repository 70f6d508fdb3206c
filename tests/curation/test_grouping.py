"""Groups of whole components: their stars are those of all rows, whatever the groups and pieces."""

import polars as pl
import pytest

from curation.engines._base import Local
from curation.grouping import find_edges, merge_groups, split_keys
from curation.minhash import pack_bands
from curation.stars import merge_stars, share_bands
from tests.curation.test_stars import signed_rows


@pytest.mark.parametrize("track", ["domain", "general"])
@pytest.mark.parametrize("threshold", [0.4, 0.7])
@pytest.mark.parametrize(("workers", "group"), [(1, 1), (3, 7), (2, 100), (5, 100_000)])
def test_the_stars_of_groups_are_the_stars_of_all(track, threshold, workers, group):
    merged = 0
    for seed in range(3):
        rows = signed_rows(200, seed=seed, track=track, threshold=threshold)
        whole = merge_stars(rows, threshold=threshold)
        sizes: list[int] = []

        def merge(some: pl.DataFrame) -> pl.DataFrame:
            sizes.append(some.height)  # noqa: B023  # called before the next seed
            return merge_stars(some, threshold=threshold)

        pieces = rows.sort("id").select("id", "bands").iter_slices(90)
        found = merge_groups(rows, pieces, merge, engine=Local(workers=workers), group=group)
        assert found.equals(whole)
        busy = share_bands(rows.drop("bands"), [rows.select("id", "bands")])
        assert sum(sizes) == busy.height, "a row that shares no band is in no group"
        # At .4 nearly all of these rows hang together.
        assert len(sizes) == 1 or group < rows.height
        assert len(sizes) > 1 or group > rows.height or threshold == 0.4
        merged += found.height
    assert merged > 20


def test_a_component_is_never_cut():
    # The first row shares a band with the second, that another one with the third, and so on.
    bands = [[n, n + 1] for n in range(0, 50)]
    rows = _world(bands)
    groups: list[list[str]] = []

    def merge(some: pl.DataFrame) -> pl.DataFrame:
        groups.append(some["id"].to_list())
        return pl.DataFrame(schema={"id": pl.String, "into": pl.String, "similarity": pl.Float64})

    pieces = rows.select("id", "bands").iter_slices(7)
    merge_groups(rows, pieces, merge, engine=Local(workers=2), group=3)
    assert groups == [rows["id"].to_list()]


def test_no_rows_are_no_groups():
    rows = _world([])
    bands = [rows.select("id", "bands")]
    found = merge_groups(rows, bands, lambda some: some, engine=Local(workers=2))
    assert found.is_empty() and found.columns == ["id", "into", "similarity"]


def test_keys_are_parted_by_themselves_alone():
    part = pl.DataFrame(
        {"place": [0, 1, 2], "block": [7, 7, 9], "bands": _pack([[1, 2], [2, 3], [2, 3]])},
        schema_overrides={"place": pl.UInt32, "block": pl.UInt64},
    )
    pieces = [split_keys(part[i : i + 1], 4) for i in range(3)]
    assert sum(piece.height for split in pieces for piece in split) == 6
    edges = pl.concat(find_edges([split[i] for split in pieces]) for i in range(4))
    assert edges.select("first", "place").rows() == [(0, 1)], (
        "rows 1 and 2 have the same bands in different blocks"
    )


def _world(bands: list[list[int]]) -> pl.DataFrame:
    """Rows of one block with these bands."""
    ids = [f"{n:032x}" for n in range(len(bands))]
    same = {"split": "train", "track": "general", "labelled": False, "certain": False}
    numbers = {name: pl.lit(1, pl.UInt64) for name in ("context", "answer")}
    frame = pl.DataFrame({"id": ids, "bands": _pack(bands)}, schema_overrides={"id": pl.String})
    return frame.with_columns(**{k: pl.lit(v) for k, v in same.items()}, **numbers)


def _pack(bands: list[list[int]]) -> pl.Series:
    import numpy as np

    flat = np.array([band for some in bands for band in some], np.uint32)
    return pack_bands(flat, np.array([len(some) for some in bands], np.int64))
