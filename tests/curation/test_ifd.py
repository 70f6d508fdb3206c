"""How much a prompt explains of its answer: the number itself, and what has none."""

from pathlib import Path

import polars as pl
import pytest

from curation.chat import load_tokenizer
from curation.losses import answer_losses
from curation.models import load_causal_lm
from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.ifd import ifd
from curation.tasks.free_text import free_text
from tests.conftest import copy_rows


def context(base: Path | None) -> ScoreContext:
    return ScoreContext(task=free_text(), reference=pl.DataFrame(), base_model=base)


def test_it_is_the_loss_with_the_prompt_over_the_loss_without_it(tiny_base: Path) -> None:
    rows = copy_rows(6)
    model, tokenizer = load_causal_lm(tiny_base), load_tokenizer(tiny_base)
    expected = []
    for chat in rows["messages"].to_list():
        bare = dialogue("", chat[-1]["content"])
        (given,), (alone,) = (answer_losses(model, tokenizer, [c]) for c in (chat, bare))
        assert given and alone
        expected.append((given[0] / given[1]) / (alone[0] / alone[1]))
    assert ifd()(rows, context(tiny_base)).to_list() == pytest.approx(expected, rel=1e-4)


def test_a_prompt_that_tells_the_answer_has_a_lower_number(tiny_base: Path) -> None:
    # The tiny base was trained to repeat what it is told to.
    rows = copy_rows(8)
    answers = [chat[-1]["content"] for chat in rows["messages"].to_list()]
    shifted = [*answers[1:], answers[0]]
    prompts = [chat[-2]["content"] for chat in rows["messages"].to_list()]
    pairs = [make_row(dialogue(p, a)) for p, a in zip(prompts, shifted, strict=True)]
    right, wrong = (ifd()(frame, context(tiny_base)).mean() for frame in (rows, rows_frame(pairs)))
    assert isinstance(right, float) and isinstance(wrong, float) and right < wrong


def test_a_row_the_model_cannot_read_is_null(tiny_base: Path) -> None:
    rows = pl.concat([rows_frame([make_row(dialogue("重复：天", "天" * 4000))]), copy_rows(2)])
    scores = ifd()(rows, context(tiny_base))
    assert scores[0] is None and scores[1:].null_count() == 0


def test_a_missing_base_model_is_said() -> None:
    with pytest.raises(ValueError, match="base_model"):
        ifd()(copy_rows(1), context(None))
