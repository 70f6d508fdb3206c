"""Signs of the exam: who makes rows can tell that one gives the exam away, and cannot read it.

Kept are digests: of each prompt's text key, of what it says, and MinHash bands. A row that shares
three of 21 bands and says the same is near: 94 of 100 prompts of a Jaccard index of .8 are found, 7
of 100 at .6. What gets by is found by the steps that part training rows from the exam.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from curation.minhash import sign_keys
from curation.rows import ANSWER, UTTERANCE, digest
from curation.similarity import is_short
from curation.split import half_of
from curation.tasks._base import Task
from curation.text import meaning_marks, text_key

_SHARED = 3


@dataclass(frozen=True)
class ExamSigns:
    """What `sign_exam` gives: `says[i]` of prompt i, and which prompts own each band."""

    prompts: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    owners: dict[int, list[int]] = field(default_factory=dict)

    def find(self, prompt: str, answer: str, task: Task) -> bool:
        """Whether a row with this prompt and answer would give a prompt of the exam away."""
        key = text_key(prompt)
        if digest(key) in self.prompts:
            return True
        bands = memoryview(_sign([key])[0]).cast("I")
        shared = Counter(i for band in bands for i in self.owners.get(band, ()))
        says = _says(key, answer, task)
        near = (i for i, n in shared.items() if n >= _SHARED)
        return bool(says) and any(self.says[i] == says for i in near)


def sign_exam(rows: pl.DataFrame, cases: pl.DataFrame, *, task: Task) -> ExamSigns:
    """The signs of test rows, of held-out rows of the held half, and of held bad cases.

    `rows` are of `ROW_SCHEMA` and not to train on; `cases` have prompt, gold and half.
    """
    told = rows.select("split", prompt=UTTERANCE, answer=ANSWER).iter_rows(named=True)
    pairs = [(text_key(r["prompt"]), r["answer"] or "", r["split"]) for r in told]
    exam = [(k, a) for k, a, split in pairs if split == "test" or half_of(digest(k)) == "hold"]
    held = cases.filter(pl.col("half") == "hold").select("prompt", "gold").iter_rows()
    exam = sorted({*exam, *((text_key(prompt), gold) for prompt, gold in held)})
    keys = [key for key, _ in exam]
    owners: dict[int, list[int]] = {}
    for i, bands in enumerate(_sign(keys)):
        for band in memoryview(bands).cast("I"):
            owners.setdefault(band, []).append(i)
    says = tuple(_says(key, answer, task) for key, answer in exam)
    return ExamSigns(frozenset(map(digest, keys)), says, owners)


def _sign(keys: Iterable[str]) -> pl.Series:
    return sign_keys(pl.Series([*keys], dtype=pl.String))


def _says(key: str, answer: str, task: Task) -> str:
    """Digest of what near prompts have in common that ask the same, "" of what is never the same.

    That is the canonical answer of a task with slots, else the numbers, negations and opposites.
    """
    if task.slots(answer):
        return digest(task.canonical(answer))
    return "" if is_short(key) else digest(meaning_marks(key))
