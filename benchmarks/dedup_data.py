"""Texts to find near-duplicates in, drawn by seed: utterances, 300 characters, mixed lengths.

They come in chunks of a thousand, each drawn on its own, so the first n chunks are the same however
many follow. A chunk has single texts, texts with an edited copy (and a third with a copy of the
copy), edited until the Jaccard index lies in a band, and pairs in which one word turns the meaning:
26 and 22 degrees, on and off, do and do not. What the plant says is only what was aimed at;
`dedup_exact.py` computes what is true.
"""

import random
from collections.abc import Callable
from functools import cache, partial
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pyarrow.parquet import ParquetWriter

from curation.similarity import gram_size, jaccard
from curation.text import text_keys

CHUNK, AT_ONCE = 1_000, 100
"""Rows of a chunk, and chunks that a process draws at a time."""
BANDS = ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0))
NEAR, MEANING = 25, 25
"""Edited texts of each band, and pairs that differ in meaning, in a chunk."""
SCHEMA = pl.Schema({"text": pl.String, "family": pl.Int64, "plant": pl.String})
"""A plant is single | near | meaning; near-duplicates of one text are a family."""
ARROW = SCHEMA.to_frame().to_arrow().schema
TURNS = {
    "zh": (("打开", "关闭"), ("调到26度", "调到22度"), ("要提醒我", "不要提醒我")),
    "en": (("switch it on", "switch it off"), ("set 26 c", "set 22 c"), ("do it", "do not do it")),
}
HAN = bytes(
    b for high in range(0xB0, 0xD7) for low in range(0xA1, 0xFF) for b in (high, low)
).decode("gb2312")
"""The common simplified characters: the first level of GB 2312."""
LETTERS = "etaoinshrdlucmfwypvbgk"


class Kind(NamedTuple):
    """What the texts of a data set are: how long, and in which languages."""

    shortest: int
    longest: int
    languages: tuple[str, ...]
    says: str


KINDS = {
    "utterances": Kind(8, 30, ("zh",), "Chinese utterances of 8 to 30 characters"),
    "zh300": Kind(250, 350, ("zh",), "Chinese, about 300 characters"),
    "en300": Kind(250, 350, ("en",), "English, about 300 characters"),
    "mixed": Kind(8, 1_200, ("zh", "en"), "Chinese and English, 8 to 1,200 characters"),
}


def read_texts(kind: str, rows: int, folder: Path, *, seed: int = 0) -> Path:
    """The Parquet file of so many normalised texts, written if it is not there.

    `rows` are whole chunks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{rows}-{seed}.parquet"
    if not path.exists():
        part, draw = path.with_suffix(".part"), partial(_draw_frame, kind, seed)
        starts = range(0, rows // CHUNK, AT_ONCE)
        numbers = [range(at, min(at + AT_ONCE, rows // CHUNK)) for at in starts]
        with (
            get_context("spawn").Pool() as pool,
            ParquetWriter(part, ARROW, compression="zstd") as out,
        ):
            for frame in pool.imap(draw, numbers):
                out.write_table(frame.to_arrow())
        part.replace(path)
    return path


def _draw_frame(kind: str, seed: int, numbers: range) -> pl.DataFrame:
    """Some chunks as they are written."""
    rows = [row for number in numbers for row in draw_chunk(kind, number, seed=seed)]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return frame.with_columns(text_keys(frame["text"]))


def draw_chunk(kind: str, number: int, *, seed: int = 0) -> list[tuple[str, int, str]]:
    """A thousand rows of `SCHEMA`, best first; families never reach into another chunk."""
    rng = random.Random(f"{kind} {number} {seed}")
    base = number * CHUNK
    families: list[tuple[str, list[str]]] = []
    for band in BANDS * NEAR:
        texts = _edited(partial(_draw, KINDS[kind], rng), band, rng)
        if rng.random() < 1 / 3:
            texts += edit_into(texts[-1], band, rng)
        families.append(("near", texts))
    families += [("meaning", _turned(*_draw(KINDS[kind], rng), rng)) for _ in range(MEANING)]
    room = CHUNK - sum(len(texts) for _, texts in families)
    families += [("single", [_draw(KINDS[kind], rng)[0]]) for _ in range(room)]
    rows = [(t, base + i, plant) for i, (plant, texts) in enumerate(families) for t in texts]
    rng.shuffle(rows)
    return rows


def _edited(
    draw: Callable[[], tuple[str, str]], band: tuple[float, float], rng: random.Random
) -> list[str]:
    """A text and its edited copy; of a text too short for the band another one is taken."""
    while True:
        text = draw()[0]
        if copies := edit_into(text, band, rng):
            return [text, *copies]


def edit_into(text: str, band: tuple[float, float], rng: random.Random) -> list[str]:
    """The text edited until its Jaccard index to what it was lies in the band; none for never."""
    low, high = band
    aim = rng.uniform(low, high)
    edits = max(1, round(len(text) * (1 - aim) / (1 + aim) / gram_size(text)))
    for _ in range(12):
        copy = text
        for _ in range(edits):
            copy = _edit(copy, rng)
        found = jaccard(text, copy)
        if low <= found < high and copy == copy.strip():
            return [copy]
        edits = max(1, edits + (1 if found >= high else -1))
    return []


def _edit(text: str, rng: random.Random) -> str:
    """One character replaced, put in or left out."""
    at, kind = rng.randrange(len(text)), rng.randrange(3)
    new = "" if kind == 2 else rng.choice(LETTERS if text[at].isascii() else HAN)
    return text[:at] + new + text[at + (kind != 1) :]


def _turned(text: str, language: str, rng: random.Random) -> list[str]:
    """The text with a word in the middle, and the same with what turns its meaning."""
    middle = text.find(" ", len(text) // 2) if language == "en" else len(text) // 2
    middle = len(text) if middle < 0 else middle
    start, end = text[:middle], text[middle:]
    space = " " if language == "en" else ""
    return [f"{start}{space}{word}{end}" for word in rng.choice(TURNS[language])]


def _draw(kind: Kind, rng: random.Random) -> tuple[str, str]:
    """A text and its language."""
    language = rng.choice(kind.languages)
    far = kind.longest / kind.shortest
    length = round(kind.shortest * far ** rng.random()) if far > 10 else rng.randint(*kind[:2])
    words, weights = _words(language)
    count = length if language == "zh" else length // 3
    joined = ("" if language == "zh" else " ").join(
        rng.choices(words, cum_weights=weights, k=count + 1)
    )
    return joined[:length].strip(), language


@cache
def _words(language: str) -> tuple[list[str], list[float]]:
    """Eight thousand words and their summed frequencies, falling with the root of the rank."""
    rng = random.Random(language)
    sizes = (1, 2, 2, 2, 3) if language == "zh" else (2, 3, 4, 5, 6, 7, 8)
    characters = HAN if language == "zh" else LETTERS
    drawn = ("".join(rng.choices(characters, k=rng.choice(sizes))) for _ in range(8_000))
    words = list(dict.fromkeys(drawn))
    return words, list(accumulate(rank**-0.5 for rank in range(1, len(words) + 1)))
