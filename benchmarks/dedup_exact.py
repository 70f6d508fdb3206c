"""What is true of near-duplicates: every pair that is as near as the threshold, and what follows.

Two texts of Jaccard index t share at least t times the n-grams of the larger one, so they share k
of the rarest `n - t * n + k` of each (Wang, Li, Feng: Can We Beat the Prefix Filtering?, SIGMOD
2012). Pairs that share so many are all that need to be looked at; every one of them is then
compared by `similarity.jaccard`. Nothing is estimated, and nothing is taken from the plant.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from curation.similarity import gram_size, jaccard

_SHARED = 4
"""The k above, or all that a pair must share where that is less."""
PAIRS = pl.Schema({"one": pl.UInt32, "other": pl.UInt32, "similarity": pl.Float64})


class Judged(NamedTuple):
    """How a candidate decided, as shares 0..1; NaN where there was nothing to decide."""

    recall_7: float
    recall_8: float
    false_merges: float
    meanings_lost: float
    dropped: int


def exact_pairs(texts: pl.Series, threshold: float) -> pl.DataFrame:
    """All pairs of `PAIRS`, lines with one < other, whose Jaccard index reaches the threshold."""
    sizes = pl.Series([gram_size(text) for text in texts], dtype=pl.Int64)
    found = [pl.DataFrame(schema=PAIRS)]
    for size in sorted(sizes.unique()):
        lines = (sizes >= size).arg_true()
        pairs = _share_rare(texts.gather(lines), size, threshold)
        pairs = pairs.select(pl.all().map_batches(lambda at, lines=lines: lines.gather(at)))
        own = pl.min_horizontal(*(_size_at(sizes, side) for side in ("one", "other"))) == size
        pairs = pairs.with_columns(pl.all().cast(pl.UInt32)).filter(own)
        similar = [jaccard(texts[a], texts[b]) for a, b in pairs.iter_rows()]
        near = pairs.with_columns(similarity=pl.Series(similar, dtype=pl.Float64))
        found.append(near.filter(pl.col("similarity") >= threshold))
    return pl.concat(found).sort("one", "other")


def judge(
    frame: pl.DataFrame, pairs: pl.DataFrame, dropped: Mapping[int, Any], threshold: float
) -> Judged:
    """What dropping these lines of the rows (`dedup_data.SCHEMA`) gets right and wrong.

    A pair is found when one of it is dropped. A merge is false when no kept row is as near as the
    threshold. Pairs planted to differ in meaning are left out of the recall; of them a meaning is
    lost when one is dropped.
    """
    gone = np.zeros(frame.height, np.bool_)
    gone[list(dropped)] = True
    pairs = pairs.filter(pl.col("other") < frame.height)
    one, other = pairs["one"].to_numpy(), pairs["other"].to_numpy()
    rows = frame.with_columns(gone=pl.Series(gone))
    meaning = rows.filter(pl.col("plant") == "meaning").group_by("family").agg(pl.col("gone").any())
    same = _same_meaning(frame, one, other)
    found, similarity = gone[one] | gone[other], pairs["similarity"].to_numpy()
    has_keeper = np.zeros(frame.height, np.bool_)
    for row, keeper in ((one, other), (other, one)):
        has_keeper[row[~gone[keeper] & (similarity >= threshold)]] = True
    return Judged(
        _mean(found[same & (similarity >= 0.7)]),
        _mean(found[same & (similarity >= 0.8)]),
        _mean(~has_keeper[gone]) if gone.any() else 0.0,
        _mean(meaning["gone"].to_numpy()),
        int(gone.sum()),
    )


def proposed(pairs: pl.DataFrame, frame: pl.DataFrame, bands: pl.Series, least: float) -> float:
    """Share of the exact pairs from `least` on that share a band."""
    one, other = pairs["one"].to_numpy(), pairs["other"].to_numpy()
    same = pl.Series(_same_meaning(frame, one, other))
    near = pairs.filter(same & (pl.col("similarity") >= least))
    pairs_of = zip(bands.gather(near["one"]), bands.gather(near["other"]), strict=True)
    shared = [not {*_numbers(one)}.isdisjoint(_numbers(other)) for one, other in pairs_of]
    return _mean(np.array(shared))


def _numbers(packed: bytes) -> memoryview:
    return memoryview(packed).cast("I")


def _same_meaning(frame: pl.DataFrame, one: Any, other: Any) -> Any:
    """Whether the two are not a pair planted to differ in meaning."""
    family, planted = frame["family"].to_numpy(), (frame["plant"] == "meaning").to_numpy()
    return ~(planted[one] & (family[one] == family[other]))


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else math.nan


def _size_at(sizes: pl.Series, side: str) -> pl.Expr:
    return pl.col(side).map_batches(lambda lines: sizes.gather(lines), return_dtype=pl.Int64)


def _share_rare(texts: pl.Series, size: int, threshold: float) -> pl.DataFrame:
    """Places one < other of the texts that share k of the rarest n-grams of each."""
    grams = _grams(texts, size).sort("line", "often", "gram")
    number = pl.col("number").cast(pl.Int64)
    alone = number - pl.len().over("line")  # n-grams of no other text are rarer than these
    least = (number * threshold - 1e-9).ceil().cast(pl.Int64)
    grams = grams.with_columns(place=pl.int_range(pl.len()).over("line") + alone)
    grams = grams.with_columns(least=least, shared=pl.min_horizontal(least, _SHARED))
    rare = pl.col("place") < pl.col("number") - pl.col("least") + pl.col("shared")
    prefixes = grams.filter(rare).select("line", "gram", "shared")
    both = prefixes.join(prefixes, on="gram", suffix="_other")
    both = both.filter(pl.col("line") < pl.col("line_other"))
    wanted = pl.min_horizontal("shared", "shared_other").first()
    pairs = both.group_by("line", "line_other").agg(enough=pl.len() >= wanted)
    return pairs.filter("enough").select(one="line", other="line_other").sort("one", "other")


def _grams(texts: pl.Series, size: int) -> pl.DataFrame:
    """The n-grams that several texts have: line, gram, how often, and the number of the line's.

    They are 64-bit hashes; two with one hash would only propose a pair more.
    """
    points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = texts.str.len_chars().to_numpy().astype(np.int64)
    if len(texts) and lengths.min() < size:
        raise ValueError(f"a text is shorter than its n-grams of {size} characters")
    counts = lengths - size + 1
    firsts = lengths.cumsum() - lengths
    starts = np.repeat(firsts - counts.cumsum() + counts, counts) + np.arange(counts.sum())
    hashes = np.zeros(len(starts), np.uint64)
    for at in range(size):
        hashes = (hashes ^ points[starts + at]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    lines = np.repeat(np.arange(len(texts), dtype=np.uint32), counts)
    order = np.argsort(hashes, kind="stable")
    hashes, lines = hashes[order], lines[order]
    changed = np.concatenate(([True], hashes[1:] != hashes[:-1]))
    first = changed | np.concatenate(([True], lines[1:] != lines[:-1]))  # of its text
    grams, lines = changed.cumsum()[first], lines[first]
    often, number = np.bincount(grams)[grams], np.bincount(lines)[lines]
    columns = {"line": lines, "gram": grams, "often": often, "number": number}
    return pl.DataFrame({name: values[often > 1] for name, values in columns.items()})
