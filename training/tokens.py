"""Rows as token ids: which tokens are trained, which rows cannot be, and how rows share a sequence.

Everything is decided here, before the trainer sees it, because the trainer cuts long rows without
a word and a row that lost its end-of-turn token teaches the model never to stop.
"""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from curation.chat import encode_chats, hold_special
from curation.lists import group_lists, list_column

TOKENS_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "input_ids": pl.List(pl.Int32),
        "labels_mask": pl.List(pl.Boolean),  # true where the token is trained
        "n_tokens": pl.Int32,
        "n_loss_tokens": pl.Int32,
        "reason": pl.String,  # "" or why it cannot be trained, see tokenise_rows
    }
)

BINS_SCHEMA = pl.Schema(
    {
        "bin": pl.Int32,
        "ids": pl.List(pl.String),  # the row of each segment
        "input_ids": pl.List(pl.Int32),
        "labels": pl.List(pl.Int32),  # -100 where the token is not trained
        "seq_lengths": pl.List(pl.Int32),
    }
)


def tokenise_rows(rows: pl.DataFrame, tokenizer: Any, *, max_tokens: int = 1024) -> pl.DataFrame:
    """One line of `TOKENS_SCHEMA` per row, in the order of `rows` (ROW_SCHEMA).

    `tokenizer` is what `curation.chat.load_tokenizer` gives. Every assistant turn with its
    end-of-turn token is trained. A line with a reason may not be trained on and carries no ids:
    `over_long` (more than `max_tokens`), `special_token` (its text encodes to a control token of
    this tokenizer), `template_error` (the chat template refuses it), `empty_mask` (nothing would be
    trained), `no_end` (its end would not be trained).
    """
    chats, tools = rows["messages"].to_list(), rows["tools"].to_list()
    encoded = encode_chats(tokenizer, chats, tools=tools)
    special, ends = hold_special(tokenizer, chats, tools=tools), end_tokens(tokenizer)
    reasons = [
        "special_token" if unsafe else _reason(ids, mask, max_tokens=max_tokens, ends=ends)
        for unsafe, (ids, mask) in zip(special, encoded, strict=True)
    ]
    kept = [([], []) if why else pair for why, pair in zip(reasons, encoded, strict=True)]
    columns = {
        "id": rows["id"],
        "input_ids": list_column([ids for ids, _ in kept], np.int32),
        "labels_mask": list_column([mask for _, mask in kept], np.bool_),
        "n_tokens": [len(ids) for ids, _ in encoded],
        "n_loss_tokens": [sum(mask) for _, mask in encoded],
        "reason": reasons,
    }
    return pl.DataFrame(columns, schema=TOKENS_SCHEMA)


def leave_longer(tokens: pl.DataFrame, max_tokens: int) -> pl.DataFrame:
    """The same lines, with those of more tokens left as `over_long`."""
    longer = (pl.col("reason") == "") & (pl.col("n_tokens") > max_tokens)
    return tokens.with_columns(
        *(
            pl.when(longer).then(pl.lit([], TOKENS_SCHEMA[name])).otherwise(name).alias(name)
            for name in ("input_ids", "labels_mask")
        ),
        reason=pl.when(longer).then(pl.lit("over_long")).otherwise("reason"),
    )


def pack_rows(tokens: pl.DataFrame, *, block: int | None) -> pl.DataFrame:
    """Bins of at most `block` tokens (`BINS_SCHEMA`) holding every trainable row once, uncut.

    Best-fit decreasing: longest row first, into the bin it fills best; ties go to the bin that came
    first. Bin for bin what TRL's `bfd` strategy makes. Without a `block` each row has a bin of its
    own. Raises `ValueError` when a row is longer than a bin.
    """
    usable = tokens.filter(pl.col("reason") == "")
    lengths = usable["n_tokens"].to_list()
    if block and lengths and max(lengths) > block:
        raise ValueError(f"a row of {max(lengths)} tokens does not fit a block of {block!r}")
    bins = _best_fit(lengths, block) if block else [[i] for i in range(len(lengths))]
    placed = usable[[member for members in bins for member in members]]
    inputs, trained = (placed[name].explode() for name in ("input_ids", "labels_mask"))
    rows = [len(members) for members in bins]
    tokens_of = [sum(lengths[member] for member in members) for members in bins]
    columns = {
        "bin": range(len(bins)),
        "ids": group_lists(placed["id"], rows),
        "input_ids": group_lists(inputs, tokens_of),
        "labels": group_lists(
            inputs.zip_with(trained, pl.Series([-100], dtype=pl.Int32)), tokens_of
        ),
        "seq_lengths": group_lists(placed["n_tokens"], rows),
    }
    return pl.DataFrame(columns, schema=BINS_SCHEMA)


def preflight(tokens: pl.DataFrame, tokenizer: Any, *, show: int = 3) -> list[str]:
    """The first `show` trainable rows as text, trained stretches in ⟦…⟧.

    Raises `ValueError` when no row is trainable, a mask is empty, or a row's last trained token is
    not an end of turn.
    """
    usable = tokens.filter(pl.col("reason") == "")
    if not usable.height:
        reasons = dict(tokens.group_by("reason").len().iter_rows())
        raise ValueError(f"no row is left to train on; rows left for these reasons: {reasons!r}")
    ends = end_tokens(tokenizer)
    for row_id, ids, mask in usable.select("id", "input_ids", "labels_mask").iter_rows():
        reason = _reason(ids, mask, max_tokens=len(ids), ends=ends)
        if reason:
            raise ValueError(f"row {row_id!r} cannot be trained on: {reason}")
    pairs = usable.head(show).select("input_ids", "labels_mask").iter_rows()
    return [_marked(tokenizer, ids, mask) for ids, mask in pairs]


def end_tokens(tokenizer: Any) -> set[int]:
    """Ids that end a turn: the tokenizer's own end and ChatML's, where it has one."""
    vocabulary = tokenizer.get_vocab()
    ends = (tokenizer.eos_token, "<|im_end|>", "<end_of_turn>", "<|eot_id|>")
    return {vocabulary[e] for e in ends if e in vocabulary}


def _reason(ids: Sequence[int], mask: Sequence[bool], *, max_tokens: int, ends: set[int]) -> str:
    if not ids:
        return "template_error"
    if len(ids) > max_tokens:
        return "over_long"
    # The first token has no prediction, so it never counts as trained.
    trained = [t for t, on in zip(ids[1:], mask[1:], strict=True) if on]
    if not trained or not set(trained) - ends:
        return "empty_mask"
    return "" if trained[-1] in ends or (len(trained) > 1 and trained[-2] in ends) else "no_end"


def _best_fit(lengths: Sequence[int], block: int) -> list[list[int]]:
    bins: list[list[int]] = []
    rooms: list[int] = []  # the sizes of room that some bin still has, sorted
    with_room: dict[int, deque[int]] = defaultdict(deque)
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect_left(rooms, lengths[index])
        if at == len(rooms):
            bins.append([])
            number, room = len(bins) - 1, block
        else:
            room = rooms[at]
            number = with_room[room].popleft()
            if not with_room[room]:
                rooms.pop(at)
        bins[number].append(index)
        left = room - lengths[index]
        if left:
            if not with_room[left]:
                insort(rooms, left)
            with_room[left].append(number)
    return bins


def _marked(tokenizer: Any, ids: Sequence[int], mask: Sequence[bool]) -> str:
    text, start = "", 0
    for stop in range(1, len(ids) + 1):
        if stop == len(ids) or mask[stop] != mask[start]:
            piece = tokenizer.decode(ids[start:stop])
            text += f"⟦{piece}⟧" if mask[start] else piece
            start = stop
    return text
