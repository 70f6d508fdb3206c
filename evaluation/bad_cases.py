"""Bad cases as questions of their own: does a version still get wrong what was reported as wrong?

A case is asked as its corrected row. Held-out traffic is part of the exam and is answered there;
the others, of either half, are asked beside it under the split `badcase`, which no metric counts.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from curation.markdown import plain, table
from curation.rows import ROW_SCHEMA, dialogue, make_row
from curation.tasks._base import Task

SPLIT = "badcase"
HALVES = ("learn", "hold")
SHOWN_TYPES = 20
_COUNTS = {
    "n": pl.len(),
    "asked": pl.col("candidate").count(),
    "fixed": pl.col("candidate").sum(),
    "broken": (~pl.col("candidate") & pl.col("champion")).sum(),
}


def cases_to_ask(
    cases: pl.DataFrame, known: Iterable[str], delivered: Sequence[str], *, task: Task, limit: int
) -> tuple[pl.DataFrame, int]:
    """The corrected rows of bad cases that are to be asked (`ROW_SCHEMA`), and how many are not.

    `known` are rows that are asked anyway. Of more than `limit` others the newest are taken, in the
    order of the ids in `delivered`.
    """
    turn = {id: n for n, id in enumerate(delivered)}
    place = pl.col("id").replace_strict(turn, default=-1, return_dtype=pl.Int64)
    unknown = cases.filter(~pl.col("row_id").is_in(list(known)))
    newest = unknown.sort(place, "id", descending=True).unique("row_id", maintain_order=True)
    asked = newest.head(limit).sort("row_id").select("prompt", "gold").iter_rows()
    told = ((p, g, task.part(p, g)[1].system) for p, g in asked)
    rows = [make_row(dialogue(p, g, system=system), split=SPLIT) for p, g, system in told]
    return pl.DataFrame(rows, schema=ROW_SCHEMA), max(newest.height - limit, 0)


def count_fixed_cases(marked: pl.DataFrame, cases: pl.DataFrame) -> dict[str, Any]:
    """How many bad cases the candidate answers right, by half and by error type.

    `marked` has id, arm and exact of what was asked, and cases whose corrected row is the same
    count once. Each count has `n`, how many of them were `asked`, are `fixed`, or `broken`: wrong
    now, and right in the champion. `types` are sorted, most frequent first.
    """
    arms = [_right(marked, arm) for arm in ("candidate", "champion")]
    said = cases.select("row_id", "half", "signature").unique()
    for answers in arms:
        said = said.join(answers, on="row_id", how="left")
    once = said.unique("row_id")
    types = said.group_by("signature", "half").agg(**_COUNTS).rows(named=True)
    by_type: dict[str, dict[str, Any]] = {}
    for one in types:
        by_type.setdefault(one["signature"], {})[one["half"]] = _counts(one)
    frequent = sorted(by_type, key=lambda s: (-sum(h["n"] for h in by_type[s].values()), s))
    halves = once.group_by("half").agg(**_COUNTS).rows(named=True)
    return {
        "halves": {one["half"]: _counts(one) for one in sorted(halves, key=lambda o: o["half"])},
        "types": {signature: by_type[signature] for signature in frequent},
    }


def fixed_table(counted: dict[str, Any]) -> str:
    """The counts of `count_fixed_cases` as a Markdown table, "" where there is no bad case."""
    if not counted["halves"]:
        return ""
    types = [*counted["types"].items()]
    lines = [[plain(signature), *_cells(halves)] for signature, halves in types[:SHOWN_TYPES]]
    if others := types[SHOWN_TYPES:]:
        lines.append([f"{len(others)} other types", *[""] * 6])
    head = ["error type"]
    head += [f"{half}: {what}" for half in HALVES for what in ("asked", "fixed", "broken")]
    return table(head, [*lines, ["all", *_cells(counted["halves"])]], numbers=6) + "\n"


def _right(marked: pl.DataFrame, arm: str) -> pl.DataFrame:
    answers = marked.filter(pl.col("arm") == arm).select(row_id="id", **{arm: "exact"})
    return answers.unique("row_id")


def _counts(said: dict[str, Any]) -> dict[str, int]:
    return {name: int(said[name] or 0) for name in _COUNTS}


def _cells(halves: dict[str, dict[str, int]]) -> list[str]:
    """`asked 3 of 5` is said where some were not asked."""
    none = dict.fromkeys(_COUNTS, 0)
    cells = []
    for counts in (halves.get(half, none) for half in HALVES):
        n, asked = counts["n"], counts["asked"]
        cells.append(f"{asked:,}" if asked == n else f"{asked:,} of {n:,}")
        cells += [f"{counts['fixed']:,}", f"{counts['broken']:,}"]
    return cells
