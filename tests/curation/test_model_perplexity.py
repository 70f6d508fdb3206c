"""Perplexity of an answer: the number itself, its independence, and what has none."""

import math
from pathlib import Path

import polars as pl
import pytest

from curation.chat import encode_chats, length_batches, load_tokenizer
from curation.losses import answer_losses
from curation.models import load_causal_lm
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.model_perplexity import model_perplexity
from curation.tasks.free_text import free_text
from tests.conftest import copy_rows


def test_it_equals_the_direct_computation(tiny_base: Path) -> None:
    rows = copy_rows(6)
    scores = model_perplexity()(rows, _context(tiny_base))
    direct = [_direct(tiny_base, chat) for chat in rows["messages"].to_list()]
    assert scores.to_list() == pytest.approx(direct, rel=1e-4)


def test_it_does_not_depend_on_neighbours(tiny_base: Path) -> None:
    rows, longer = copy_rows(6), rows_frame([make_row(dialogue("重复：天", "天地玄黄" * 40))])
    alone = model_perplexity()(rows, _context(tiny_base))
    beside = model_perplexity()(pl.concat([longer, rows]), _context(tiny_base))[1:]
    assert beside.to_list() == pytest.approx(alone.to_list(), rel=1e-4)


def test_only_the_last_answer_counts(tiny_base: Path) -> None:
    chat = [*dialogue("重复：天", "地地地地"), *dialogue("重复：黄", "黄")]
    assert model_perplexity()(rows_frame([make_row(chat)]), _context(tiny_base))[
        0
    ] == pytest.approx(_direct(tiny_base, chat), rel=1e-4)


def test_a_row_the_model_cannot_read_is_null(tiny_base: Path) -> None:
    rows = pl.concat([rows_frame([make_row(dialogue("重复：天", "天" * 4000))]), copy_rows(3)])
    scores = model_perplexity()(rows, _context(tiny_base))
    assert scores[0] is None and scores[1:].null_count() == 0


def test_a_missing_base_model_is_said(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match="base_model"):
        model_perplexity()(copy_rows(1), _context(None))
    assert model_perplexity(model=str(tiny_base))(copy_rows(1), _context(None)).null_count() == 0


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [5, 50, 7, 200, 5, 6, 90]
    batches = list(length_batches(lengths, max_tokens=100))
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 100 for b in batches)


def test_a_cpu_reads_few_tokens_together(tiny_base: Path) -> None:
    model, read = load_causal_lm(tiny_base).to("cpu"), list[int]()
    model.register_forward_hook(
        lambda _model, _args, given, _out: read.append(given["input_ids"].numel()),
        with_kwargs=True,
    )
    answer_losses(model, load_tokenizer(tiny_base), copy_rows(90)["messages"].to_list())
    assert max(read) <= 1_024 < sum(read)


def _direct(base: Path, chat: list[dict[str, str]]) -> float:
    import torch

    model, tokenizer = load_causal_lm(base), load_tokenizer(base)
    ids, mask = encode_chats(tokenizer, [chat])[0]
    start = len(mask) - 1 - mask[::-1].index(True)
    while mask[start - 1]:
        start -= 1
    with torch.inference_mode():
        logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    picked = [logps[i - 1, ids[i]].item() for i in range(start, len(ids)) if mask[i]]
    return math.exp(-sum(picked) / len(picked))


def _context(base: Path | None) -> ScoreContext:
    return ScoreContext(task=free_text(), reference=copy_rows(1), base_model=base)
