"""Which rows a verdict on some rows can depend on: those alike, and those alike to these."""

from collections.abc import Callable, Iterable, Sequence

import polars as pl

from curation.band_index import Sharing, pair_rows

Near = Callable[[pl.DataFrame], Iterable[str]]
"""Pairs of rows (id, other) to those ids that are really near their other."""
_FEW = 20_000
"""Rows, and pairs of them, up to which it is asked whether they are near."""


def find_related(
    ids: Iterable[str],
    among: Sequence[Sharing],
    read: Callable[[pl.Series], pl.DataFrame],
    *,
    most: int,
    near: Near | None = None,
) -> list[str] | None:
    """Rows that what is found about these rows can depend on, or the other way round, sorted.

    Those are the rows that share a prompt or a band with one of them, those that share one with
    these, and so on; a few may be among them that share none. None when they are more than `most`.
    `read` gives `COMPARED` of the signatures of rows, more than once for a row that had others.
    While there are few, those that share but a band count only where `near` says so: most that
    share one of many do so by chance.
    """
    related = pl.Series("id", [*ids], dtype=pl.String)
    asked = read(related)
    while not asked.is_empty():
        if len(related) > most:
            return None
        found = pl.Series("id", find_alike(among, asked), dtype=pl.String)
        new = read(found.filter(~found.is_in(related.implode())))
        asked = new if near is None else _only_near(new, asked, near)
        related = pl.concat([related, asked["id"]]).unique()
    return related.sort().to_list()


def find_alike(among: Sequence[Sharing], signed: pl.DataFrame) -> list[str]:
    """Ids of rows that share a prompt or a band with one of these (`COMPARED`), sorted."""
    return sorted({i for sharing in among for i in sharing(signed)})


def _only_near(found: pl.DataFrame, asked: pl.DataFrame, near: Near) -> pl.DataFrame:
    """Those found that share a prompt with some asked for or are near one; all of too many."""
    if found.height + asked.height > _FEW:
        return found
    pairs = pair_rows(found, asked)
    if pairs.height > _FEW:
        return found
    close = pl.Series(near(pairs), dtype=pl.String)
    same = pl.col("prompt").is_in(asked["prompt"].implode())
    return found.filter(same | pl.col("id").is_in(close.implode()))
