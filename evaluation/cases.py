"""Cases: what one arm answered to each frozen row, kept so that every number can be opened again.

An arm is a model asked in one way: the base model, the base model shown a few examples, the
champion, the candidate. All arms answer the same rows through the same template.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curation.progress import Report, silent
from curation.rows import ANSWER, UTTERANCE
from evaluation.few_shot import few_shot_prompts
from evaluation.predict import load_predictor, predict_answers, predict_losses

CASE_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # id of the row
        "arm": pl.String,  # base | few_shot | champion | candidate
        "split": pl.String,  # test | heldout | badcase
        "kind": pl.String,  # task | general
        "prompt": pl.String,
        "gold": pl.String,
        "predicted": pl.String,  # "" for general rows, which are measured by their loss
        "loss_nats": pl.Float64,  # of the gold answer, null for task rows
        "n_bytes": pl.Int64,  # UTF-8 bytes of the gold answer, null for task rows
    }
)


def predict_cases(
    rows: pl.DataFrame,
    *,
    base_model: Path | str,
    adapter: Path | None = None,
    seeds: pl.DataFrame | None = None,
    few_shot: int = 0,
    max_new_tokens: int = 96,
    revision: str = "",
    report: Report = silent,
) -> pl.DataFrame:
    """Answers to domain rows and losses of general rows: `CASE_SCHEMA` without the arm.

    With `seeds` (ROW_SCHEMA), the `few_shot` most similar of them are shown before each question,
    after its system turn; general rows are measured behind the same examples.
    """
    domain = pl.col("track") == "domain"
    rows = rows.sort("id").with_columns(
        kind=pl.when(domain).then(pl.lit("task")).otherwise(pl.lit("general")),
        prompt=UTTERANCE,
        gold=ANSWER,
    )
    chats = _show_examples(rows, seeds, few_shot)
    asks = (rows["kind"] == "task").to_list()
    predictor = load_predictor(base_model, adapter=adapter, revision=revision)
    prompts = [chat[:-1] for chat, ask in zip(chats, asks, strict=True) if ask]
    told = [chat for chat, ask in zip(chats, asks, strict=True) if not ask]
    answers = iter(
        predict_answers(predictor, prompts, max_new_tokens=max_new_tokens, report=report)
    )
    losses = iter(predict_losses(predictor, told, report=report))
    cells = [(next(answers), None, None) if ask else ("", *next(losses)) for ask in asks]
    columns = [
        pl.Series(cells_of, dtype=CASE_SCHEMA[name]).alias(name)
        for name, cells_of in _columns(cells)
    ]
    return rows.with_columns(columns).select(c for c in CASE_SCHEMA if c != "arm")


def _columns(cells: list[tuple[Any, ...]]) -> list[tuple[str, list[Any]]]:
    names = ("predicted", "loss_nats", "n_bytes")
    return [(name, [cell[i] for cell in cells]) for i, name in enumerate(names)]


def _show_examples(rows: pl.DataFrame, seeds: pl.DataFrame | None, k: int) -> list[list[Any]]:
    """The messages of each row, with its examples after the system turn when there are seeds."""
    chats = rows["messages"].to_list()
    if seeds is None or not k:
        return chats
    shown = few_shot_prompts(seeds, rows["prompt"].to_list(), k=k)
    return [_with_shots(chat, prompt[:-1]) for chat, prompt in zip(chats, shown, strict=True)]


def _with_shots(
    messages: Sequence[Mapping[str, str]], shots: Sequence[Mapping[str, str]]
) -> list[Any]:
    head = [m for m in messages[:1] if m["role"] == "system"]
    return [*head, *shots, *messages[len(head) :]]
