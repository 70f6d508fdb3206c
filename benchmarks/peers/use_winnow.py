"""Ours: near texts, their signatures alone, and rows with answers, as a rebuild compares them.

The compiled loops are loaded (or compiled) before the clock starts, as the libraries of the others
are imported. Rows all have one answer, so nothing but their numbers, negations and opposites keeps
them apart.
"""

from typing import Any

import polars as pl
from _measure import measure

from curation.dedup import find_duplicates
from curation.minhash import sign_keys
from curation.rows import dialogue, make_row, rows_frame
from curation.stars import merge_texts

ANSWER = "好的。"


def load(options: Any) -> None:
    few = pl.Series([f"第{i}句话和{i % 97}个人一起去看" for i in range(5_000)])
    _run(options, few if options.setting != "rows" else _rows(few))


def read(options: Any) -> Any:
    texts = pl.read_parquet(options.input, columns=["text"])["text"]
    return texts if options.setting != "rows" else _rows(texts)


def work(_: None, rows: Any, options: Any) -> dict[int, int]:
    found = _run(options, rows)
    if options.setting == "signatures":
        return {}
    if options.setting == "texts":
        return dict(found.select("line", "into").iter_rows())
    _, lines = rows
    pairs = ((lines[one], lines[into]) for one, into in found.select("id", "into").iter_rows())
    return dict(pairs)


def _run(options: Any, rows: Any) -> Any:
    if options.setting == "signatures":
        return sign_keys(rows, threshold=options.threshold, engine="kernel")
    if options.setting == "texts":
        return merge_texts(rows, threshold=options.threshold)
    return find_duplicates(rows[0], threshold=options.threshold).pairs


def _rows(texts: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of the texts, and the line of each id."""
    made = [make_row(dialogue(text, ANSWER), source="s", track="general") for text in texts]
    return rows_frame(made), {row["id"]: line for line, row in enumerate(made)}


if __name__ == "__main__":
    measure("", load, work, read)
