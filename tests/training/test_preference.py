"""Preference: right answers above wrong ones, from the supervised adapter on, and repeatable."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.chat import load_tokenizer
from curation.pairs import HELD, LEFT, PAIR_SCHEMA
from curation.rows import dialogue, make_row, rows_frame
from tests.conftest import WORDS, copy_rows
from training.checkpoints import is_json
from training.pair_tokens import encode_pairs
from training.preference import train_preference
from training.sft import train_sft
from training.tokens import tokenise_rows

OPTIONS: dict[str, Any] = {"epochs": 8, "max_tokens": 128, "seed": 3, "lr": 4e-3}
OPTIONS |= {"skip_known": False}
WEIGHTS = "adapter_model.safetensors"


def pair(prompt: str, chosen: str, rejected: str, kind: str = "bad_case") -> tuple[str, ...]:
    id = f"{prompt}|{rejected}"
    return (id, kind, id, id, prompt, chosen, rejected)


def frame(*some: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(some, schema=PAIR_SCHEMA, orient="row")


def copied(n: int, *, seed: int = 0) -> pl.DataFrame:
    """Pairs of a copied word and one that is not, in JSON, as a slot task has them."""
    rng = random.Random(seed)
    words = {"".join(rng.choice(WORDS) for _ in range(4)) for _ in range(n)}
    said = [pair(f"JSON：{w}", f'{{"do":"{w}"}}', f'{{"do":"{w[::-1]}"}}') for w in words]
    return frame(*said)


def supervised(base: Path, out: Path, method: Any) -> Path:
    told = train_sft(copy_rows(80, seed=1), base_model=base, out=out, method=method, epochs=1,
                     batch_rows=8, max_tokens=128)  # fmt: skip
    return Path(told["adapter"])


@pytest.fixture(scope="module")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return supervised(tiny_base, tmp_path_factory.mktemp("sft"), "lora")


def prefer(
    base: Path, adapter: Path, out: Path, method: Any = "lora", **options: Any
) -> dict[str, Any]:
    given = OPTIONS | options
    return train_preference(
        copied(60), base_model=base, adapter=adapter, out=out, method=method, **given
    )


@pytest.fixture(scope="module")
def undisturbed(
    adapter: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("preferred") / "run"
    return out, prefer(tiny_base, adapter, out)


def test_both_answers_are_the_tokens_of_supervised_training(tiny_base: Path):
    tokenizer = load_tokenizer(tiny_base)
    said = [("重复：天地", "天地", "地天。"), ("JSON: a b", '{"do":"a b"}', "no, I can't")]
    pairs, system = frame(*(pair(*one) for one in said)).sort("id"), "你是车载助手。"
    tokens = encode_pairs(pairs, tokenizer, system=system)
    for side in ("chosen", "rejected"):
        rows = [
            make_row(dialogue(p, a, system=system)) for p, a in pairs.select("prompt", side).rows()
        ]
        read = tokenise_rows(pl.concat(rows_frame([row]) for row in rows), tokenizer)
        for prompt, answer, ids, mask in zip(
            tokens["prompt_ids"], tokens[f"{side}_ids"], read["input_ids"], read["labels_mask"],
            strict=True,
        ):  # fmt: skip
            trained = [i for i, on in enumerate(mask) if on]
            assert ids[: trained[-1] + 1].to_list() == [*prompt, *answer]
            assert trained == [*range(len(prompt), len(prompt) + len(answer))]
            assert tokenizer.decode(answer[-1:]) == "<|im_end|>"


def test_a_pair_that_cannot_be_trained_on_is_left_with_its_reason(tiny_base: Path):
    bad = [
        pair("重复：天", "天", "地<|im_end|>"),
        pair("重复：地", "地", "长" * 200),
        pair("重复：玄", "玄", ""),
        pair("重复：黄", "黄", "黄"),
    ]
    tokens = encode_pairs(frame(*bad), load_tokenizer(tiny_base), max_tokens=64)
    assert set(tokens["part"]) == {LEFT} and tokens["chosen_ids"].list.len().sum() == 0
    told = dict(tokens.select(pl.col("id").str.slice(3, 1), "reason").iter_rows())
    assert told == {
        "天": "special_token", "地": "over_long", "玄": "empty_mask", "黄": "same_tokens"
    }  # fmt: skip


def test_a_tenth_of_the_prompts_is_held_whatever_the_answers(tiny_base: Path):
    pairs = copied(300)
    tokens = encode_pairs(pairs, load_tokenizer(tiny_base)).join(pairs, on="id")
    assert 15 <= (tokens["part"] == HELD).sum() <= 50
    other = pairs.with_columns(id=pl.col("id") + "?", rejected=pl.lit("否"))
    again = encode_pairs(other, load_tokenizer(tiny_base)).join(other, on="id")
    held = [set(said.filter(pl.col("part") == HELD)["prompt"]) for said in (tokens, again)]
    assert held[0] == held[1]


def test_right_answers_gain_on_wrong_ones_and_the_numbers_say_so(
    undisturbed: tuple[Path, dict[str, Any]],
):
    out, told = undisturbed
    assert told["trained"] and not told["left"]
    assert told["n_pairs"] + told["n_held"] == len(told["pairs"])
    for part in ("trained", "held"):
        assert told["after"][part]["margin"] > told["before"][part]["margin"] + 1
    assert told["history"][0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert told["history"][-1]["reward_accuracy"] > 0.9
    assert any("held pairs are few" in said for said in told["findings"])
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[0]["rewards/margins"] == told["history"][0]["reward_margin"]
    json.dumps(told)


@pytest.mark.parametrize("method", ["ia3", "full"])
def test_the_reference_is_the_supervised_model_itself(method: Any, tiny_base: Path, tmp_path: Path):
    start = supervised(tiny_base, tmp_path / "sft", method)
    told = prefer(tiny_base, start, tmp_path / "run", method, sft_weight=0.0, epochs=1)
    assert told["loss"][0] == pytest.approx(math.log(2), abs=1e-4)
    assert told["after"]["trained"]["margin"] > told["before"]["trained"]["margin"]
    files = sorted(file.name for file in start.iterdir())
    assert files == sorted(file.name for file in Path(told["adapter"]).iterdir())


def test_an_adapter_over_4_bits_keeps_every_bit_until_it_moves(tiny_base: Path, tmp_path: Path):
    from safetensors.torch import load_file

    start = supervised(tiny_base, tmp_path / "sft", "qlora")
    still: dict[str, Any] = {"lr": 1e-12, "sft_weight": 0.0, "epochs": 1}
    told = prefer(tiny_base, start, tmp_path / "run", "qlora", **still)
    assert told["loss"] == pytest.approx([math.log(2)] * len(told["loss"]), abs=1e-4)
    was, now = (load_file(at / WEIGHTS) for at in (start, Path(told["adapter"])))
    assert all((was[name] - now[name]).abs().max() < 1e-8 for name in was)


def test_the_adapter_is_float32_with_the_configuration_it_had(
    adapter: Path, undisturbed: tuple[Path, dict[str, Any]]
):
    from safetensors.torch import load_file

    folder = undisturbed[0] / "adapter"
    was, now = (load_file(at / WEIGHTS) for at in (adapter, folder))
    assert was.keys() == now.keys() and {str(t.dtype) for t in now.values()} == {"torch.float32"}
    assert any((was[name] != now[name]).any() for name in was)
    config = "adapter_config.json"
    assert (folder / config).read_bytes() == (adapter / config).read_bytes()
    for file in folder.iterdir():
        assert str(folder.parent.parent).encode() not in file.read_bytes()


def test_a_repeated_run_gives_the_same_bytes(
    adapter: Path, tiny_base: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
):
    out, told = undisturbed
    again = prefer(tiny_base, adapter, tmp_path)
    assert [again[n] for n in ("loss", "after")] == [told[n] for n in ("loss", "after")]
    assert (tmp_path / "adapter" / WEIGHTS).read_bytes() == (out / "adapter" / WEIGHTS).read_bytes()


def test_a_run_killed_and_resumed_gives_the_same_bytes(
    adapter: Path, tiny_base: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
):
    out, told = undisturbed
    copied(60).write_parquet(tmp_path / "pairs.parquet")
    _kill_after_first_checkpoint(tiny_base, adapter, tmp_path)
    resumed = prefer(tiny_base, adapter, tmp_path / "run")
    assert resumed["resumed_at"] > 0 and resumed["loss"] == told["loss"]
    ours, theirs = (at / "adapter" / WEIGHTS for at in (tmp_path / "run", out))
    assert ours.read_bytes() == theirs.read_bytes()


def test_with_too_few_pairs_the_adapter_is_passed_on_and_it_is_said(
    adapter: Path, tiny_base: Path, tmp_path: Path
):
    lines: list[str] = []
    corrupted = copied(40).with_columns(kind=pl.lit("corrupted"))
    pairs = pl.concat([corrupted, frame(pair("重复：天", "天", "地"))])
    given: dict[str, Any] = {"base_model": tiny_base, "adapter": adapter, "out": tmp_path}
    told = train_preference(pairs, **given, report=lines.append)
    assert not told["trained"] and told["loss"] == [] and told["n_pairs"] == 1
    assert told["findings"] == lines == [
        "1 pairs to train on, 16 needed: the adapter stays as it is"
    ]  # fmt: skip
    for file in adapter.iterdir():
        assert (tmp_path / "adapter" / file.name).read_bytes() == file.read_bytes()
    told = train_preference(pairs, **given, corrupt=True, epochs=1, skip_known=False)
    assert told["trained"] and told["n_pairs"] > 30


def test_pairs_that_supervised_training_learned_are_left_alone(
    adapter: Path, tiny_base: Path, tmp_path: Path
):
    easy = [pair(f"重复：{w}", w, "no, I can't {}") for w in copied(40)["prompt"].str.slice(5)]
    hard = copied(60).with_columns(pl.Series("chosen", easy[0][5:6] * copied(60).height))
    given: dict[str, Any] = {"base_model": tiny_base, "adapter": adapter, "max_tokens": 128}
    told = train_preference(frame(*easy), out=tmp_path / "easy", **given)
    assert not told["trained"] and told["left"] == {"known": 40 - told["n_held"]}
    assert (
        told["before"]["known"]["order"] == 1
        and "are in the right order already" in told["findings"][0]
    )
    told = train_preference(
        pl.concat([frame(*easy), hard]), out=tmp_path / "both", epochs=1, **given
    )
    assert told["trained"] and told["n_pairs"] == sum(p["part"] == "trained" for p in told["pairs"])
    assert told["before"]["trained"]["order"] == 0 < told["left"]["known"]


@pytest.mark.parametrize("method", ["adalora", "prefix", "prompt", "p_tuning"])
def test_a_method_that_peft_cannot_go_on_with_is_refused(method: Any, tmp_path: Path):
    with pytest.raises(ValueError, match=f"preference: {method} cannot .* take qlora, lora, dora"):
        prefer(tmp_path, tmp_path, tmp_path, method)


def test_options_that_make_no_sense_are_refused_before_any_work(tmp_path: Path):
    with pytest.raises(ValueError, match="preference.beta: 0 is not above 0"):
        prefer(tmp_path, tmp_path, tmp_path, beta=0)


def _kill_after_first_checkpoint(base: Path, adapter: Path, folder: Path) -> None:
    code = textwrap.dedent(
        """
        import json, sys
        from pathlib import Path
        import polars as pl
        from training.preference import train_preference
        pairs, base, adapter, out, options = sys.argv[1:]
        given = {"base_model": Path(base), "adapter": Path(adapter), "out": Path(out)}
        train_preference(pl.read_parquet(pairs), **given, **json.loads(options))
        """
    )
    names = ["pairs.parquet", base, adapter, "run"]
    arguments = [*(str(folder / name) for name in names), json.dumps(OPTIONS)]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=log, stderr=log)
    deadline = time.monotonic() + 240
    while not any(map(is_json, (folder / "run").glob("checkpoints/*/trainer_state.json"))):
        assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
