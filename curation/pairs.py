"""Pairs of a right and a wrong answer to one prompt, which a model is taught to tell apart.

A bad case of the half to learn from is such a pair as it was delivered. A case that may not be
learned from is left out with its reason, by the same rules as a row: nothing that is held back,
gives the exam away, or was rejected by people comes into a pair.
"""

from collections.abc import Mapping

import polars as pl

from curation.rows import ANSWER, UTTERANCE, dialogue, digest, make_row, row_id, rows_frame
from curation.tasks._base import Task

PAIR_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "kind": pl.String,  # bad_case | corrupted
        "of": pl.String,  # id of the bad case, or of the row whose answer was made wrong
        "row_id": pl.String,  # id of the row with the right answer
        "prompt": pl.String,
        "chosen": pl.String,
        "rejected": pl.String,
    }
)
TRAINED, HELD, LEFT = "trained", "held", "left"
"""The part a pair had in a run: learned from, only measured on, or left out with a reason."""
TAUGHT_SCHEMA = pl.Schema({**PAIR_SCHEMA, "part": pl.String, "reason": pl.String})
LEFT_SCHEMA = pl.Schema({"of": pl.String, "reason": pl.String})
"""A bad case to learn from that is no pair, and why."""


def case_pairs(cases: pl.DataFrame, *, task: Task) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cases to learn from (`BAD_CASE_SCHEMA`) as `PAIR_SCHEMA`, and the rest: `LEFT_SCHEMA`.

    Left out are `same_answer` (gold and predicted mean the same), `label_conflict` (another case
    has another right answer to the prompt), and what the task says against the right answer.
    """
    learn = cases.filter(pl.col("half") == "learn").sort("id").to_dicts()
    meanings: dict[str, set[str]] = {}
    for case in learn:
        meanings.setdefault(case["cluster"], set()).add(task.canonical(case["gold"]))
    pairs, left = [], []
    for case in learn:
        reason = _refuse(case, task, n_meanings=len(meanings[case["cluster"]]))
        if reason:
            left.append({"of": case["id"], "reason": reason})
            continue
        said = {"prompt": case["prompt"], "chosen": case["gold"], "rejected": case["predicted"]}
        pairs.append(_pair("bad_case", case["id"], said, system=task.system))
    return _frame(pairs), pl.DataFrame(left, schema=LEFT_SCHEMA)


def corrupted_pairs(rows: pl.DataFrame, *, task: Task, seed: int = 0) -> pl.DataFrame:
    """Right answers beside what the task's own `corrupt` makes of them, as `PAIR_SCHEMA`.

    `rows` are trusted ones (`ROW_SCHEMA`); of more than one turn, or with tools, they make no pair.
    """
    plain = rows.filter((pl.col("n_turns") == 1) & (pl.col("tools") == "")).sort("id")
    pairs = []
    for id, prompt, right in plain.select("id", u=UTTERANCE, a=ANSWER).iter_rows():
        wrongs = [] if task.check(prompt, right) else task.corrupt(right, prompt, seed=seed)
        for wrong, _ in wrongs:
            said = {"prompt": prompt, "chosen": right, "rejected": wrong}
            pairs.append(_pair("corrupted", id, said, system=task.system))
    return _frame(pairs)


def leave_out(pairs: pl.DataFrame, reasons: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs without those whose row has a reason (by `row_id`), and these as `LEFT_SCHEMA`."""
    gone = pl.col("row_id").is_in(list(reasons))
    why = pl.col("row_id").replace_strict(dict(reasons), default="", return_dtype=pl.String)
    return pairs.filter(~gone), pairs.filter(gone).select("of", reason=why)


def pair_rows(pairs: pl.DataFrame, *, task: Task) -> pl.DataFrame:
    """The right side of each pair as a row (`ROW_SCHEMA`), once each, to be looked at for leaks."""
    said = pairs.select("prompt", "chosen").unique().iter_rows()
    return rows_frame(
        make_row(dialogue(prompt, chosen, system=task.system), origin="badcase")
        for prompt, chosen in said
    )


def _refuse(case: Mapping[str, str], task: Task, *, n_meanings: int) -> str:
    if task.canonical(case["gold"]) == task.canonical(case["predicted"]):
        return "same_answer"
    if n_meanings > 1:
        return "label_conflict"
    return task.check(case["prompt"], case["gold"]).partition("=")[0]  # without the value


def _pair(kind: str, of: str, said: Mapping[str, str], *, system: str) -> dict[str, str]:
    right = row_id(dialogue(said["prompt"], said["chosen"], system=system))
    return {
        "id": digest([right, said["rejected"]]),
        "kind": kind,
        "of": of,
        "row_id": right,
        **said,
    }


def _frame(pairs: list[dict[str, str]]) -> pl.DataFrame:
    """Each pair once; of a case and a corruption that say the same, whichever came first."""
    found = pl.DataFrame(pairs, schema=PAIR_SCHEMA)
    return found.unique("id", keep="first", maintain_order=True).sort("id")
