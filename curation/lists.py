"""Columns of lists out of flat values, without a look at each of them."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl


def list_column(lists: Sequence[Sequence[Any]], dtype: type[np.generic]) -> pl.Series:
    """Lists of numbers or truth values, all of one NumPy `dtype`, as a column of lists."""
    sizes = [len(one) for one in lists]
    flat = np.fromiter(chain.from_iterable(lists), dtype, count=sum(sizes))
    return group_lists(pl.Series(flat), sizes)


def group_lists(flat: pl.Series, sizes: Sequence[int]) -> pl.Series:
    """A column of lists of these `sizes`, the values of `flat` one after the other."""
    import pyarrow as pa

    offsets = pa.array(np.cumsum([0, *sizes], dtype=np.int64))
    lists = pl.from_arrow(pa.LargeListArray.from_arrays(offsets, flat.to_arrow()))
    assert isinstance(lists, pl.Series)
    return lists
