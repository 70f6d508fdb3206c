"""A run is a function of rows, base and options: repeated or killed and resumed, the same bytes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import copy_rows
from training.checkpoints import is_json
from training.sft import train_sft

OPTIONS: dict[str, Any] = {"epochs": 4, "batch_rows": 8, "max_tokens": 128, "validate": 0.25}


def both_tracks() -> pl.DataFrame:
    """Rows of both tracks, enough of each to look at some and not train on them."""
    tracks = [copy_rows(60, seed=1, track="domain"), copy_rows(48, seed=9)]
    return pl.concat(tracks).unique("id", keep="first", maintain_order=True)


@pytest.fixture(scope="module")
def undisturbed(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("sft") / "run"
    return out, train_sft(both_tracks(), base_model=tiny_base, out=out, **OPTIONS)


def test_the_run_tells_what_it_did(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    _, told = undisturbed
    assert told["method_used"] == "qlora" and told["left"] == {}
    assert told["loss"][-1] < told["loss"][0]
    assert abs(told["rows_per_step"] - 8) < 2
    assert told["resumed_at"] == 0 and len(told["shown"]) == 3
    json.dumps(told)


def test_what_is_kept_is_the_best_seen_on_domain_rows(
    undisturbed: tuple[Path, dict[str, Any]], tiny_base: Path, tmp_path: Path
) -> None:
    out, told = undisturbed
    looks = [step for step in told["history"] if "eval_domain_loss" in step]
    assert told["best"]["eval_domain_loss"] == min(step["eval_domain_loss"] for step in looks)
    assert all(step["eval_general_loss"] > 0 for step in looks) and told["n_held"] >= 16
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} >= {step["step"] for step in told["history"]}
    assert all(line["memory_mb"] > 0 for line in lines)
    steps = [line for line in lines if "loss" in line]
    assert all(step["tokens_per_s"] > 0 and step["perplexity"] > 1 for step in steps)
    options = OPTIONS | {"epochs": 40, "lr": 0.05, "patience": 1, "method": "lora"}
    wild = train_sft(both_tracks(), base_model=tiny_base, out=tmp_path, **options)
    assert wild["epochs"] < 40 and wild["best"]["step"] < len(wild["loss"])
    assert wild["diagnosis"]


def test_the_adapter_is_float32_and_names_no_folder(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    from safetensors.torch import load_file

    out, _ = undisturbed
    dtypes = {
        str(t.dtype) for t in load_file(out / "adapter" / "adapter_model.safetensors").values()
    }
    assert dtypes == {"torch.float32"}
    for file in (out / "adapter").iterdir():
        assert str(out.parent.parent).encode() not in file.read_bytes()


def test_a_repeated_run_gives_the_same_bytes(
    tiny_base: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, told = undisturbed
    again = train_sft(both_tracks(), base_model=tiny_base, out=tmp_path, **OPTIONS)
    assert again["loss"] == told["loss"]
    assert _adapter(tmp_path) == _adapter(out)


def test_a_run_killed_and_resumed_gives_the_same_bytes(
    tiny_base: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, told = undisturbed
    both_tracks().write_parquet(tmp_path / "rows.parquet")
    _kill_after_first_checkpoint(tiny_base, tmp_path)
    resumed = train_sft(both_tracks(), base_model=tiny_base, out=tmp_path / "run", **OPTIONS)
    assert resumed["resumed_at"] > 0
    assert resumed["loss"] == told["loss"]
    assert _adapter(tmp_path / "run") == _adapter(out)


def test_checkpoints_of_another_run_are_not_gone_on_from(tiny_base: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "checkpoints" / "checkpoint-3"
    foreign.mkdir(parents=True)
    (foreign / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoints" / "run.json").write_text('"of other rows"')
    rows = copy_rows(20, seed=2)
    assert train_sft(rows, base_model=tiny_base, out=tmp_path, epochs=1)["resumed_at"] == 0


def test_plain_lora_is_said(tiny_base: Path, tmp_path: Path) -> None:
    told = train_sft(copy_rows(16), base_model=tiny_base, out=tmp_path, method="lora", epochs=1)
    assert told["method_used"] == "lora"


def _kill_after_first_checkpoint(base: Path, folder: Path) -> None:
    code = textwrap.dedent(
        """
        import json, sys
        from pathlib import Path
        import polars as pl
        from training.sft import train_sft
        rows, base, out, options = sys.argv[1:]
        rows = pl.read_parquet(rows)
        train_sft(rows, base_model=Path(base), out=Path(out), **json.loads(options))
        """
    )
    arguments = [str(folder / "rows.parquet"), str(base), str(folder / "run"), json.dumps(OPTIONS)]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not any(map(is_json, (folder / "run").glob("checkpoints/*/trainer_state.json"))):
        assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def _adapter(out: Path) -> bytes:
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()
