"""Pre-training on texts: they are foretold better, nothing is cut off, a kill costs nothing."""

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
from curation.models import load_causal_lm
from curation.rows import make_row, rows_frame
from tests.conftest import WORDS, copy_rows
from training.checkpoints import is_json
from training.pretrain import pretrain_text, say_bits
from training.texts import text_bits, tokenise_texts
from training.tokens import pack_rows

OPTIONS: dict[str, Any] = {"epochs": 2, "block": 64, "validate": 0.2, "replay": 0.2, "lr": 0.004}


def manual(n: int = 60) -> pl.DataFrame:
    """Chinese and English sentences that have much in common and none twice."""
    rng = random.Random(5)
    rows = []
    for i in range(n):
        part, page = "".join(rng.choices(WORDS, k=3)), rng.randint(10, 99)
        zh = f"{part}阀的检查：先关闭{part}阀，再松开螺栓，见第{page}页。" * 2
        en = f"Check valve {i}: close the valve, then loosen the bolts; see page {page}. " * 2
        text = rng.choice([zh, en])
        rows.append(make_row([{"role": "text", "content": text}], track="text", source="manual"))
    return rows_frame(rows)


@pytest.fixture(scope="module")
def read(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("pretrain")
    general = copy_rows(120, seed=3)
    return out, pretrain_text(manual(), base_model=tiny_base, out=out, general=general, **OPTIONS)


def test_held_texts_are_foretold_better_by_the_model_that_is_written(
    read: tuple[Path, dict[str, Any]], tiny_base: Path
) -> None:
    out, told = read
    bits = told["bits"]
    assert bits["texts"]["after"] < 0.7 * bits["texts"]["before"]
    assert bits["general"]["before"] > 0 and bits["general"]["after"] > 0
    tokenizer = load_tokenizer(out / "model")
    held = manual().filter(pl.col("id").is_in(told["held"]))
    pieces = tokenise_texts(held, tokenizer, block=64)
    again = text_bits(load_causal_lm(out / "model"), tokenizer, pieces)
    assert again == pytest.approx(bits["texts"]["after"])
    for file in (out / "model").iterdir():
        assert str(tiny_base.parent).encode() not in file.read_bytes(), file.name


def test_every_text_and_row_is_accounted_for(read: tuple[Path, dict[str, Any]]) -> None:
    _, told = read
    assert sorted(told["read"] + told["held"]) == manual()["id"].to_list()
    assert len(told["held"]) == 12 and told["left"] == {}
    assert 0 < len(told["replayed"]) <= 60
    assert {*told["replayed"]} <= {*copy_rows(120, seed=3)["id"]}


def test_no_token_is_cut_off_and_each_is_trained_once(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    texts = manual(12)
    pieces = tokenise_texts(texts, tokenizer, block=16)
    assert pieces["n_tokens"].max() == 16 and pieces["n_tokens"].min() >= 2  # type: ignore[operator]
    for row in texts.to_dicts():
        text, own = row["messages"][0]["content"], pieces.filter(pl.col("id") == row["id"])
        ids = [*own["input_ids"][0][:1], *(i for part in own["input_ids"] for i in part[1:])]
        assert ids == [
            *tokenizer(text, add_special_tokens=False)["input_ids"],
            tokenizer.eos_token_id,
        ]
        first = tokenizer.decode(ids[:1])
        assert own["n_bytes"].sum() == len(text.removeprefix(first).encode())
    bins = pack_rows(pieces, block=16)
    trained = bins["labels"].explode()
    assert (trained >= 0).sum() == pieces["n_loss_tokens"].sum()


def test_lora_is_merged_and_a_repeat_is_the_same(tiny_base: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        options = OPTIONS | {"method": "lora", "rank": 4, "epochs": 1, "validate": 0.0}
        runs.append(pretrain_text(manual(), base_model=tiny_base, out=tmp_path / name, **options))
        assert not (tmp_path / name / "model" / "adapter_config.json").exists()
    assert _weights(tmp_path / "one") == _weights(tmp_path / "two")
    assert runs[0]["history"] == runs[1]["history"] and runs[0]["held"] == []
    assert runs[0]["bits"]["texts"] == {"before": None, "after": None}
    assert _weights(tmp_path / "one") != (tiny_base / "model.safetensors").read_bytes()


def test_a_run_killed_goes_on_and_ends_with_the_same_bytes(
    tiny_base: Path, read: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, told = read
    _kill_after_first_checkpoint(tiny_base, tmp_path)
    general = copy_rows(120, seed=3)
    run = tmp_path / "run"
    again = pretrain_text(manual(), base_model=tiny_base, out=run, general=general, **OPTIONS)
    assert again["resumed_at"] > 0 and again["history"] == told["history"]
    assert _weights(run) == _weights(out)


def test_what_cannot_be_is_refused_in_one_line(tiny_base: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"base_model": tiny_base, "out": tmp_path}
    with pytest.raises(ValueError, match="pretrain.replay: a share from 0 to below 1, got 1"):
        pretrain_text(manual(), replay=1, **given)
    with pytest.raises(ValueError, match="pretrain.block: the model reads 1,024 tokens, not 4,096"):
        pretrain_text(manual(9), block=4096, **given)
    with pytest.raises(ValueError, match="no text is left to pre-train on; 0 were given"):
        pretrain_text(manual(0), **given)


def test_forgetting_is_said_aloud() -> None:
    lost = {"texts": {"before": 2.0, "after": 1.5}, "general": {"before": 1.0, "after": 1.2}}
    won, forgot = say_bits(lost)
    assert won == "held texts: 2.000 to 1.500 bits per byte (-25.0%)"
    assert "forgetting; a larger pretrain.replay" in forgot
    unknown = {"texts": {"before": None, "after": None}, "general": {"before": 1.0, "after": 1.01}}
    assert "nothing is known" in say_bits(unknown)[0] and "forgetting" not in say_bits(unknown)[1]


def _weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def _kill_after_first_checkpoint(base: Path, folder: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.conftest import copy_rows
        from tests.training.test_pretrain import OPTIONS, manual
        from training.pretrain import pretrain_text
        base, out = map(Path, sys.argv[1:])
        pretrain_text(manual(), base_model=base, out=out, general=copy_rows(120, seed=3), **OPTIONS)
        """
    )
    command = [sys.executable, "-c", code, str(base), str(folder / "run")]
    root = Path(__file__).parents[2]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=root)
    deadline = time.monotonic() + 60
    while not any(map(is_json, (folder / "run").glob("checkpoints/*/trainer_state.json"))):
        assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
