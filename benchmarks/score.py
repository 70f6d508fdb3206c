"""How fast rows are scored: the offline scorers on one core, and a model against its own forward.

    .venv/bin/python benchmarks/score.py [--rows 100000] [--hidden 256] [--layers 4]

Rows are half in-car commands with their JSON and half Chinese or English questions and answers of
about 300 characters. The offline scorers run on one core, each made anew and given 20,000 rows at a
time, as in a build: what it learns of its reference is in its time, and what it loads is not. The
model (with random weights: they cost as much as trained ones) reads 300 of the rows, four ways: as
`model_perplexity` does, which renders and tokenises too; the bare forward pass over whole rows in
batches, all logits built, and with those of the answers alone, which is the least there is to do
for whole rows; and a row at a time, as a first script would: template, tokens, loss of the answer.
Then it reads 300 commands, each behind the same rules of the task, as a deployed assistant has
them; rules are read once by `model_perplexity`, and with every row by the others.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"POLARS_MAX_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

RECIPES = Path(__file__).parents[1] / "pipelines" / "recipes"
SCORERS = (
    "length", "repetition", "special_tokens", "pii", "refusal", "harmful", "garbled",
    "language_match", "task_valid", "perplexity",
)  # fmt: skip
"""All that measure rows one by one and need neither weights nor a network, but for
`fasttext_quality`, which trains a classifier, and so is asked for and no core scorer."""
PACKAGES = ("polars", "numpy", "numba", "torch", "transformers")
BATCH, READ = 20_000, 300
AIM_ROWS, AIM_FORWARD, AIM_LOOP = 8_000, 0.9, 5.0
RULES = """\
你是车载助手，把驾驶员的话转成一个JSON对象，不要输出别的。
conditions：触发条件，没有就省略；每个条件写is。
actions：要做的事，按说话的顺序；每件写do和what，有数值时写value。
do只能是：打开、关闭、设为、调高、调低、播放、暂停、导航、拨打、取消。
what写设备的全名，位置在前，如主驾车窗；没有说到的不要补充。
例：下雨就关上天窗
{"conditions":[{"is":"下雨"}],"actions":[{"do":"关闭","what":"天窗"}]}
例：空调调到22度
{"actions":[{"do":"设为","what":"空调","value":"22度"}]}"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=256, help="width of the model")
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    rows = draw_rows(args.rows)
    print(f"{describe_machine()}\n\n{rows.height:,} rows, one core\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder), rows.head(2_000), args.hidden, args.layers)
        mixed = rows.sample(READ, seed=1)["messages"].to_list()
        print("\n".join(measure_model("of both kinds", mixed, model)), flush=True)
        behind = put_rules(rows.filter(pl.col("track") == "domain").sample(READ, seed=1))
        print("\n".join(["", *measure_model("with rules", behind, model)]), flush=True)
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
    context = ScoreContext(load_task(), rows.head(4_000))
    took: dict[str, Took] = {}
    for name in SCORERS:
        make = find_plugin("curation.scorers", name)
        score_rows(rows.head(BATCH), make(), context)
        scorer = make()
        took[name] = timed(lambda scorer=scorer: _score_batches(rows, scorer, context))
    total = Took(sum(one.cpu_s for one in took.values()), sum(one.wall_s for one in took.values()))
    lines = ["", "| scorer | CPU s | wall s | rows/s of CPU | share |", "|---|" + "--:|" * 4]
    for name, one in took.items():
        share = f"{one.cpu_s / total.cpu_s:.0%}"
        lines.append(f"| {name} | {_seconds(one)} | {rows.height / one.cpu_s:,.0f} | {share} |")
    speed = rows.height / total.cpu_s
    return [*lines, f"| together | {_seconds(total)} | {speed:,.0f} | aim ≥ {AIM_ROWS:,} |"]


def _score_batches(rows: pl.DataFrame, scorer: Any, context: Any) -> None:
    from curation.scoring import score_rows

    for batch in rows.iter_slices(BATCH):
        score_rows(batch, scorer, context)


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


def put_rules(rows: pl.DataFrame) -> list[list[dict[str, str]]]:
    """Commands and their answers, each behind the rules of the task."""
    from curation.rows import dialogue

    turns = rows["messages"].to_list()
    return [dialogue(c[-2]["content"], c[-1]["content"], system=RULES) for c in turns]


def measure_model(kind: str, chats: Sequence[Any], folder: Path) -> list[str]:
    """Tokens a second of four ways to read the same rows."""
    import torch

    from curation.chat import encode_chats, load_tokenizer
    from curation.losses import answer_losses
    from curation.models import load_causal_lm

    torch.set_num_threads(1)
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    encoded = encode_chats(tokenizer, chats)
    tokens = sum(len(ids) for ids, _ in encoded)
    ours, bare, least, single = (
        "model_perplexity", "forward pass, all logits", "forward pass, logits of the answers",
        "a row at a time",
    )  # fmt: skip
    took = fastest(
        {
            ours: lambda: answer_losses(model, tokenizer, chats),
            bare: lambda: forward(model, tokenizer, encoded, answers=False),
            least: lambda: forward(model, tokenizer, encoded, answers=True),
            single: lambda: read_each(model, tokenizer, chats),
        }
    )
    size = sum(p.numel() for p in model.parameters())
    lines = [f"{size:,} parameters, {len(chats):,} rows {kind}, {tokens:,} tokens", ""]
    lines += ["| way | CPU s | wall s | tokens/s of CPU |", "|---|" + "--:|" * 3]
    lines += [f"| {n} | {_seconds(s)} | {tokens / s.cpu_s:,.0f} |" for n, s in took.items()]
    mine = took[ours].cpu_s
    shares = [took[name].cpu_s / mine for name in (bare, least)]
    aims = f"at least {AIM_FORWARD:.0%} of the faster one, and {AIM_LOOP:g} times the loop"
    said = f"{shares[0]:.0%} and {shares[1]:.0%} of the forward passes, "
    return [*lines, "", f"{said}{took[single].cpu_s / mine:.1f} times the loop (aim: {aims})"]


def read_each(model: Any, tokenizer: Any, chats: Sequence[Any]) -> None:
    """The loss of each answer, one row after the other, as a first script has it."""
    import torch

    for chat in chats:
        prompt = tokenizer.apply_chat_template(
            chat[:-1], add_generation_prompt=True, return_dict=False
        )
        ids = tokenizer.apply_chat_template(chat, return_dict=False)
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        with torch.inference_mode():
            model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()


def forward(model: Any, tokenizer: Any, encoded: Sequence[Any], *, answers: bool) -> None:
    """Read token ids with their masks in the batches of the scorer; logits of all or the answers'.

    The hidden states of the other positions are dropped before the head, so nothing is built twice.
    """
    import torch

    from curation.models import model_batches, pad_batch

    with torch.inference_mode():
        for batch in model_batches(model, [len(ids) for ids, _ in encoded], 8192):
            inputs = pad_batch(
                [encoded[i][0] for i in batch], pad=tokenizer.pad_token_id, left=True
            )
            if not answers:
                model(**inputs, use_cache=False)
                continue
            hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state
            masks = [[0] * (hidden.shape[1] - len(encoded[i][1])) + encoded[i][1] for i in batch]
            before = torch.tensor(masks, dtype=torch.bool).roll(-1, dims=1)
            model.get_output_embeddings()(hidden[before])


class Took(NamedTuple):
    """How long some work took."""

    cpu_s: float
    wall_s: float


def fastest(ways: Mapping[str, Callable[[], object]], times: int = 3) -> dict[str, Took]:
    """What each way took, the least of so many, taken in turn."""
    found: dict[str, list[Took]] = {name: [] for name in ways}
    for _ in range(times):
        for name, work in ways.items():
            found[name].append(timed(work))
    return {name: min(taken) for name, taken in found.items()}


def timed(work: Callable[[], object]) -> Took:
    """CPU and wall seconds of some work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)


def _seconds(took: Took) -> str:
    return f"{took.cpu_s:.2f} | {took.wall_s:.2f}"


def describe_machine() -> str:
    """The processor, and the versions of what is measured."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [f"{name} {version(name)}" for name in PACKAGES]
    processor = next(iter(names), platform.processor() or platform.machine())
    return f"{processor}; Python {platform.python_version()}, {', '.join(versions)}"


if __name__ == "__main__":
    sys.exit(main())
