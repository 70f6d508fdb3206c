"""An order of rows is one of whole levels, the same whenever it is asked, and loses no row."""

import polars as pl
import pytest

from training.curriculum import order_bins
from training.tokens import TOKENS_SCHEMA


def tokens(n: int) -> pl.DataFrame:
    """Rows of 3 to 60 tokens in no order; every seventh cannot be trained on."""
    lengths = [(n * 37) % 58 + 3 for n in range(n)]
    lines = [
        (f"{i:04d}", [1] * k, [True] * k, k, k, "over_long" if i % 7 == 0 else "")
        for i, k in enumerate(lengths)
    ]
    return pl.DataFrame(lines, schema=TOKENS_SCHEMA, orient="row")


@pytest.mark.parametrize("block", [64, None])
def test_short_rows_come_first_and_none_is_lost(block: int | None) -> None:
    rows = tokens(300)
    bins = order_bins(rows, rows["id"].clear(), order="short_first", block=block)
    usable = rows.filter(pl.col("reason") == "")
    ids = [i for some in bins["ids"] for i in some]
    assert sorted(ids) == sorted(usable["id"]) and bins["bin"].to_list() == [*range(bins.height)]
    lengths = dict(usable.select("id", "n_tokens").iter_rows())
    rank = {i: n for n, i in enumerate(sorted(ids, key=lambda i: (lengths[i], i)))}
    levels = [rank[i] * 10 // len(ids) for i in ids]
    assert levels == sorted(levels) and len({*levels}) == 10
    first = [lengths[i] for i, level in zip(ids, levels, strict=True) if level == 0]
    assert first != sorted(first, reverse=True)  # not as they were packed
    again = order_bins(rows, rows["id"].clear(), order="short_first", block=block)
    assert again.equals(bins)


def test_general_rows_come_first() -> None:
    rows = tokens(60)
    general = rows["id"].head(30)
    bins = order_bins(rows, general, order="general_first", block=64)
    sides = [{i in set(general) for i in ids} for ids in bins["ids"]]
    assert all(len(side) == 1 for side in sides)
    flat = [side.pop() for side in sides]
    assert flat == sorted(flat, reverse=True) and len({*flat}) == 2
