"""Verdicts: what people said of rows, one line of a file each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curation.sources.jsonl import jsonl

ACCEPT, REJECT = "accept", "reject"
VERDICT_SCHEMA = pl.Schema({"id": pl.String, "accept": pl.Boolean})


@dataclass(frozen=True)
class Verdicts:
    """One verdict a row, and what came to none.

    `rows` is of `VERDICT_SCHEMA`, sorted by id; `tied` counts rows that as many accepted as
    rejected; `broken` has a line for each line of the file that is no verdict, with its place;
    `needed` is how many verdicts the ensemble is not fitted without.
    """

    rows: pl.DataFrame
    tied: int
    broken: list[str]
    needed: int


def read_verdicts(*, verdicts: Path, min_verdicts: int = 200) -> Verdicts:
    """The verdicts of a file of JSON lines `{"id": …, "verdict": "accept" | "reject"}`.

    Other keys, such as the reviewer, are passed over. Of several verdicts on a row the majority
    counts. Raises `ValueError` for a `min_verdicts` that is none.
    """
    if min_verdicts < 1:
        raise ValueError(f"ensemble.min_verdicts is {min_verdicts!r}; at least 1 is needed")
    votes, broken = Counter[str](), []
    for record in jsonl(path=verdicts)():
        wrong = record.error or find_mistake(record.data or {})
        if wrong:
            broken.append(f"{record.position}: {wrong}")
        else:
            votes[record.data["id"]] += 1 if record.data["verdict"] == ACCEPT else -1
    said = [(row_id, n > 0) for row_id, n in sorted(votes.items()) if n]
    rows = pl.DataFrame(said, schema=VERDICT_SCHEMA, orient="row")
    return Verdicts(rows, len(votes) - len(said), broken, min_verdicts)


def find_mistake(said: Mapping[str, Any], *, verdicts: Sequence[str] = (ACCEPT, REJECT)) -> str:
    """What a record lacks to be one of these verdicts, "" where it is one."""
    if not isinstance(said.get("id"), str) or not said["id"]:
        return f"'id' is {said.get('id')!r:.80}, not the id of a row"
    if said.get("verdict") not in verdicts:
        *others, last = map(repr, verdicts)
        return f"'verdict' is {said.get('verdict')!r:.80}, not {', '.join(others)} or {last}"
    return ""


def count_verdicts(verdicts: Verdicts, known: pl.DataFrame) -> dict[str, int]:
    """What the verdicts came to, `known` being those on rows that there are."""
    accepted = int(known["accept"].sum())
    return {
        "accepted": accepted,
        "rejected": known.height - accepted,
        "needed": verdicts.needed,
        "tied": verdicts.tied,
        "unknown": verdicts.rows.height - known.height,
        "broken": len(verdicts.broken),
    }


def describe_verdicts(verdicts: Verdicts, known: pl.DataFrame) -> str:
    """The counts of `count_verdicts` in a line: `117 of 200 verdicts: 80 accepted, …`."""
    counts = count_verdicts(verdicts, known)
    said = f"{known.height:,} of {verdicts.needed:,} verdicts"
    said += f": {counts['accepted']:,} accepted, {counts['rejected']:,} rejected"
    others = {"tied": "tied", "unknown": "of ids that no row here has", "broken": "broken"}
    for name, words in others.items():
        said += f"; {words} {counts[name]:,}" if counts[name] else ""
    return said + (f", the first {verdicts.broken[0]}" if verdicts.broken else "")
