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
from evaluation.predict import Predictor, load_predictor, predict_answers, predict_losses

CASE_SCHEMA = pl.Schema(
    {
        "id": pl.String,  # id of the row
        "arm": pl.String,  # base | few_shot | champion | candidate
        "split": pl.String,  # test | heldout | badcase
        "kind": pl.String,  # task | general
        "source": pl.String,
        "lang": pl.String,
        "category": pl.String,
        "difficulty": pl.String,
        "prompt": pl.String,
        "gold": pl.String,
        "predicted": pl.String,  # null where it was not asked, only measured by its loss
        "loss_nats": pl.Float64,  # of the gold answer, null where the model cannot read it
        "n_tokens": pl.Int64,  # of the gold answer and its end of turn, by the model's tokenizer
        "n_bytes": pl.Int64,  # UTF-8 bytes of the gold answer
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
    general_answers: int = 0,
    revision: str = "",
    report: Report = silent,
) -> pl.DataFrame:
    """The loss of every row's answer and what is answered: `CASE_SCHEMA` without the arm.

    All domain rows are asked, and `general_answers` of the general ones. With `seeds` (ROW_SCHEMA),
    the `few_shot` most similar of them are shown before each question, after its system turn.
    """
    return ask_cases(
        rows,
        load_predictor(base_model, adapter=adapter, revision=revision),
        seeds=seeds,
        few_shot=few_shot,
        max_new_tokens=max_new_tokens,
        general_answers=general_answers,
        report=report,
    )


def ask_cases(
    rows: pl.DataFrame,
    predictor: Predictor,
    *,
    seeds: pl.DataFrame | None = None,
    few_shot: int = 0,
    max_new_tokens: int = 96,
    general_answers: int = 0,
    report: Report = silent,
) -> pl.DataFrame:
    """`predict_cases` with a model that is already loaded."""
    domain = pl.col("track") == "domain"
    rows = rows.sort("id").with_columns(
        kind=pl.when(domain).then(pl.lit("task")).otherwise(pl.lit("general")),
        prompt=UTTERANCE,
        gold=ANSWER,
    )
    chats = _show_examples(rows, seeds, few_shot)
    asked = rows["id"].is_in(_asked(rows, general_answers).implode())
    prompts = [chats[place][:-1] for place in asked.arg_true()]
    said = predict_answers(predictor, prompts, max_new_tokens=max_new_tokens, report=report)
    losses = predict_losses(predictor, chats, report=report)
    told = {
        "predicted": pl.repeat(None, rows.height, dtype=pl.String, eager=True).scatter(
            asked.arg_true(), said
        ),
        "loss_nats": [loss.nats for loss in losses],
        "n_tokens": [loss.n_tokens for loss in losses],
        "n_bytes": [loss.n_bytes for loss in losses],
    }
    columns = [pl.Series(name, cells, dtype=CASE_SCHEMA[name]) for name, cells in told.items()]
    return rows.with_columns(columns).select(c for c in CASE_SCHEMA if c != "arm")


def _asked(rows: pl.DataFrame, general_answers: int) -> pl.Series:
    """Ids of all domain rows and of so many general ones, as many of each category as there are."""
    general = rows.filter(pl.col("kind") == "general").sort("id")
    turn = pl.int_range(pl.len()).over("category")
    some = general.sort(turn, "id").head(general_answers)
    return pl.concat([rows.filter(pl.col("kind") == "task")["id"], some["id"]])


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
