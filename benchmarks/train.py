"""What training costs beside TRL as its documentation shows it, on the same model, rows and steps.

    .venv/bin/python benchmarks/train.py [--rows 4000] [--hidden 256] [--layers 4]

Four comparisons, each of them in processes of its own, of which the larger ones' peak memory is
read. Preparing: conversations to packed sequences, ours against `SFTTrainer`'s (both at best fit),
which must come out equal for a thousand rows, as many as it packs together. Training: LoRA of all
linear layers for one pass, ours (packed, attention inside rows) against `SFTConfig` with its
defaults, with the same rows in a step, the same rate and answers trained; once more without the
checkpointing of activations, which by default it does and ours does on a GPU only. Answering:
greedy answers of `predict_answers` against `generate` a row at a time. The model is a Qwen3 with
random weights, which cost as much as trained ones, and answers of a set length.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

PACKAGES = ("torch", "transformers", "trl", "peft")
BLOCK, BATCH_ROWS, ASKED, NEW_TOKENS = 512, 16, 200, 24
TOGETHER = 1_000  # rows that TRL packs at a time
AIM_PREPARE, AIM_TRAIN, AIM_ANSWER = 2.7, 1.5, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--hidden", type=int, default=256, help="width of the model")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args.folder)))
        return 0
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = _run("material", folder, args)
        print(f"{said['rows']:,} rows, {said['n_params']:,} parameters\n")
        lines = [
            *compare("preparing", "rows", folder, args, aim=AIM_PREPARE),
            *compare("training", "tokens", folder, args, aim=AIM_TRAIN),
            *compare("training", "tokens", folder, args, aim=AIM_TRAIN, against="plain"),
            *compare("answering", "rows", folder, args, aim=AIM_ANSWER),
        ]
    print("| | ours | theirs | ratio | aim | peak MB ours / theirs | the same |")
    print("|---|" + "--:|" * 6)
    print("\n".join(lines))
    return 0


def compare(
    what: str, unit: str, folder: Path, args: Any, *, aim: float, against: str = "theirs"
) -> list[str]:
    """A line of the table: both sides run one after the other, twice, and the better of each."""
    best: dict[str, dict[str, Any]] = {}
    for side in ("ours", against) * 2:
        told = _run(f"{what}:{side}", folder, args)
        if side not in best or told["seconds"] < best[side]["seconds"]:
            best[side] = told
    ours, theirs = best["ours"], best[against]
    speeds = [one["count"] / one["seconds"] for one in (ours, theirs)]
    same = {True: "yes", False: "NO", None: "–"}[
        ours["digest"] == theirs["digest"] if ours["digest"] else None
    ]
    memory = f"{ours['peak_mb']:,} / {theirs['peak_mb']:,}"
    name = NAMES.get(against, what)
    return [
        f"| {name}, {unit}/s | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {speeds[0] / speeds[1]:.2f} | "
        f"≥ {aim} | {memory} | {same} |"
    ]


def _run(part: str, folder: Path, args: Any) -> dict[str, Any]:
    """What a part says, done in a process of its own."""
    sizes = [f"--{name}={getattr(args, name)}" for name in ("rows", "hidden", "layers")]
    asked = [sys.executable, __file__, "--part", part, "--folder", str(folder), *sizes]
    (folder / "sizes.json").write_text(json.dumps({n: getattr(args, n) for n in SIZES}))
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


NAMES = {"plain": "training, nothing checkpointed"}
SIZES = ("rows", "hidden", "layers")


def make_material(folder: Path) -> dict[str, Any]:
    """Short rows in Chinese and English of the example's grammars, and a model for them."""
    import polars as pl

    from curation.rows import make_row, rows_frame
    from curation.sources.grammar import grammar
    from training.demo_model import pretrain_demo_model

    sizes = json.loads((folder / "sizes.json").read_text())
    recipes = Path(__file__).parents[1] / "pipelines" / "recipes" / "in_car"
    made = []
    for file, track in (("general.yaml", "general"), ("grammar.yaml", "domain")):
        for record in grammar(path=recipes / file, rows=sizes["rows"] // 2, seed=5)():
            made.append(make_row(record.data["messages"], track=track))
    rows = rows_frame(made).unique("id", maintain_order=True)
    rows.write_parquet(folder / "rows.parquet")
    model = {"hidden": sizes["hidden"], "layers": sizes["layers"], "steps": 1}
    said = pretrain_demo_model(rows, out=folder / "model", **model)
    assert isinstance(rows, pl.DataFrame)
    return {"rows": rows.height, "n_params": said["n_params"]}


def prepare_ours(folder: Path) -> dict[str, Any]:
    from curation.chat import load_tokenizer
    from training.tokens import pack_rows, tokenise_rows

    rows, tokenizer = _rows(folder), load_tokenizer(folder / "model")
    tokenise_rows(rows.head(8), tokenizer)  # what is loaded on first use
    begin = time.perf_counter()
    bins = pack_rows(tokenise_rows(rows, tokenizer), block=BLOCK)
    seconds = time.perf_counter() - begin
    bins = pack_rows(tokenise_rows(rows.head(TOGETHER), tokenizer), block=BLOCK)
    sequences = [bins[name].to_list() for name in ("input_ids", "labels")]
    return _told(rows.height, seconds, sequences)


def prepare_theirs(folder: Path) -> dict[str, Any]:
    rows = _rows(folder)
    _trl_trainer(folder, rows.head(8), packing=True, max_length=BLOCK)
    begin = time.perf_counter()
    _trl_trainer(folder, rows, packing=True, max_length=BLOCK)
    seconds = time.perf_counter() - begin
    whole = _trl_trainer(folder, rows.head(TOGETHER), packing=True, max_length=BLOCK).train_dataset[
        :
    ]
    return _told(rows.height, seconds, [list(whole[name]) for name in ("input_ids", "labels")])


def train_ours(folder: Path) -> dict[str, Any]:
    from training.sft import train_sft

    with tempfile.TemporaryDirectory() as out:
        said = train_sft(
            _rows(folder), base_model=folder / "model", out=Path(out), method="lora", epochs=1.0,
            batch_rows=BATCH_ROWS, lr=1e-3, max_tokens=BLOCK,
        )  # fmt: skip
    return _told(said["n_tokens"], said["seconds"], None)


def train_theirs(folder: Path, **options: Any) -> dict[str, Any]:
    from peft import LoraConfig

    rows = _rows(folder)
    lora = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = _trl_trainer(folder, rows, peft_config=lora, **options)
    begin = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begin
    n_tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
    return _told(n_tokens, seconds, None)


def answer_ours(folder: Path) -> dict[str, Any]:
    from evaluation.predict import load_predictor, predict_answers

    predictor, prompts = load_predictor(folder / "model"), _prompts(folder)
    _never_end(predictor.model)
    predict_answers(predictor, prompts[:2], max_new_tokens=2)
    begin = time.perf_counter()
    answers = predict_answers(predictor, prompts, max_new_tokens=NEW_TOKENS)
    return _told(len(prompts), time.perf_counter() - begin, answers)


def answer_theirs(folder: Path) -> dict[str, Any]:
    import torch

    from evaluation.predict import load_predictor

    predictor, prompts = load_predictor(folder / "model"), _prompts(folder)
    model, tokenizer = predictor.model, predictor.tokenizer
    _never_end(model)
    answers, begin = [], time.perf_counter()
    for prompt in prompts:
        chat = [{k: m[k] for k in ("role", "content")} for m in prompt]
        ids = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(
                **ids, do_sample=False, max_new_tokens=NEW_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        new = out[0, ids["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    return _told(len(prompts), time.perf_counter() - begin, answers)


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "material": make_material,
    "preparing:ours": prepare_ours,
    "preparing:theirs": prepare_theirs,
    "training:ours": train_ours,
    "training:theirs": train_theirs,
    "training:plain": lambda folder: train_theirs(folder, activation_checkpointing=False),
    "answering:ours": answer_ours,
    "answering:theirs": answer_theirs,
}


def _trl_trainer(folder: Path, rows: Any, peft_config: Any = None, **options: Any) -> Any:
    """TRL's own trainer on conversations; each row's last step of preparation is inside."""
    from datasets import Dataset, disable_caching, disable_progress_bars
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from curation.chat import load_tokenizer, quiet_libraries

    quiet_libraries()
    disable_caching()
    disable_progress_bars()
    chats = [[{k: m[k] for k in ("role", "content")} for m in chat] for chat in rows["messages"]]
    config = SFTConfig(
        output_dir=str(folder / "trl"), assistant_only_loss=True, num_train_epochs=1.0,
        per_device_train_batch_size=BATCH_ROWS, learning_rate=1e-3, report_to="none",
        bf16=False, use_cpu=True, disable_tqdm=True,
        save_strategy="no", **options,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", trust_remote_code=False, use_safetensors=True, attn_implementation="sdpa"
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"messages": chats}),
        processing_class=load_tokenizer(folder / "model"),
        peft_config=peft_config,
    )


def _rows(folder: Path) -> Any:
    import polars as pl

    return pl.read_parquet(folder / "rows.parquet")


def _prompts(folder: Path) -> list[Any]:
    return [chat[:-1] for chat in _rows(folder).head(ASKED)["messages"].to_list()]


def _never_end(model: Any) -> None:
    """Let every answer have the same number of tokens: the weights are random."""
    model.generation_config.min_new_tokens = NEW_TOKENS


def _told(count: int, seconds: float, result: Any) -> dict[str, Any]:
    from curation.rows import digest

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak >> (20 if sys.platform == "darwin" else 10)
    name = digest(result) if result is not None else ""
    return {"count": count, "seconds": seconds, "peak_mb": peak_mb, "digest": name}


def describe_machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    sys.exit(main())
