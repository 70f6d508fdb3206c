"""Which rows a verdict on some rows can depend on: those alike, and those alike to these."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from curation.minhash import flat_bands

COMPARED = ("id", "prompt", "bands")
"""The columns of signatures that are looked at."""
Near = Callable[[pl.DataFrame], Iterable[str]]
"""Pairs of rows (id, other) to those ids that are really near their other."""
_FEW = 20_000
"""Rows, and pairs of them, up to which it is asked whether they are near."""
_AT_ONCE = 32_768
"""Bands that are looked up together: so many fit the caches."""
_SPARSE = 32
"""Places for each band in the table where bands are first looked for by their lower bits: of so
many one is taken for another, and the table fits the caches."""


class _Piece(NamedTuple):
    """Some rows: ids and prompts, the bands of all one after another, and where each's lie.

    Bands (uint32), starts and ends (int64) are arrays of numpy, which is loaded where it is needed.
    """

    ids: pl.Series
    prompts: pl.Series
    bands: Any
    starts: Any
    ends: Any


def find_related(
    signed: Iterable[pl.DataFrame],
    ids: Iterable[str],
    *,
    most: int,
    near: Near | None = None,
) -> list[str] | None:
    """Rows that what is found about these rows can depend on, or the other way round, sorted.

    Those are the rows that share a prompt or a band with one of them, those that share one with
    these, and so on; a few may be among them that share none. None when they are more than `most`.
    `signed` are the columns `COMPARED` of signatures (`dedup.SIGNATURE_SCHEMA`), in pieces of any
    size and order. While there are few, those that share but a band count only where `near` says
    so: most that share one of many do so by chance.
    """
    known = pl.Series("id", [*ids], dtype=pl.String)
    pieces = [*map(_apart, signed)]
    new = [piece.ids.is_in(known.implode()).to_numpy() for piece in pieces]
    step = _step(pieces)
    related = new
    while any(mark.any() for mark in new):
        if sum(mark.sum() for mark in related) > most:
            return None
        asked = _marked(pieces, new)
        prompts = pl.concat(piece.prompts.filter(mark) for piece, mark in asked)
        shares = _sharing(prompts, [_bands_of(*one, step) for one in asked], step)
        alike = [shares(piece) for piece in pieces]
        new = [now & ~before for now, before in zip(alike, related, strict=True)]
        if near is not None:
            new = _only_near(pieces, new, asked, prompts, near, step)
        related = [now | before for now, before in zip(new, related, strict=True)]
    found = [piece.ids.filter(mark) for piece, mark in zip(pieces, related, strict=True)]
    return pl.concat([known, *found]).unique().sort().to_list()


def find_alike(signed: Iterable[pl.DataFrame], rows: pl.DataFrame) -> list[str]:
    """Ids in `signed` that share a prompt or a band with one of these signed rows.

    Both hold the columns `COMPARED`, `signed` in pieces of any size and order.
    """
    asked = _apart(rows)
    every, step = asked.ids.is_not_null().to_numpy(), _step([asked])
    shares = _sharing(rows["prompt"], [_bands_of(asked, every, step)], step)
    pieces = map(_apart, signed)
    return [i for piece in pieces for i in piece.ids.filter(shares(piece))]


def _marked(pieces: Sequence[_Piece], marks: Sequence[Any]) -> list[tuple[_Piece, Any]]:
    return [(piece, mark) for piece, mark in zip(pieces, marks, strict=True) if mark.any()]


def _only_near(
    pieces: Sequence[_Piece],
    found: Sequence[Any],
    asked: Sequence[tuple[_Piece, Any]],
    prompts: pl.Series,
    near: Near,
    step: int,
) -> list[Any]:
    """The marks of rows that have one of the prompts or are near an asked row; all of too many."""
    import numpy as np

    hits = _marked(pieces, found)
    if not hits or sum(mark.sum() for _, mark in [*hits, *asked]) > _FEW:
        return [*found]
    ours, theirs = (pl.concat(_owned(*one, step) for one in side) for side in (hits, asked))
    pairs = ours.join(theirs.rename({"id": "other"}), on="band").select("id", "other").unique()
    if pairs.height > _FEW:
        return [*found]
    close, stay = pl.Series(near(pairs), dtype=pl.String), []
    for piece, mark in zip(pieces, found, strict=True):
        at = np.flatnonzero(mark)
        same = piece.prompts.gather(at).is_in(prompts.implode())
        stays = same | piece.ids.gather(at).is_in(close.implode())
        stay.append(np.zeros_like(mark))
        stay[-1][at[stays.to_numpy()]] = True
    return stay


def _owned(piece: _Piece, mark: Any, step: int) -> pl.DataFrame:
    """The bands of marked rows, `_named`, each with the id of its row."""
    import numpy as np

    rows = np.repeat(np.flatnonzero(mark), (piece.ends - piece.starts)[mark])
    return pl.DataFrame({"id": piece.ids.gather(rows), "band": _bands_of(piece, mark, step)})


def _apart(signed: pl.DataFrame) -> _Piece:
    bands, ends = flat_bands(signed["bands"])
    starts = ends - signed["bands"].bin.size().to_numpy().astype(ends.dtype) // 4
    return _Piece(signed["id"], signed["prompt"], bands, starts, ends)


def _sharing(prompts: pl.Series, some: Sequence[Any], step: int) -> Callable[[_Piece], Any]:
    """Tells which rows of a piece share one of these prompts or `_bands_of` rows."""
    import numpy as np

    named = np.unique(np.concatenate(some))
    bands = (named >> np.uint64(8)).astype(np.uint32)
    table = np.zeros(1 << (len(bands) * _SPARSE).bit_length(), dtype=np.bool_)
    table[bands & np.uint32(len(table) - 1)] = True

    def shares(piece: _Piece) -> Any:
        at = _in_table(piece.bands, table)
        at = at[pl.Series(piece.bands[at]).is_in(pl.Series(bands).implode()).to_numpy()]
        rows = np.searchsorted(piece.ends, at, side="right")
        there = _named(piece.bands[at], at - piece.starts[rows], step)
        found = piece.prompts.is_in(prompts.implode()).to_numpy().copy()
        found[rows[np.isin(there, named)]] = True
        return found

    return shares


def _in_table(bands: Any, table: Any) -> Any:
    """Places of the bands whose lower bits the table is true at, looked up few at a time."""
    import numpy as np

    low, found = np.uint32(len(table) - 1), [np.empty(0, np.int64)]
    asked, told = np.empty(_AT_ONCE, np.uint32), np.empty(_AT_ONCE, np.bool_)
    for at in range(0, len(bands), _AT_ONCE):
        some = bands[at : at + _AT_ONCE]
        np.bitwise_and(some, low, out=asked[: len(some)])
        np.take(table, asked[: len(some)], out=told[: len(some)], mode="clip")
        found.append(np.flatnonzero(told[: len(some)]) + at)
    return np.concatenate(found)


def _bands_of(piece: _Piece, mark: Any, step: int) -> Any:
    """The bands of marked rows as `_named`."""
    import numpy as np

    widths = piece.ends - piece.starts
    at = np.flatnonzero(np.repeat(mark, widths))
    places = at - np.repeat(piece.starts[mark], widths[mark])
    return _named(piece.bands[at], places, step)


def _named(bands: Any, places: Any, step: int) -> Any:
    """Bands as uint64 with their place among `step` in the lower 8 bits."""
    return bands.astype("uint64") << 8 | (places % step).astype("uint64")


def _step(pieces: Iterable[_Piece]) -> int:
    """How many places there are; a row has one or two sets of them, and no row may have but one.

    Half as many as there are is no fault: a band is then compared with those of two places.
    """
    import numpy as np

    widths = np.concatenate([piece.ends - piece.starts for piece in pieces])
    least = int(widths[widths > 0].min(initial=np.iinfo(np.int64).max))
    return least if least % 2 else least // 2
