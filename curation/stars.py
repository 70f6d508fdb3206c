"""Stars: rows that are equal to a better one, each with the kept row it goes into.

Rows are taken in the order of rank. One goes into the nearest kept row it is equal to, and is kept
itself where there is none; so a row only ever goes because of a row that stays, and no chain of
near pairs pulls rows together that differ. Two engines give the same: the index in Python, which
can also be asked for one row, and a compiled kernel for many.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import polars as pl

from curation.minhash import flat_bands, pack_bands, sign_columns
from curation.progress import Progress, Report, silent
from curation.similarity import SCRIPTS, NearIndex, is_short, jaccard
from curation.text import meaning_marks
from curation.text_spans import TextSpans, text_spans

STAR_SCHEMA = pl.Schema({"id": pl.String, "into": pl.String, "similarity": pl.Float64})
_MANY = 2_000
"""Rows from which on the kernel is worth loading."""


def merge_stars(
    rows: pl.DataFrame,
    *,
    threshold: float,
    report: Report = silent,
    engine: Literal["kernel", "python"] | None = None,
) -> pl.DataFrame:
    """The rows that repeat a better one, of `STAR_SCHEMA`, in the order they came.

    `rows` are signatures with the columns split, track, prompt_text and answer_text, the best row
    first. `into` is a kept row of the same block (`blocks`), `similarity` the Jaccard index of the
    prompts, or of the answers where that is smaller. Without an `engine` the number of rows
    decides.
    """
    engine = engine or ("kernel" if rows.height >= _MANY else "python")
    if engine == "kernel":
        return _merge_compiled(rows, threshold)
    progress = Progress(rows.height, "near duplicates", report)
    return pl.DataFrame(_merge_each(rows, threshold, progress), schema=STAR_SCHEMA, orient="row")


def merge_texts(
    keys: pl.Series, *, threshold: float = 0.8, report: Report = silent
) -> pl.DataFrame:
    """Texts that repeat a better one, the best first: `line`, `into` (lines) and `similarity`.

    Nothing but the texts is compared; equal ones have similarity 1. Of rows, which have answers and
    labels, `dedup.find_duplicates` knows more.
    """
    import numpy as np

    from curation import star_kernel
    from curation.bucket_kernel import name_buckets

    n = len(keys)
    bands, owners = sign_columns(keys, threshold=threshold)
    report(f"{n:,} texts are signed")
    rows, names, n_buckets = name_buckets(bands, owners, n)
    del bands, owners
    shares = np.zeros(n, np.bool_)
    shares[rows] = True
    lines, places = np.flatnonzero(shares), shares.cumsum(dtype=np.int32) - np.int32(1)
    texts = _cards(text_spans(keys).gather(lines), threshold)
    into, similarity = np.empty(len(lines), np.int64), np.empty(len(lines), np.float64)
    members = places[rows], names, n_buckets
    star_kernel.merge_stars(texts, texts, members, threshold, into, similarity)
    gone = into >= 0
    found = {"line": lines[gone], "into": lines[into[gone]], "similarity": similarity[gone]}
    return pl.DataFrame(found)


class RowIndex:
    """Signed rows with their texts that can be asked for one that is equal to another row."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._blocks: dict[tuple[Any, ...], NearIndex] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Remember a row, after those it is no better than."""
        if _is_comparable(row):
            self._block(row).add(row, row["prompt_text"], row["bands"])

    def find(self, row: dict[str, Any]) -> tuple[float, str] | None:
        """(similarity, id) of the nearest equal row, the one added first of several; or none."""
        if not _is_comparable(row):
            return None
        near = self._block(row).near(row["prompt_text"], row["bands"])
        if row["certain"]:
            return next(((s, other["id"]) for s, other in near), None)
        found = ((self._compare(row, other, s), other["id"]) for s, other in near)
        return next((f for f in found if f[0] >= self.threshold), None)

    def _block(self, row: dict[str, Any]) -> NearIndex:
        """The rows this one can be equal to: of the same slots, or whose prompt means the same."""
        says = row["answer"] if row["certain"] else meaning_marks(row["prompt_text"])
        block = (row["split"], row["track"], row["context"], row["certain"], says)
        if block not in self._blocks:
            self._blocks[block] = NearIndex(self.threshold)
        return self._blocks[block]

    def _compare(self, row: dict[str, Any], other: dict[str, Any], similarity: float) -> float:
        """The smaller similarity of two free-text rows; 0 where they do not say the same."""
        if row["answer"] == other["answer"]:
            return similarity
        says, other_says = _free_answer(row), _free_answer(other)
        if not says or says != other_says:
            return 0.0
        return min(similarity, jaccard(row["answer_text"], other["answer_text"]))


def _is_comparable(row: dict[str, Any]) -> bool:
    """Whether a near prompt may ask the same: in a short text one character is a meaning."""
    return row["certain"] or not is_short(row["prompt_text"])


def _free_answer(row: dict[str, Any]) -> tuple[str, ...]:
    """What an answer in free words must have in common with one it is near to; else nothing."""
    if row["labelled"] or is_short(row["answer_text"]):
        return ()
    return meaning_marks(row["answer_text"])


def _merge_each(
    rows: pl.DataFrame, threshold: float, progress: Progress
) -> Iterator[tuple[str, str, float]]:
    index = RowIndex(threshold)
    for row in rows.iter_rows(named=True):
        found = index.find(row)
        if found:
            yield row["id"], found[1], found[0]
        else:
            index.add(row)
        progress.step()


def _merge_compiled(rows: pl.DataFrame, threshold: float) -> pl.DataFrame:
    import numpy as np

    from curation import star_kernel
    from curation.bucket_kernel import name_buckets

    rows = rows.filter("certain" | ~_short("prompt_text"))
    prompt = _marks(rows.with_columns(skip=pl.col("certain")), "prompt_text")
    free = ~pl.col("labelled") & ~_short("answer_text")
    alike = _marks(rows.with_columns(skip=~free), "answer_text")
    labels = {"prompt": prompt, "answer": rows["answer"], "alike": alike, "block": blocks(rows)}
    labels = pl.DataFrame(labels).select(
        block=pl.struct("block", "prompt").hash(),
        same=pl.struct("block", "prompt", "answer").hash(),
        alike=pl.when(pl.col("alike") != 0).then(pl.struct("block", "prompt", "alike").hash()),
    )
    members = name_buckets(*_band_columns(rows["bands"], labels["block"]), rows.height)
    into, similarity = np.empty(rows.height, np.int64), np.empty(rows.height, np.float64)
    prompts, answers = (
        _cards(text_spans(rows[name]), threshold) for name in ("prompt_text", "answer_text")
    )
    prompts[1][:, star_kernel.SAME] = labels["same"]
    prompts[1][:, star_kernel.ALIKE] = labels["alike"].fill_null(0)
    star_kernel.merge_stars(prompts, answers, members, threshold, into, similarity)
    found = rows.select("id", into=pl.Series(into), similarity=pl.Series(similarity))
    found = found.filter(pl.col("into") >= 0)
    return found.with_columns(into=rows["id"].gather(found["into"]))


def _cards(texts: TextSpans, threshold: float) -> tuple[Any, Any]:
    """Texts as the kernel compares them: the bytes of all, and a card for each without labels."""
    import numpy as np

    from curation import kernels, star_kernel

    cards = np.zeros((len(texts.starts), star_kernel.CARD), np.uint64)
    cards[:, star_kernel.START], cards[:, star_kernel.END] = texts.starts, texts.ends
    kernels.outline(*texts, threshold, SCRIPTS, cards)
    return texts.data, cards


def _band_columns(packed: pl.Series, block: pl.Series) -> tuple[Any, Any]:
    """What `name_buckets` takes: `sign_columns`, each band mixed with the block of its row.

    Where two that differ become one by chance, the rows are compared in vain.
    """
    import numpy as np

    bands, ends = flat_bands(packed)
    step = _step(_places(ends))
    owners = np.repeat(np.arange(len(ends), dtype=np.int32), np.diff(ends, prepend=0) // step)
    salt = (block.to_numpy() * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)).astype(np.uint32)
    return np.bitwise_xor(bands.reshape(-1, step).T, salt[owners], order="C"), owners


def _places(ends: Any) -> int:
    """How many bands a row has at most; `ends` are those of `flat_bands`."""
    import numpy as np

    return int(np.diff(ends, prepend=0).max(initial=0))


def _step(places: int) -> int:
    """How many bands a set has, one of nothing; of an even number half, two sets or one."""
    return max(1, places if places % 2 else places // 2)


def _marks(rows: pl.DataFrame, name: str) -> pl.Series:
    """A number for what the marks of a text are (`meaning_marks`), 0 where `skip` says so."""
    texts = rows.select(text=pl.when(~pl.col("skip")).then(name))["text"]
    unique = texts.drop_nulls().unique()
    said = pl.Series(["\x1e".join(meaning_marks(text)) for text in unique], dtype=pl.String)
    numbers = said.hash() | 1
    return texts.replace_strict(unique, numbers, default=0, return_dtype=pl.UInt64).rename(name)


def _short(name: str) -> pl.Expr:
    """`is_short` of a column of texts."""
    return pl.col(name).map_elements(is_short, return_dtype=pl.Boolean)


def blocks(signed: pl.DataFrame) -> pl.Series:
    """The block that each row is compared in, UInt64; fit for comparing within one process.

    A row with slots is compared where the slots are the same, any other with its own context.
    """
    label = pl.when("certain").then("answer")
    # Polars' hash is not kept anywhere: another version may give another one.
    return signed.select(block=pl.struct("split", "track", "context", label.alias("label")).hash())[
        "block"
    ]


def band_keys(signed: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Every band mixed with its row's block, UInt64, and the place of that row."""
    import numpy as np

    bands, ends = flat_bands(signed["bands"])
    owners = np.repeat(np.arange(signed.height), np.diff(ends, prepend=0))
    return pl.Series(blocks(signed).to_numpy()[owners] ^ bands), pl.Series(owners)


def share_bands(signed: pl.DataFrame, bands: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The rows that share a band with another one of their block: columns id and bands.

    `signed` are signatures with split and track. `bands` has those of each, and maybe of others, by
    id in pieces of any size; of the pieces no more is in memory together than the bands.
    """
    if signed.height >= _MANY:
        return _share_compiled(signed, bands)
    rows = signed.join(pl.concat(bands), on="id", maintain_order="left")
    keys, owners = band_keys(rows)
    shared = pl.repeat(False, rows.height, eager=True)
    shared = shared.scatter(owners.filter(keys.is_duplicated()), True)
    return rows.filter(shared).select("id", "bands")


def _share_compiled(signed: pl.DataFrame, bands: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The same for many rows: only the kernel's numbers of each piece stay."""
    import numpy as np

    from curation.bucket_kernel import mark_shared, table_for

    pieces, rows = [], signed.select("id", block=blocks(signed)).sort("id")
    for piece in bands:
        low, high = pl.lit(piece["id"].min()), pl.lit(piece["id"].max())
        here = rows.filter(pl.col("id").is_between(low, high))
        here = piece.join(here, on="id", maintain_order="left")
        pieces.append((here["id"], *flat_bands(here["bands"]), here["block"].to_numpy()))
    starts = np.cumsum([0, *(len(ends) for _, _, ends, _ in pieces)])
    step = _step(max(_places(ends) for _, _, ends, _ in pieces))
    shared, seen = np.zeros(starts[-1], np.bool_), table_for(starts[-1])
    for place in range(step):
        seen[1].fill(-1)
        for start, (_, flat, ends, block) in zip(starts, pieces, strict=False):
            mark_shared(flat, ends, block, start, place, step, seen, shared)
    found = []
    for start, (ids, flat, ends, _) in zip(starts, pieces, strict=False):
        mine, counts = shared[start : start + len(ends)], np.diff(ends, prepend=0)
        packed = pack_bands(flat[np.repeat(mine, counts)], counts[mine])
        found.append(pl.DataFrame({"id": ids.filter(mine), "bands": packed}))
    return pl.concat(found)
