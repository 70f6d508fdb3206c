"""Pairs as token ids: both answers exactly as supervised fine-tuning would read them."""

import hashlib
from typing import Any

import polars as pl

from curation.pairs import HELD, LEFT, TRAINED
from curation.rows import MESSAGE, dialogue
from training.tokens import tokenise_rows

KNOWN = "known"
"""The reason of a pair that the supervised model has in the right order already."""
PAIR_TOKENS = pl.Schema(
    {
        "id": pl.String,
        "part": pl.String,  # trained | held | left
        "reason": pl.String,  # "" or why it is left, see encode_pairs
        "prompt_ids": pl.List(pl.Int32),
        "chosen_ids": pl.List(pl.Int32),
        "rejected_ids": pl.List(pl.Int32),
    }
)


def encode_pairs(
    pairs: pl.DataFrame, tokenizer: Any, *, system: str = "", max_tokens: int = 1024
) -> pl.DataFrame:
    """One line of `PAIR_TOKENS` for each of `pairs` (id, prompt, chosen, rejected), sorted by id.

    Prompt and answer come from the whole conversation, and an answer ends with the trained end of
    its turn. A tenth of the prompts, chosen by their digest, is held. Left out are pairs of which
    one side could not be a row to train on (the reasons of `tokenise_rows`), pairs whose answers
    are the same tokens (`same_tokens`), and pairs whose template writes the prompt in two ways
    (`template_error`).
    """
    ordered = pairs.sort("id")
    sides = [_tokenise(ordered, side, tokenizer, system, max_tokens) for side in _SIDES]
    lines = []
    for pair, chosen, rejected in zip(
        ordered.iter_rows(named=True), *(side.iter_rows(named=True) for side in sides), strict=True
    ):
        ids, reason = ([], [], []), chosen["reason"] or rejected["reason"]
        if not reason:
            ids, reason = _part(chosen, rejected)
        part = LEFT if reason else HELD if is_held(pair["prompt"]) else TRAINED
        lines.append((pair["id"], part, reason, *ids))
    return pl.DataFrame(lines, schema=PAIR_TOKENS, orient="row")


_SIDES = ("chosen", "rejected")
Ids = tuple[list[int], list[int], list[int]]


def is_held(prompt: str) -> bool:
    """Whether pairs of a prompt are only measured on: a tenth of all prompts, by their digest."""
    return hashlib.sha256(prompt.encode()).digest()[0] % 10 == 0


def _tokenise(
    pairs: pl.DataFrame, side: str, tokenizer: Any, system: str, max_tokens: int
) -> pl.DataFrame:
    said = pairs.select("prompt", side).iter_rows()
    chats = [
        [{**turn, "tool_calls": ""} for turn in dialogue(prompt, answer, system=system)]
        for prompt, answer in said
    ]
    rows = pairs.select("id", messages=pl.Series(chats, dtype=pl.List(MESSAGE)), tools=pl.lit(""))
    return tokenise_rows(rows, tokenizer, max_tokens=max_tokens)


def _part(chosen: dict[str, Any], rejected: dict[str, Any]) -> tuple[Ids, str]:
    """Prompt and the two answers; or why they make no pair."""
    start = chosen["labels_mask"].index(True)
    prompt = chosen["input_ids"][:start]
    right, wrong = _answer(chosen), _answer(rejected)
    if rejected["labels_mask"].index(True) != start or rejected["input_ids"][:start] != prompt:
        return ([], [], []), "template_error"
    if right == wrong:
        return ([], [], []), "same_tokens"
    return (prompt, right, wrong), ""


def _answer(side: dict[str, Any]) -> list[int]:
    """The trained tokens, its end of turn the last of them."""
    return [t for t, on in zip(side["input_ids"], side["labels_mask"], strict=True) if on]
