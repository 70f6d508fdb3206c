"""Each method trains, says what it is, answers one row as it answers many, and repeats itself."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evaluation.predict import load_predictor, predict_answers, predict_losses
from tests.conftest import copy_rows
from training.methods import METHODS
from training.sft import train_sft

OPTIONS: dict[str, Any] = {"epochs": 3, "batch_rows": 8, "max_tokens": 128}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_its_answers_do_not_depend_on_neighbours(
    method: Any, tiny_base: Path, tmp_path: Path
) -> None:
    rows = copy_rows(100, seed=1)
    more: dict[str, Any] = {} if METHODS[method].packs else {"epochs": 6}
    told = train_sft(rows, base_model=tiny_base, out=tmp_path, method=method, **OPTIONS | more)
    assert told["method_used"] == told["options"]["method"] == method
    assert sum(told["loss"][-8:]) < sum(told["loss"][:8])
    chats = rows["messages"].to_list()[:12]
    trained = load_predictor(tiny_base, adapter=tmp_path / "adapter")
    together = [one.nats for one in predict_losses(trained, chats)]
    alone = [predict_losses(trained, [chat])[0].nats for chat in chats]
    assert together == pytest.approx(alone, abs=1e-4)
    untrained = [one.nats for one in predict_losses(load_predictor(tiny_base), chats)]
    assert sum(filter(None, together)) < sum(filter(None, untrained))
    prompts = [chat[:-1] for chat in chats[:5]]
    answers = predict_answers(trained, prompts, max_new_tokens=8)
    assert answers == [predict_answers(trained, [p], max_new_tokens=8)[0] for p in prompts]


@pytest.mark.parametrize("method", ["adalora", "prefix", "full"])
def test_a_repeated_run_gives_the_same_bytes(method: Any, tiny_base: Path, tmp_path: Path) -> None:
    rows, weights = copy_rows(40, seed=2), []
    for name in ("one", "two"):
        out = tmp_path / name
        train_sft(rows, base_model=tiny_base, out=out, method=method, epochs=1, batch_rows=8)
        files = sorted((out / "adapter").iterdir())
        assert not [f for f in files if str(tmp_path).encode() in f.read_bytes()]
        weights.append({f.name: f.read_bytes() for f in files})
    assert weights[0] == weights[1]


def test_adalora_moves_its_ranks(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "run"
    train_sft(copy_rows(100), base_model=tiny_base, out=out, method="adalora", rank=4, **OPTIONS)
    kept = load_file(out / "adapter" / "adapter_model.safetensors")
    ranks = [weight.shape[0] for name, weight in kept.items() if "lora_E" in name]
    assert sum(ranks) == 4 * len(ranks) and len({*ranks}) > 1  # as much as asked, and moved


@pytest.mark.parametrize("method", [m for m, known in METHODS.items() if not known.resumes])
def test_what_cannot_go_back_to_its_best_weights_is_not_asked_to(
    method: Any, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="cannot go back to its best weights"):
        train_sft(copy_rows(20), base_model=tiny_base, out=tmp_path, method=method, validate=0.2)


def test_rows_of_one_prompt_are_trained_on_or_looked_at_together() -> None:
    from training.holdout import hold_out

    rows = copy_rows(400, seed=3)
    held = hold_out(rows, share=0.2)
    assert 40 < held.height < 120
    named = rows.with_columns(held=rows["id"].is_in(held["id"].implode()))
    sides = named.group_by("prompt_id").agg(pl.col("held").n_unique(), pl.len())
    assert (sides["held"] == 1).all()
    assert hold_out(rows.reverse(), share=0.2).equals(held)
    assert not hold_out(rows.head(20), share=0.05).height
