"""Similarity: the Jaccard index of character n-grams, and bands that tell who may be near.

MinHash only proposes; every neighbour is verified on its real n-grams, so no similarity that leaves
this file is an estimate. Short Chinese texts get short n-grams: at 3 one edit in ten characters
already halves the index.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

import polars as pl

# (n, texts shorter than this many characters): Han characters carry more each than Latin ones.
_HAN_SIZES = ((2, 20), (3, None))
_LATIN_SIZES = ((3, 40), (5, None))
_HAN = re.compile("[\u3040-\u9fff\U00020000-\U0003ffff]")


def gram_size(key: str) -> int:
    """Characters in an n-gram of this text: 2 or 3 where half of it is Han, else 3 or 5."""
    return next(n for n, limit in _sizes(key) if limit is None or len(key) < limit)


def is_short(key: str) -> bool:
    """Whether one character is much of what a text says: below 20 Han or 40 Latin characters."""
    return gram_size(key) < _sizes(key)[-1][0]


def _sizes(key: str) -> tuple[tuple[int, int | None], ...]:
    start = key[:200]  # enough to tell the script
    return _HAN_SIZES if 2 * len(_HAN.findall(start)) >= len(start) else _LATIN_SIZES


def grams(key: str, size: int) -> frozenset[str]:
    """The character n-grams of a text; a text shorter than one is its own, so none is empty."""
    return frozenset(key[i : i + size] for i in range(max(1, len(key) - size + 1)))


_known_grams = lru_cache(maxsize=2_000)(grams)
"""For texts that are compared again and again; signing sees each text once. Ten thousand sets of
n-grams are a tenth of a gigabyte."""


def jaccard(one: str, other: str) -> float:
    """Jaccard index, 0..1, of the n-grams of two text keys, in the smaller of their sizes."""
    size = min(gram_size(one), gram_size(other))
    a, b = _known_grams(one, size), _known_grams(other, size)
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@cache
def solve_bands(threshold: float, permutations: int, *, recall: float = 0.99) -> tuple[int, int]:
    """(bands, rows a band) that propose the fewest wrong pairs and miss almost none.

    A pair of Jaccard index t shares a band with probability 1 - (1 - t^r)^b (Leskovec, Rajaraman,
    Ullman: Mining of Massive Datasets, 3.4). Taken is the largest r that still finds a pair at the
    threshold with probability `recall`, and all the bands there is room for: 0.8 and 128 give
    (21, 6). datasketch's own choice balances both errors and finds such a pair half the time.
    """
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= recall:
            return bands, rows
    raise ValueError(f"{permutations} permutations cannot find pairs at {threshold!r}; give more")


class NearIndex:
    """Text keys that can be asked which of them are near another one.

    Each comes with its bands (`sign_keys`); sharing one only proposes a neighbour, which is then
    verified.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._keys: list[str] = []
        self._names: list[Any] = []
        self._buckets: dict[int, list[int]] = {}

    def add(self, name: Any, key: str, bands: Iterable[int]) -> None:
        """Remember a text under a name."""
        for band in bands:
            self._buckets.setdefault(band, []).append(len(self._keys))
        self._keys.append(key)
        self._names.append(name)

    def near(self, key: str, bands: Iterable[int]) -> list[tuple[float, Any]]:
        """(similarity, name) of the texts at least as near as the threshold, nearest first.

        Equally near ones come in the order they were added.
        """
        found = sorted({i for band in bands for i in self._buckets.get(band, ())})
        scored = [(jaccard(key, self._keys[i]), self._names[i]) for i in found]
        return sorted((s for s in scored if s[0] >= self.threshold), key=lambda s: -s[0])


def sign_keys(
    keys: Sequence[str], *, threshold: float = 0.8, permutations: int = 128, seed: int = 1
) -> pl.Series:
    """The bands of each text key, `List(UInt32)`: texts that share one may be near each other.

    `solve_bands` says how many there are. A text near a limit of length has a second set of bands,
    for the n-grams of the texts beyond that limit. Raises `ValueError` for a threshold that is no
    Jaccard index.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is {threshold!r}, not a Jaccard index in 0..1")
    import numpy as np

    bands, rows = solve_bands(threshold, permutations)
    sizes = [sorted(_reachable_sizes(key, threshold)) for key in keys]
    wanted = [(key, size) for key, own in zip(keys, sizes, strict=True) for size in own]
    signatures = [_sign(key, size, permutations, seed)[: bands * rows] for key, size in wanted]
    tags = np.array([size for _, size in wanted], dtype=np.uint64)
    starts = tags[:, None] * 0x9E3779B97F4A7C15 + np.arange(bands, dtype=np.uint64)
    mixed = _mix_bands(np.array(signatures).reshape(-1, bands, rows), starts)
    short = mixed.astype(np.uint32)  # every pair is verified, so a chance one costs only time
    lists = pl.Series(short, dtype=pl.Array(pl.UInt32, bands)).cast(pl.List(pl.UInt32))
    owner = pl.Series(np.repeat(np.arange(len(keys)), [len(own) for own in sizes]))
    grouped = pl.DataFrame({"owner": owner, "bands": lists}).explode("bands")
    return grouped.group_by("owner", maintain_order=True).agg("bands")["bands"]


def _reachable_sizes(key: str, threshold: float) -> set[int]:
    """The n-gram sizes under which a text can meet one as near as the threshold.

    A text a little longer than a limit may have its neighbour below it, where n is smaller.
    """
    shortest = key[: int(threshold * len(key)) - 4]
    return {gram_size(key), gram_size(shortest)} if shortest else {gram_size(key)}


def _sign(key: str, size: int, permutations: int, seed: int) -> Any:
    """datasketch's MinHash of a key's n-grams, uint32."""
    signature = _blank(permutations, seed).copy()
    signature.update_batch([g.encode() for g in grams(key, size)])
    return signature.hashvalues


def _mix_bands(signatures: Any, starts: Any) -> Any:
    """One uint64 for each band, of its lanes and what its place starts from (splitmix64)."""
    mixed = starts
    for lane in range(signatures.shape[2]):
        mixed = _stir(mixed ^ signatures[:, :, lane].astype(starts.dtype))
    return mixed


def _stir(x: Any) -> Any:
    x = x + 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@cache
def _blank(permutations: int, seed: int) -> Any:
    """An empty signature: making its permutations costs more than a short text."""
    from datasketch import MinHash

    return MinHash(num_perm=permutations, seed=seed, hashfunc=zlib.crc32, scheme="affine32")
