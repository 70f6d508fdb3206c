"""Similarity: the Jaccard index of character n-grams.

MinHash only proposes; every neighbour is verified on its real n-grams, so no similarity that leaves
this file is an estimate. Short Chinese texts get short n-grams: at 3 one edit in ten characters
already halves the index.
"""

import re
from functools import cache, lru_cache
from typing import Any

SCRIPTS = (2, 20, 3, 3, 40, 5)
"""For Han, then for Latin text: n where it is short, from how many characters on it is not, n then.
Han characters carry more each than Latin ones."""
SIGNED = (2, 40, 3, 3, 80, 5)
"""The same for the n-grams that a text is signed by. Near texts share even more of smaller n-grams,
and commands, most of which are below these limits, need one set of bands so.
"""
_HAN = re.compile("[\u3040-\u9fff\U00020000-\U0003ffff]+")


def gram_size(key: str) -> int:
    """Characters in an n-gram of this text: 2 or 3 where half of it is Han, else 3 or 5."""
    return _size(len(key), _script(key))


def signed_sizes(key: str, threshold: float) -> list[int]:
    """The n-gram sizes that a text is signed in, one or two, the smaller first.

    Two texts that may be as near as the threshold have one in common, no larger than that in which
    they are compared. A near text may be shorter, or of the other script where this one is of both.
    Below a threshold of about 0.5 there may be two smaller sizes; then it is the larger of them.
    """
    share, room = _han_share(key), 1 - threshold
    own = _size(len(key), SIGNED[:3] if share >= 0.5 else SIGNED[3:])
    lengths = (len(key), max(0, int(threshold * len(key)) - 4))
    scripts = [SIGNED[:3]] * (share >= 0.5 - room) + [SIGNED[3:]] * (share < 0.5 + room)
    sizes = {_size(length, script) for length in lengths for script in scripts}
    return [*sorted(size for size in sizes if size < own)[-1:], own]


def is_short(key: str) -> bool:
    """Whether one character is much of what a text says: below 20 Han or 40 Latin characters."""
    return len(key) < _script(key)[1]


def _han_share(key: str) -> float:
    """Share of Han characters at the start of a text, enough to tell its script; 1 of nothing."""
    start = key[:200]
    return (len(start) - len(_HAN.sub("", start))) / len(start) if start else 1.0


def is_han(key: str) -> bool:
    """Whether half of a text or more is Han."""
    return _han_share(key) >= 0.5


def _script(key: str) -> tuple[int, ...]:
    return SCRIPTS[:3] if is_han(key) else SCRIPTS[3:]


def _size(length: int, script: tuple[int, ...]) -> int:
    short, limit, long = script
    return short if length < limit else long


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
def solve_bands(threshold: float, permutations: int, *, recall: float = 0.989) -> tuple[int, int]:
    """(bands, rows a band) that propose the fewest wrong pairs and miss almost none.

    A pair of Jaccard index t shares a band with probability 1 - (1 - t^r)^b (Leskovec, Rajaraman,
    Ullman: Mining of Massive Datasets, 3.4). Taken is the largest r that still finds a pair at the
    threshold with probability `recall`, and all the bands there is room for: 0.8 and 128 give
    (21, 6), 0.7 just so (25, 5), which proposes a quarter of the wrong pairs of (32, 4).
    datasketch's own choice balances both errors and finds such a pair half the time.
    """
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= recall:
            return bands, rows
    raise ValueError(f"{permutations} permutations cannot find pairs at {threshold!r}; give more")


class NearIndex:
    """Text keys that can be asked which of them are near another one.

    Each comes with its bands (`minhash.sign_keys`); sharing one only proposes a neighbour, which is
    then verified.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._keys: list[str] = []
        self._names: list[Any] = []
        self._buckets: dict[int, list[int]] = {}

    def add(self, name: Any, key: str, bands: bytes) -> None:
        """Remember a text under a name."""
        for band in memoryview(bands).cast("I"):
            self._buckets.setdefault(band, []).append(len(self._keys))
        self._keys.append(key)
        self._names.append(name)

    def near(self, key: str, bands: bytes) -> list[tuple[float, Any]]:
        """(similarity, name) of the texts at least as near as the threshold, nearest first.

        Equally near ones come in the order they were added.
        """
        read = memoryview(bands).cast("I")
        found = sorted({i for band in read for i in self._buckets.get(band, ())})
        scored = [(jaccard(key, self._keys[i]), self._names[i]) for i in found]
        return sorted((s for s in scored if s[0] >= self.threshold), key=lambda s: -s[0])
