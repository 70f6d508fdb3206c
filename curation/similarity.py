"""Similarity: the Jaccard index of character n-grams, and an index that finds who is near.

MinHash only proposes; every neighbour is verified on its real n-grams, so no similarity that leaves
this file is an estimate. Short Chinese texts get short n-grams: at 3 one edit in ten characters
already halves the index.
"""

import re
import zlib
from functools import cache, lru_cache
from typing import Any

# (n, texts shorter than this many characters): Han characters carry more each than Latin ones.
_HAN_SIZES = ((2, 20), (3, None))
_LATIN_SIZES = ((3, 40), (5, None))
_HAN = re.compile("[\u3040-\u9fff\U00020000-\U0003ffff]")
_FEW = 32  # up to here comparing with everybody is cheaper than a signature


def gram_size(key: str) -> int:
    """Characters in an n-gram of this text: 2 or 3 where half of it is Han, else 3 or 5."""
    return next(n for n, limit in _sizes(key) if limit is None or len(key) < limit)


def is_short(key: str) -> bool:
    """Whether one character is much of what a text says: below 20 Han or 40 Latin characters."""
    return gram_size(key) < _sizes(key)[-1][0]


def _sizes(key: str) -> tuple[tuple[int, int | None], ...]:
    start = key[:200]  # enough to tell the script
    return _HAN_SIZES if 2 * len(_HAN.findall(start)) >= len(start) else _LATIN_SIZES


@lru_cache(maxsize=200_000)
def grams(key: str, size: int) -> frozenset[str]:
    """The character n-grams of a text; a text shorter than one is its own, so none is empty."""
    return frozenset(key[i : i + size] for i in range(max(1, len(key) - size + 1)))


def jaccard(one: str, other: str) -> float:
    """Jaccard index, 0..1, of the n-grams of two text keys, in the smaller of their sizes."""
    size = min(gram_size(one), gram_size(other))
    a, b = grams(one, size), grams(other, size)
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

    Few are compared directly; many are proposed by datasketch's `MinHashLSH`, and then verified.
    """

    def __init__(self, *, threshold: float = 0.8, permutations: int = 128, seed: int = 1):
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold is {threshold!r}, not a Jaccard index in 0..1")
        self.threshold, self.permutations, self.seed = threshold, permutations, seed
        self._keys: list[str] = []
        self._names: list[Any] = []
        self._tables: dict[int, Any] = {}  # by n-gram size

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, name: Any, key: str) -> None:
        """Remember a text under a name."""
        self._keys.append(key)
        self._names.append(name)
        if len(self) == _FEW + 1:
            for i, known in enumerate(self._keys):
                self._insert(i, known)
        elif len(self) > _FEW:
            self._insert(len(self) - 1, key)

    def near(self, key: str) -> list[tuple[float, Any]]:
        """(similarity, name) of the texts at least as near as the threshold, nearest first.

        Equally near ones come in the order they were added.
        """
        found = range(len(self)) if len(self) <= _FEW else sorted(self._propose(key))
        scored = [(jaccard(key, self._keys[i]), self._names[i]) for i in found]
        return sorted((s for s in scored if s[0] >= self.threshold), key=lambda s: -s[0])

    def _propose(self, key: str) -> set[int]:
        sizes = self._sizes(key) & self._tables.keys()
        return {i for n in sizes for i in self._tables[n].query(self._sign(key, n))}

    def _insert(self, number: int, key: str) -> None:
        from datasketch import MinHashLSH

        for size in self._sizes(key):
            if size not in self._tables:
                bands = solve_bands(self.threshold, self.permutations)
                self._tables[size] = MinHashLSH(num_perm=self.permutations, params=bands)
            self._tables[size].insert(number, self._sign(key, size))

    def _sizes(self, key: str) -> set[int]:
        """The sizes under which a text can meet one as near as the threshold.

        A text a little longer than a limit may have its neighbour below it, where n is smaller.
        """
        own = gram_size(key)
        shortest = key[: int(self.threshold * len(key)) - 4]
        return {own, gram_size(shortest)} if shortest else {own}

    def _sign(self, key: str, size: int) -> Any:
        signature = _blank(self.permutations, self.seed).copy()
        signature.update_batch([g.encode() for g in grams(key, size)])
        return signature


@cache
def _blank(permutations: int, seed: int) -> Any:
    """An empty signature: making its permutations costs more than a short text."""
    from datasketch import MinHash

    return MinHash(num_perm=permutations, seed=seed, hashfunc=zlib.crc32, scheme="affine32")
