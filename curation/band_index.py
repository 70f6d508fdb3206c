"""Which rows share a prompt or a band with others, found without looking at all of them.

A run of signatures never changes, and so its index does not: written once, it is mapped into memory
and only what is asked for is touched. What a delivery adds lies in small runs, which are looked
through.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from curation.frames import mapped_bytes
from curation.minhash import flat_bands
from curation.rows import digest
from curation.runs import Run, read_run, rows_in
from curation.store import Corrupt, Store
from curation.table_parts import parts_of

COMPARED = ("id", "prompt", "bands")
"""The columns of signatures (`dedup.SIGNATURE_SCHEMA`) that are looked at."""
Sharing = Callable[[pl.DataFrame], pl.Series]
"""Ids of those rows that share a prompt or a band with one of these (`COMPARED`), each once.

A few that share none may be among them.
"""
LEAST = 16_384
"""Rows of a run from which on an index is quicker than looking through it."""
_KIND = "bands"
_AT_ONCE = 65_536
"""Bands that are looked up together, in memory of so many buckets."""
_PER_BUCKET = 4
_MOST_BITS = 18
"""Of a million rows and more the buckets are larger, so that where they end takes little room."""


class BandIndex(NamedTuple):
    """The bands and prompts of some rows in buckets, by place and by their highest bits.

    A place is that of a band among the `step` of a set; the prompt has one more. Bucket i holds
    what is from `ends[i - 1]` to `ends[i]` in `low`, the next 16 bits of each, and in `rows`, whose
    each is. There are `2**bits` buckets for each place. The arrays are of numpy: uint32 or int64,
    uint16, uint32.
    """

    ids: pl.Series
    ends: Any
    low: Any
    rows: Any
    step: int
    bits: int

    def sharing(self, asked: pl.DataFrame) -> pl.Series:
        """`Sharing` for the rows of this index."""
        import numpy as np

        named, _ = _named(_apart(asked), self.step)
        found = [self._find(named[at : at + _AT_ONCE]) for at in range(0, len(named), _AT_ONCE)]
        return self.ids.gather(np.unique(np.concatenate([np.empty(0, np.uint32), *found])))

    def _find(self, named: Any) -> Any:
        """The rows that have one of these bands or prompts (`_named`)."""
        import numpy as np

        bucket, low = _buckets((named >> np.uint64(8)).astype(np.uint32), self.bits)
        bucket = bucket + ((named & np.uint64(0xFF)).astype(np.int64) << self.bits)
        starts = np.where(bucket > 0, self.ends[bucket - 1], 0).astype(np.int64)
        widths = self.ends[bucket] - starts
        at = np.arange(widths.sum()) + np.repeat(starts - (widths.cumsum() - widths), widths)
        return self.rows[at[self.low[at] == np.repeat(low, widths)]]

    def to_frame(self) -> pl.DataFrame:
        """The index as one line, whose lists are found where they lie when it is mapped."""
        columns = {"shape": [self.step, self.bits], "ids": self.ids}
        columns |= {"ends": self.ends, "low": self.low, "rows": self.rows}
        return pl.DataFrame({name: pl.Series(a).implode() for name, a in columns.items()})


def map_index(path: Path) -> BandIndex:
    """The index that a file holds; nothing of it is read until it is asked."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    shape, ids, *lists = (column.chunk(0).values for column in table.columns)
    step, bits = shape.to_pylist()
    ends, low, rows = (one.to_numpy() for one in lists)
    return BandIndex(pl.Series(ids), ends, low, rows, step, bits)


def index_bands(signed: pl.DataFrame) -> BandIndex:
    """The index of some rows (`COMPARED`)."""
    import numpy as np

    piece = _apart(signed)
    step, n = _step(piece.widths), signed.height
    bits = min(_MOST_BITS, max(1, (n // _PER_BUCKET).bit_length()))
    counts, lows, rows = [], [], []
    for place in range(step + 1):
        values, owners = _at_place(piece, place, step)
        bucket, low = _buckets(values, bits)
        order = _order(bucket)
        counts.append(np.bincount(bucket, minlength=1 << bits))
        lows.append(low[order])
        rows.append(owners[order].astype(np.uint32))
    ends = np.concatenate(counts).cumsum()
    ends = ends.astype(np.uint32) if ends[-1] < 1 << 32 else ends
    joined = np.concatenate(lows), np.concatenate(rows)
    return BandIndex(signed["id"], ends, *joined, step, bits)


def pair_rows(signed: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """The pairs (id, other) of rows of two sides (`COMPARED`) that share a band, each once."""
    import numpy as np

    sides = _apart(signed), _apart(others)
    step = _step(np.concatenate([side.widths for side in sides]))
    bands = []
    for side, frame in zip(sides, (signed, others), strict=True):
        named, owners = _named(side, step, range(step))
        bands.append(pl.DataFrame({"id": frame["id"].gather(owners), "band": named}))
    ours, theirs = bands
    pairs = ours.join(theirs.rename({"id": "other"}), on="band")
    return pairs.select("id", "other").unique()


def scan_bands(signed: pl.DataFrame) -> Sharing:
    """`Sharing` for rows (`COMPARED`) without an index: all are looked through."""
    piece = _apart(signed)

    def sharing(asked: pl.DataFrame) -> pl.Series:
        import numpy as np

        step = _step(np.concatenate([piece.widths, _apart(asked).widths]))
        theirs, _ = _named(_apart(asked), step)
        ours, owners = _named(piece, step)
        found = pl.Series(ours).is_in(pl.Series(theirs).implode()).to_numpy()
        return signed["id"].gather(np.unique(owners[found]))

    return sharing


def remember_indexes(store: Store, entry: Mapping[str, Any], memo: str) -> str:
    """Index the runs of a remembered table of signatures that have none; the key to read them by.

    `memo` is that of the table. Of runs that are no more nothing stays.
    """
    key = f"{memo}-index"
    said = (store.recall(key) or {}).get("runs", {})
    known = dict[str, str]()
    for run in _large(entry):
        name = _name(run)
        if name in said and _is_whole(store, said[name]):
            known[name] = said[name]
        else:
            index = index_bands(read_run(store, run, COMPARED))
            known[name] = store.put_bytes(_KIND, ".arrow", mapped_bytes(index.to_frame()))
    if known != said:
        store.remember(key, {"runs": known, "objects": sorted(known.values())})
    return key


def read_indexes(store: Store, entry: Mapping[str, Any], key: str) -> list[Sharing]:
    """Who tells of the rows of a remembered table of signatures which share; of any part of it.

    `key` is what `remember_indexes` gave. So also rows that a later part replaced are found.
    """
    known, found, rest = (store.recall(key) or {}).get("runs", {}), list[Sharing](), []
    for run in (rows for rows, _ in parts_of(entry)):
        at = known.get(_name(run))
        if at is None:
            rest.append(run)
        else:
            found.append(map_index(store.frame_path(at)).sharing)
    slices = tuple(one for run in rest for one in run)
    return [*found, scan_bands(read_run(store, slices, COMPARED))] if slices else found


def _large(entry: Mapping[str, Any]) -> list[Run]:
    return [rows for rows, _ in parts_of(entry) if rows_in(rows) >= LEAST]


def _name(run: Run) -> str:
    return digest([one.key for one in run])


def _is_whole(store: Store, key: str) -> bool:
    with suppress(Corrupt):
        return store.frame_path(key).is_file()
    return False


class _Rows(NamedTuple):
    """Prompts (uint64), the bands of all rows one after another, where each's start, how many."""

    prompts: Any
    bands: Any
    starts: Any
    widths: Any


def _apart(signed: pl.DataFrame) -> _Rows:
    import numpy as np

    bands, ends = flat_bands(signed["bands"])
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return _Rows(signed["prompt"].to_numpy(), bands, starts, ends - starts)


def _step(widths: Any) -> int:
    """How many places there are; a row has one or two sets of them, and no row may have but one.

    Half as many as there are is no fault: a band is then compared with those of two places.
    """
    import numpy as np

    least = int(widths[widths > 0].min(initial=np.iinfo(np.int64).max))
    return least if least % 2 else least // 2


def _at_place(rows: _Rows, place: int, step: int) -> tuple[Any, Any]:
    """The bands in a place of any set, or the prompts as 32 bits, and whose each is."""
    import numpy as np

    if place == step:
        return (rows.prompts >> np.uint64(32)).astype(np.uint32), np.arange(len(rows.prompts))
    values, owners, at = [np.empty(0, np.uint32)], [np.empty(0, np.int64)], place
    while len(some := np.flatnonzero(rows.widths > at)):
        values.append(rows.bands[rows.starts[some] + at])
        owners.append(some)
        at += step
    return np.concatenate(values), np.concatenate(owners)


def _named(rows: _Rows, step: int, places: Sequence[int] = ()) -> tuple[Any, Any]:
    """Bands and prompts with their place in the lower 8 bits (uint64), and whose each is.

    Those of some places, or of all.
    """
    import numpy as np

    found = [(place, *_at_place(rows, place, step)) for place in places or range(step + 1)]
    values = [v.astype(np.uint64) << np.uint64(8) | np.uint64(place) for place, v, _ in found]
    return np.concatenate(values), np.concatenate([owners for _, _, owners in found])


def _buckets(values: Any, bits: int) -> tuple[Any, Any]:
    """The highest bits of each value, and its next 16 or its last (uint16)."""
    import numpy as np

    low = values >> np.uint32(max(0, 16 - bits))
    return values >> np.uint32(32 - bits), low.astype(np.uint16)


def _order(buckets: Any) -> Any:
    """Where each value stands in the order of buckets; 16 bits are sorted by counting, not more."""
    import numpy as np

    order = np.argsort(buckets.astype(np.uint16), kind="stable")
    return order[np.argsort((buckets >> np.uint32(16)).astype(np.uint8)[order], kind="stable")]
