"""Text quality by fastText: how much a row reads like the trusted rows rather than like garbage.

The garbage is made from the trusted rows themselves, so nothing has to be labelled. A bag of words
cannot see a wrong answer and knows only the kinds of garbage it was shown: a style filter, no more.

fastText 0.9.3 leaves most of its input matrix uninitialised below ten threads, and more threads are
not reproducible. One thread, no hashed n-grams (`bucket=0`, our own bigram tokens instead) and
given start vectors for every token make training right, small and the same to the last byte.
"""

import hashlib
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation.plugins import plugin
from curation.scorers._base import ScoreContext, Scorer, fold_of, spoken_text

_TOKEN = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
_RARE = "_rare_"
_JUNK = "锟斤拷烫屯\ufffd#@$%^&*~|qxzkvj"
_MAX_TOKENS = 1000  # fastText cuts lines that are much longer, without a word


@plugin(uses=("reference",))
def fasttext_quality(
    *, folds: int = 2, max_rows: int = 2000, dim: int = 16, epochs: int = 10, seed: int = 1
) -> Scorer:
    """Probability, 0..1, that a row is no garbage; null where there is no reference to learn from.

    Each row is judged by a model that did not see its fold, trained on at most `max_rows` trusted
    rows and as many corrupted ones.
    """

    def score(rows: pl.DataFrame, context: ScoreContext) -> pl.Series:
        known = _with_texts(context.reference, folds).sort("id")
        asked = _with_texts(rows, folds).with_row_index("place")
        scores: list[float | None] = [None] * rows.height
        for fold in range(folds):
            learned = known.filter((pl.col("fold") != fold) & (pl.col("text") != ""))
            part = asked.filter(pl.col("fold") == fold)
            if learned.height and part.height:
                texts = learned["text"].to_list()[:max_rows]
                model = train_quality(texts, dim=dim, epochs=epochs, seed=seed)
                for place, value in zip(part["place"], model.score(part["text"]), strict=True):
                    scores[place] = value
        return pl.Series(scores, dtype=pl.Float64)

    return score


class QualityModel:
    """A trained classifier with its vocabulary; a token outside it counts as a rare one."""

    def __init__(self, model: Any, vocabulary: frozenset[str]):
        self.model, self.vocabulary = model, vocabulary

    def score(self, texts: Iterable[str]) -> list[float | None]:
        """P(no garbage) of each text, 0..1; null for an empty one."""
        lines = [_line(text, self.vocabulary) for text in texts]
        if not any(lines):
            return [None] * len(lines)
        # A list and never one text: `predict(str)` raises on NumPy 2.
        labels, chances = self.model.predict([line or _RARE for line in lines], k=2)
        good = [c[pair.index("__label__good")] for pair, c in zip(labels, chances, strict=True)]
        return [min(1.0, float(g)) if line else None for line, g in zip(lines, good, strict=True)]

    def bytes(self) -> bytes:
        """The model file; the same for the same texts and options."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.bin"
            self.model.save_model(str(path))
            return path.read_bytes()


def train_quality(
    texts: Sequence[str], *, dim: int = 16, epochs: int = 10, seed: int = 1
) -> QualityModel:
    """A model of these texts against their corruptions; `ValueError` when it is not finite."""
    import fasttext

    spoiled = [spoil_text(text, seed=seed) for text in texts]
    counts = Counter(t for text in [*texts, *spoiled] for t in set(_tokens(text)))
    vocabulary = frozenset(t for t, n in counts.items() if n > 1)
    lines = [f"__label__good {_line(t, vocabulary)}" for t in texts]
    lines += [f"__label__bad {_line(t, vocabulary)}" for t in spoiled]
    lines.sort(key=lambda line: hashlib.sha256(line.encode()).digest())
    with tempfile.TemporaryDirectory() as folder:
        corpus, vectors = Path(folder) / "corpus.txt", Path(folder) / "vectors.txt"
        corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
        vectors.write_text(_start_vectors(vocabulary, dim, seed), encoding="utf-8")
        model = fasttext.train_supervised(
            str(corpus), dim=dim, epoch=epochs, lr=0.5, loss="softmax", seed=seed, verbose=0,
            thread=1, bucket=0, wordNgrams=1, minn=0, maxn=0, minCount=1,
            pretrainedVectors=str(vectors),
        )  # fmt: skip
    matrices = (model.get_input_matrix(), model.get_output_matrix())
    if not all(np.isfinite(matrix).all() for matrix in matrices):
        raise ValueError("fastText trained a matrix that is not finite")
    return QualityModel(model, vocabulary)


def spoil_text(text: str, *, seed: int) -> str:
    """The text made into garbage, in one of five ways that the text itself decides.

    Characters shuffled, UTF-8 read as Latin-1, a span repeated, two of three characters replaced,
    or cut off inside a phrase that is then said again and again.
    """
    rng = random.Random(hashlib.sha256(f"{seed}:{text}".encode()).digest())
    characters = list(text)
    kind = rng.choice(("shuffled", "misread", "repeated", "replaced", "stuck"))
    if kind == "shuffled":
        rng.shuffle(characters)
        return "".join(characters)
    if kind == "misread":
        misread = text.encode().decode("latin-1")[: 2 * len(text) + 2]
        return misread if misread != text else "".join(f"{c}\ufffd" for c in characters)
    if kind == "replaced":
        return "".join(
            rng.choice("锟斤拷烫屯�#@$%^&*~|qxzkvj") if i % 3 else c for i, c in enumerate(text)
        )
    start = rng.randrange(len(text))
    span = text[start : start + rng.randint(1, 6)] or text
    if kind == "repeated":
        return text[:start] + span * rng.randint(4, 12) + text[start:]
    return text[: start + len(span)] + span * rng.randint(6, 20)


def _tokens(text: str) -> list[str]:
    """Words, numbers and single Han characters, and each pair of neighbours."""
    single = _TOKEN.findall(text.lower())[:_MAX_TOKENS]
    return [*single, *(f"{a}_{b}" for a, b in zip(single, single[1:], strict=False))]


def _line(text: str, vocabulary: frozenset[str]) -> str:
    """The tokens of a text as fastText reads them; "" when there are none."""
    return " ".join(t if t in vocabulary else _RARE for t in _tokens(text))


def _start_vectors(vocabulary: frozenset[str], dim: int, seed: int) -> str:
    """Vectors for every token, uniform within 1 / dim as fastText's own are meant to be."""
    words = [*sorted(vocabulary | {_RARE}), "</s>"]
    values = np.random.default_rng(seed).uniform(-1 / dim, 1 / dim, (len(words), dim))
    numbers = (" ".join(f"{v:.6f}" for v in line) for line in values)
    lines = [f"{word} {line}\n" for word, line in zip(words, numbers, strict=True)]
    return f"{len(words)} {dim}\n" + "".join(lines)


def _with_texts(rows: pl.DataFrame, folds: int) -> pl.DataFrame:
    folded = pl.Series([fold_of(i, folds) for i in rows["id"]], dtype=pl.Int64)
    return rows.select("id", text=spoken_text(rows), fold=folded)
