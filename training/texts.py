"""Plain texts as token ids, in pieces that fill a block, and how well a model foretells them."""

from collections.abc import Sequence
from math import log
from typing import Any

import polars as pl

from curation.chat import hold_special
from curation.losses import answer_losses, span_losses
from curation.progress import Report, silent
from curation.rows import ANSWER
from training.tokens import TOKENS_SCHEMA

PIECES_SCHEMA = pl.Schema({**TOKENS_SCHEMA, "n_bytes": pl.Int64})
"""Several lines a text; `n_bytes` are the UTF-8 bytes that the trained tokens of a line say."""


def tokenise_texts(texts: pl.DataFrame, tokenizer: Any, *, block: int) -> pl.DataFrame:
    """Texts (rows of the track `text`) in pieces of at most `block` tokens: `PIECES_SCHEMA`.

    Behind each text stands the tokenizer's end token, so that the model learns where texts end, and
    before it the one for the beginning, where the tokenizer has such. A piece begins with the last
    token of the one before, which it does not train: every token but the first of a text is trained
    once, and nothing is cut off. A text that encodes to a control token has one line without ids
    and the reason `special_token`.
    """
    chats = texts["messages"].to_list()
    said = [chat[0]["content"] for chat in chats]
    unsafe = hold_special(tokenizer, chats)
    encodings = tokenizer.backend_tokenizer.encode_batch(said, add_special_tokens=False)
    lines: list[tuple[Any, ...]] = []
    for id, text, refused, found in zip(texts["id"], said, unsafe, encodings, strict=True):
        if refused:
            lines.append((id, [], [], 0, 0, "special_token", 0))
        else:
            lines += [(id, *piece) for piece in _pieces(text, found, tokenizer, block)]
    return pl.DataFrame(lines, schema=PIECES_SCHEMA, orient="row")


def _pieces(text: str, encoding: Any, tokenizer: Any, block: int) -> list[tuple[Any, ...]]:
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*begin, *encoding.ids, tokenizer.eos_token_id]
    ends = [0] * len(begin) + [end for _, end in encoding.offsets] + [len(text)]
    pieces = []
    for start in range(0, len(ids) - 1, block - 1):
        part = ids[start : start + block]
        stop = start + len(part) - 1
        n_bytes = len(text[ends[start] : ends[stop]].encode())
        mask = [False] + [True] * (len(part) - 1)
        pieces.append((part, mask, len(part), len(part) - 1, "", n_bytes))
    return pieces


def text_bits(
    model: Any, tokenizer: Any, pieces: pl.DataFrame, *, report: Report = silent
) -> float | None:
    """Bits for each byte of the texts in these pieces; None for none that the model can read.

    Unlike a perplexity it can be held against that of a model with another tokenizer.
    """
    usable = pieces.filter(pl.col("reason") == "")
    sequences = usable["input_ids"].to_list()
    spans = [(1, len(ids)) for ids in sequences]
    losses = span_losses(model, tokenizer, sequences, spans, what="texts", report=report)
    return _bits(losses, usable["n_bytes"].to_list())


def answer_bits(
    model: Any, tokenizer: Any, rows: pl.DataFrame, *, report: Report = silent
) -> float | None:
    """Bits for each byte of the rows' answers, as the metric `general_bpb` counts them."""
    chats, tools = rows["messages"].to_list(), rows["tools"].to_list()
    losses = answer_losses(model, tokenizer, chats, tools=tools, report=report)
    sizes = rows.select(n=ANSWER.str.len_bytes().cast(pl.Int64))["n"].to_list()
    return _bits(losses, sizes)


def _bits(losses: Sequence[tuple[float, int] | None], sizes: Sequence[int]) -> float | None:
    read = [(loss[0], size) for loss, size in zip(losses, sizes, strict=True) if loss]
    n_bytes = sum(size for _, size in read)
    return sum(nats for nats, _ in read) / log(2) / n_bytes if n_bytes else None
