"""Rows that are known: whether a proposal says anything that none of them says.

A prompt is known in any typography, and nearly known where its n-grams are nearly those of a known
one and the answer is the same. So 打开左窗 beside 打开右窗 is new, as contrast pairs have to be.
"""

from collections.abc import Sequence

import polars as pl

from curation.minhash import flat_bands, sign_keys
from curation.similarity import NearIndex, is_short, jaccard
from curation.tasks._base import Task
from curation.text import meaning_marks, text_key, text_keys

REPEATS, NEAR = "repeats_a_known_prompt", "near_a_known_row"
THRESHOLD = 0.8


class KnownRows:
    """The (prompt, answer) pairs there are, to which accepted ones are added."""

    def __init__(self, task: Task, prompts: Sequence[str], answers: Sequence[str]):
        import numpy as np

        self._task, self._answers = task, list(answers)
        keys = text_keys(pl.Series(prompts, dtype=pl.String))
        self._keys, self._exact = keys.to_list(), set(keys)
        bands, ends = flat_bands(sign_keys(keys, threshold=THRESHOLD))
        owners = np.repeat(np.arange(len(keys)), np.diff(ends, prepend=0))
        order = np.argsort(bands, kind="stable")
        self._bands, self._owners = bands[order], owners[order]
        self._later = NearIndex(THRESHOLD)

    def find(self, prompt: str, answer: str) -> str:
        """ "" for a row that is new, else why it is not: `REPEATS` or `NEAR`."""
        key = text_key(prompt)
        if key in self._exact:
            return REPEATS
        bands = _sign(key)
        near = [*self._before(key, bands), *(n for _, n in self._later.near(key, bands))]
        says = self._says(key, answer)
        return NEAR if says and any(self._says(*other) == says for other in near) else ""

    def add(self, prompt: str, answer: str) -> None:
        """Count a row among those that are known."""
        key = text_key(prompt)
        self._exact.add(key)
        self._later.add((key, answer), key, _sign(key))

    def _before(self, key: str, bands: bytes) -> list[tuple[str, str]]:
        """Those known from the start that are near."""
        import numpy as np

        asked = np.frombuffer(bands, np.uint32)
        start, end = (np.searchsorted(self._bands, asked, side) for side in ("left", "right"))
        found = {int(i) for a, b in zip(start, end, strict=True) for i in self._owners[a:b]}
        near = (i for i in sorted(found) if jaccard(key, self._keys[i]) >= THRESHOLD)
        return [(self._keys[i], self._answers[i]) for i in near]

    def _says(self, key: str, answer: str) -> str | tuple[str, ...]:
        """What near prompts have in common that ask the same; "" of one that is never the same."""
        if self._task.slots(answer):
            return self._task.canonical(answer)
        return "" if is_short(key) else meaning_marks(key)


def _sign(key: str) -> bytes:
    return sign_keys(pl.Series([key]), threshold=THRESHOLD).item()
