"""What the tests of models share: a small real base model, pre-trained once per session."""

import os
import random
from pathlib import Path

# Tables and models this small gain nothing from a second thread, and lose minutes to it. Read when
# Polars is imported; runs of `winnow` in processes of their own (tests/pipelines) have all threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
import pytest

from curation.rows import dialogue, make_row, rows_frame

WORDS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"


def pytest_configure(config: pytest.Config) -> None:
    """Deprecations inside the model libraries are theirs to act on; everything else is an error."""
    for module in ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets"):
        for kind in ("DeprecationWarning", "FutureWarning"):
            config.addinivalue_line("filterwarnings", f"ignore::{kind}:{module}")


def copy_rows(n: int, *, seed: int = 0, track: str = "general") -> pl.DataFrame:
    """`n` rows that ask for a made-up word to be repeated or written as JSON."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        word = "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6)))
        prompt, answer = rng.choice(
            [(f"重复：{word}", word), (f"JSON：{word}", f'{{"do":"{word}"}}')]
        )
        rows.append(make_row(dialogue(prompt, answer), track=track, source="copy"))
    return rows_frame(rows)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of a few hundred thousand parameters that has begun to learn `copy_rows`."""
    from training.demo_model import pretrain_demo_model

    out = tmp_path_factory.mktemp("base")
    pretrain_demo_model(copy_rows(400), out=out, hidden=64, layers=2, vocab_size=360, steps=40)
    return out


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch):
    """An S3 server with one empty bucket, which the environment names."""
    from tests.s3_server import serve  # moto, which few tests need

    with serve() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
