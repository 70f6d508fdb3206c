"""How fast rows are scored: the offline scorers on one core, and a model against its own forward.

    .venv/bin/python benchmarks/score.py [--rows 20000] [--hidden 256] [--layers 4]

Rows are half in-car commands with their JSON and half Chinese or English questions and answers of
about 300 characters. The offline scorers run on one core, each as a build calls it. The model (with
random weights: they cost as much as trained ones) reads 300 of the rows, three ways: as
`model_perplexity` does, which renders and tokenises too; the bare forward pass over the same
batches, all logits built; and a row at a time, as a first script would.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ |= {"POLARS_MAX_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

RECIPES = Path(__file__).parents[1] / "pipelines" / "recipes"
SCORERS = (
    "length", "repetition", "special_tokens", "pii", "refusal", "garbled", "language_match",
    "task_valid", "perplexity",
)  # fmt: skip
"""All that need neither weights nor a network, but for `fasttext_quality`, which trains first."""
READ = 300
AIM_ROWS, AIM_FORWARD, AIM_LOOP = 8_000, 0.9, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--hidden", type=int, default=256, help="width of the model")
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    rows = draw_rows(args.rows)
    print(f"Python {sys.version.split()[0]}, {args.rows:,} rows, one core\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder), rows.head(2_000), args.hidden, args.layers)
        print("\n".join(measure_model(rows.sample(READ, seed=1), model)), flush=True)
        print("\n".join(measure_scorers(rows)))
    return 0


def draw_rows(number: int) -> pl.DataFrame:
    """So many rows, shuffled; the same ones each time."""
    from benchmarks.dedup_data import KINDS, draw_chunk
    from curation.rows import dialogue, make_row, rows_frame
    from curation.sources.grammar import grammar

    half, made = number // 2, list[dict[str, Any]]()
    for record in grammar(path=RECIPES / "in_car" / "grammar.yaml", rows=half, seed=3)():
        made.append(make_row(record.data["messages"], track="domain"))
    kinds = [kind for kind in KINDS if kind.endswith("300")]
    texts = [
        text
        for kind in kinds
        for at in range(2 * half // 1_000 // len(kinds) + 1)
        for text, _, _ in draw_chunk(kind, at)
    ]
    for asked, said in zip(texts[: 2 * half : 2], texts[1 : 2 * half : 2], strict=True):
        made.append(make_row(dialogue(asked, said), track="general"))
    frame = rows_frame(made).unique("id", maintain_order=True)
    return frame.sample(frame.height, shuffle=True, seed=1)


def measure_scorers(rows: pl.DataFrame) -> list[str]:
    """A line for each scorer: rows a second on one core, and what part of all its time is."""
    from curation.plugins import find_plugin
    from curation.scorers._base import ScoreContext
    from curation.scoring import score_rows

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    task = load_task()
    context = ScoreContext(task, rows.head(4_000))
    took: dict[str, float] = {}
    for name in SCORERS:
        scorer = find_plugin("curation.scorers", name)()
        score_rows(rows.head(100), scorer, context)
        took[name] = timed(lambda scorer=scorer: score_rows(rows, scorer, context))
    total = sum(took.values())
    lines = ["", "| scorer | rows/s | share |", "|---|--:|--:|"]
    lines += [f"| {n} | {rows.height / s:,.0f} | {s / total:.0%} |" for n, s in took.items()]
    return [*lines, f"| together | {rows.height / total:,.0f} | aim ≥ {AIM_ROWS:,} |"]


def load_task() -> Any:
    """The task of the in-car example."""
    from assets.recipe import load_recipe

    return load_recipe(RECIPES / "in_car.yaml").task


def save_model(folder: Path, rows: pl.DataFrame, hidden: int, layers: int) -> Path:
    """A causal model of random weights with a tokenizer made of these rows."""
    from training.demo_model import pretrain_demo_model

    out = folder / "model"
    pretrain_demo_model(rows, out=out, hidden=hidden, layers=layers, vocab_size=4_000, steps=1)
    return folder / "model"


def measure_model(rows: pl.DataFrame, folder: Path) -> list[str]:
    """Tokens a second of three ways to read the same rows."""
    import torch

    from curation.chat import encode_chats, length_batches, load_tokenizer
    from curation.models import answer_losses, load_causal_lm, pad_batch

    torch.set_num_threads(1)
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    chats = rows["messages"].to_list()
    encoded = [ids for ids, _ in encode_chats(tokenizer, chats)]
    tokens = sum(map(len, encoded))

    def ours() -> None:
        answer_losses(model, tokenizer, chats)

    @torch.inference_mode()
    def forward() -> None:
        for batch in length_batches([*map(len, encoded)], max_tokens=8192):
            inputs = pad_batch([encoded[i] for i in batch], pad=tokenizer.pad_token_id, left=True)
            model(**inputs, use_cache=False)

    def loop() -> None:
        for chat in chats:
            answer_losses(model, tokenizer, [chat])

    took = fastest(
        {"model_perplexity": ours, "bare forward pass": forward, "a row at a time": loop}
    )
    mine = took["model_perplexity"]
    size = sum(p.numel() for p in model.parameters())
    lines = [f"{size:,} parameters, {len(chats):,} rows, {tokens:,} tokens", ""]
    lines += ["| way | tokens/s | times model_perplexity |", "|---|--:|--:|"]
    lines += [f"| {n} | {tokens / s:,.0f} | {mine / s:.2f} |" for n, s in took.items()]
    aims = f"at least {AIM_FORWARD:.0%} of the forward pass, {AIM_LOOP:g} times the loop"
    share = took["bare forward pass"] / mine
    return [*lines, "", f"{share:.0%} and {took['a row at a time'] / mine:.1f} times (aim: {aims})"]


def fastest(ways: Mapping[str, Callable[[], object]], times: int = 3) -> dict[str, float]:
    """Seconds of each way, the least of so many, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, work in ways.items():
            found[name].append(timed(work))
    return {name: min(seconds) for name, seconds in found.items()}


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
