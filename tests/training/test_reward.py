"""A reward model learns to put the right answer above the wrong one."""

import random
from pathlib import Path

import polars as pl
import pytest

from curation.rows import dialogue, make_row, rows_frame
from curation.scorers._base import ScoreContext
from curation.scorers.reward import reward
from curation.tasks.free_text import free_text
from tests.conftest import WORDS, copy_rows
from training.reward import train_reward_model


def test_reward_puts_right_answers_above_wrong_ones(tiny_base: Path, tmp_path: Path) -> None:
    told = train_reward_model(_pairs(160, seed=0), base_model=tiny_base, out=tmp_path, epochs=5)
    assert told["loss"][-1] < 0.3 and told["n_heldout"] > 5 and told["accuracy"] > 0.8
    unseen = _pairs(30, seed=9)
    right, wrong = (_scores(unseen, side, tmp_path) for side in ("chosen", "rejected"))
    assert (right > wrong).mean() > 0.8  # type: ignore[operator]


def test_a_row_that_is_too_long_is_null_and_costs_nobody_else(
    tiny_base: Path, tmp_path: Path
) -> None:
    train_reward_model(_pairs(20, seed=0), base_model=tiny_base, out=tmp_path, epochs=1)
    rows = copy_rows(5)
    long = rows_frame([make_row(dialogue("重复：天", "天" * 4000))])
    mixed = reward()(pl.concat([long, rows]), _context(tmp_path))
    assert mixed[0] is None
    assert (mixed[1:] - reward()(rows, _context(tmp_path))).abs().max() < 1e-4  # type: ignore[operator]


def test_no_pairs_and_no_model_are_said(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pair"):
        train_reward_model(_pairs(3, seed=0).clear(), base_model=tiny_base, out=tmp_path)
    with pytest.raises(ValueError, match="reward model"):
        reward()(copy_rows(2), _context(None))


def _pairs(n: int, *, seed: int) -> pl.DataFrame:
    rng = random.Random(seed)
    words = ["".join(rng.choice(WORDS) for _ in range(4)) for _ in range(n)]
    lines = [(f"JSON：{w}", f'{{"do":"{w}"}}', f'{{"what":"{w}"') for w in words]
    return pl.DataFrame(lines, schema=["prompt", "chosen", "rejected"], orient="row")


def _scores(pairs: pl.DataFrame, side: str, model: Path) -> pl.Series:
    rows = [make_row(dialogue(p, a)) for p, a in pairs.select("prompt", side).iter_rows()]
    return reward()(pl.DataFrame(rows, schema=rows_frame([]).schema), _context(model))


def _context(model: Path | None) -> ScoreContext:
    return ScoreContext(task=free_text(), reference=copy_rows(1), reward_model=model)
