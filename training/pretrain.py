"""Continued pre-training: the base model reads texts of the domain before it is fine-tuned.

Every token is trained, attention stays inside a text: what stands beside it in a block is another
text, which says nothing about it. Rows of the general track are read among the texts, through the
chat template, so that answering is not forgotten meanwhile.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curation.chat import load_tokenizer, quiet_libraries
from curation.models import attach_adapter, load_causal_lm
from curation.progress import Report, silent
from curation.rows import digest
from training.advice import TINY_PARAMS, Setting, TrainOptions
from training.base import load_base
from training.checkpoints import FOLDER, run_key
from training.diagnose import RISE
from training.holdout import LEAST
from training.methods import METHODS
from training.plan import data_size, estimate_run, model_name
from training.probe import load_model
from training.profiles import take_profile
from training.sft import run_trainer, save_adapter
from training.shape import read_shape
from training.ship import save_whole
from training.texts import answer_bits, text_bits, tokenise_texts
from training.tokens import TOKENS_SCHEMA, pack_rows, tokenise_rows
from training.trainer import DOMAIN, GENERAL, TRAIN, build_trainer

Method = Literal["full", "lora"]
GENERAL_HELD = 200
"""Most general rows that are measured and not read; half of them where there are fewer."""
ENOUGH_STEPS, MOST_TOKENS = 50, 16_384
"""A step has at most so many tokens, and fewer where the run would else have fewer steps."""


def pretrain_text(
    texts: pl.DataFrame,
    *,
    base_model: Path | str,
    out: Path,
    general: pl.DataFrame | None = None,
    method: Method = "full",
    rank: int = 16,
    alpha: int = 32,
    lr: float | None = None,
    epochs: float = 1.0,
    block: int = 1024,
    batch_tokens: int | None = None,
    replay: float = 0.1,
    validate: float = 0.05,
    seed: int = 0,
    revision: str = "",
    report: Report = silent,
) -> dict[str, Any]:
    """Train on `texts` (ROW_SCHEMA, track `text`) and write a whole model into `out/model`.

    Texts are read in blocks of `block` tokens. A share `validate` (0..1) of them is looked at and
    not read, 8 at least where there are four times as many, else none: the weights with the lowest
    loss on those are kept. Of the `general` rows so many are read that they are the share `replay`
    of all tokens. With `lora` what was trained is merged into the weights.

    Returns options, reasons, estimate, bits (bits per byte of the held texts, and of the answers of
    general rows that were not read: before and after, null where nothing is held), said (these and
    the diagnosis in words), left (what could not be read, by reason), history, best, epochs, the
    ids of texts (read, held, unread) and of rows (replayed), n_tokens of a pass, seconds,
    resumed_at and model. Raises `ValueError` for shares that are none, a block that the model
    cannot read, and when no text is left to read.
    """
    require_shares(replay=replay, validate=validate)
    quiet_libraries()
    import torch

    tokenizer = load_tokenizer(base_model, revision=revision)
    shares = {"replay": replay, "validate": validate, "seed": seed}
    rows = texts.clear() if general is None else general
    reading = choose_reading(texts, rows, tokenizer, block=block, **shares)
    before = _measure(base_model, revision, tokenizer, reading, block, report)
    setting = Setting(read_shape(base_model, revision=revision), take_profile())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = load_base(base_model, revision=revision, method=method, profile=setting.profile)
        choices = {"method": method, "rank": rank, "alpha": alpha, "lr": lr, "epochs": epochs}
        choices |= {"block": block, "batch_tokens": batch_tokens, "validate": validate}
        base = {"base_model": model_name(base_model), "revision": revision, "seed": seed}
        options, reasons = choose_options(reading, setting, **choices, **base)
        trainer = build_trainer(model, tokenizer, reading.bins, options, out=out, report=report)
        report(estimate := estimate_run(options, setting, data_size(reading.train)))
        key = run_key(base_model, options, reading.bins)
        run = run_trainer(trainer, out=out, key=key, n_rows={})
    _write_model(trainer.model, tokenizer, options, base_model, out=out)
    after = _measure(out / "model", "", tokenizer, reading, block, report)
    shutil.rmtree(out / FOLDER)
    bits = {what: {"before": before[what], "after": after[what]} for what in before}
    said = [*say_bits(bits), *run.pop("diagnosis")]
    for line in said:
        report(line)
    return {
        "options": dataclasses.asdict(options),
        "reasons": reasons,
        "estimate": estimate,
        "bits": bits,
        "said": said,
        **reading.describe(),
        **{name: value for name, value in run.items() if name != "loss"},
        "model": str(out / "model"),
    }


def require_shares(*, replay: float = 0.0, validate: float = 0.0) -> None:
    """Raise `ValueError` for a share that leaves nothing, or is none."""
    for name, share in (("replay", replay), ("validate", validate)):
        if not 0 <= share < 1:
            raise ValueError(f"pretrain.{name}: a share from 0 to below 1, got {share!r}")


@dataclass(frozen=True)
class Reading:
    """What is read and what is only looked at.

    `train` are token pieces of texts and of replayed rows, `held` those of held texts; `measured`
    are the general rows (ROW_SCHEMA) that are not read. `bins` is what the trainer gets.
    """

    train: pl.DataFrame
    held: pl.DataFrame
    measured: pl.DataFrame
    replayed: list[str]
    bins: Mapping[str, pl.DataFrame]

    @property
    def n_tokens(self) -> int:
        return int(self.train["n_tokens"].cast(pl.Int64).sum())

    def describe(self) -> dict[str, Any]:
        """The ids of each part, the tokens of a pass, and what could not be read."""
        usable = pl.col("reason") == ""
        read = self.train.filter(usable & ~pl.col("id").is_in(self.replayed))
        every = pl.concat(part.select("id", "reason") for part in (self.train, self.held))
        unread = every.filter(~usable)
        left = dict(unread.group_by("reason").agg(pl.col("id").n_unique()).sort("reason").rows())
        ids = {"read": read, "held": self.held.filter(usable), "unread": unread}
        told = {name: frame["id"].unique().sort().to_list() for name, frame in ids.items()}
        return {**told, "replayed": self.replayed, "n_tokens": self.n_tokens, "left": left}


def choose_reading(
    texts: pl.DataFrame,
    general: pl.DataFrame,
    tokenizer: Any,
    *,
    block: int,
    replay: float,
    validate: float,
    seed: int,
) -> Reading:
    """Which texts and rows are read, as tokens; drawn by their ids and the seed alone."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end token, so it could not be told where texts end")
    drawn = draw_order(texts, seed)
    n_held = max(LEAST, round(validate * texts.height)) if texts.height >= 4 * LEAST else 0
    held = tokenise_texts(drawn.head(n_held if validate else 0), tokenizer, block=block)
    read = tokenise_texts(drawn.join(held, on="id", how="anti").sort("id"), tokenizer, block=block)
    if not read.filter(pl.col("reason") == "").height:
        raise ValueError(f"no text is left to pre-train on; {texts.height:,} were given")
    rows = draw_order(general, seed)
    measured = rows.head(min(GENERAL_HELD, general.height // 2))
    rest = tokenise_rows(rows.slice(measured.height), tokenizer, max_tokens=block)
    wanted = replay / (1 - replay) * int(read["n_tokens"].cast(pl.Int64).sum())
    again = _all_trained(_first_tokens(rest.filter(pl.col("reason") == ""), wanted))
    names = TOKENS_SCHEMA.names()
    train = pl.concat([read.select(names), again.select(names)])
    looked = tokenise_rows(measured, tokenizer, max_tokens=block)
    parts = {TRAIN: train, DOMAIN: held.select(names), GENERAL: looked}
    bins = {name: pack_rows(part, block=block) for name, part in parts.items()}
    if not bins[DOMAIN].height:  # there is nothing to choose the best weights by
        bins = {TRAIN: bins[TRAIN]}
    bins = {name: part for name, part in bins.items() if part.height}
    return Reading(train, held, measured, again["id"].to_list(), bins)


def draw_order(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows in an order that follows from their ids and the seed."""
    place = [digest(["pretrain", seed, id]) for id in rows["id"]]
    return rows.with_columns(place=pl.Series(place, dtype=pl.String)).sort("place").drop("place")


def _first_tokens(tokens: pl.DataFrame, wanted: float) -> pl.DataFrame:
    """The first rows that come to so many tokens together, all of them where they do not."""
    before = pl.col("n_tokens").cast(pl.Int64).cum_sum() - pl.col("n_tokens")
    return tokens.filter(before < wanted)


def _all_trained(tokens: pl.DataFrame) -> pl.DataFrame:
    """Rows of which the prompt is trained like the answer."""
    masks = [[False] + [True] * (n - 1) for n in tokens["n_tokens"]]
    mask = pl.Series(masks, dtype=TOKENS_SCHEMA["labels_mask"])
    return tokens.with_columns(labels_mask=mask, n_loss_tokens=pl.col("n_tokens") - 1)


def choose_options(
    reading: Reading,
    setting: Setting,
    *,
    base_model: str,
    revision: str,
    seed: int,
    method: Method,
    rank: int,
    alpha: int,
    lr: float | None,
    epochs: float,
    block: int,
    batch_tokens: int | None,
    validate: float,
) -> tuple[TrainOptions, list[str]]:
    """The options with every open one decided, and the reasons."""
    known, bins = METHODS[method], reading.bins[TRAIN]
    advised = known.tiny_lr if setting.shape.n_params < TINY_PARAMS else known.lr
    wanted = min(MOST_TOKENS, reading.n_tokens * epochs / ENOUGH_STEPS)
    step_tokens = max(block, round(wanted)) if batch_tokens is None else batch_tokens
    # The trainer counts a batch in rows; a piece of a text, or a replayed row, is one here.
    n_rows = int(bins["ids"].list.len().sum())
    batch_rows = max(1, round(step_tokens * n_rows / reading.n_tokens))
    steps = max(1, round(n_rows * epochs / batch_rows))
    options = TrainOptions(
        base_model=base_model,
        revision=revision,
        method=method,
        rank=rank,
        alpha=alpha,
        lr=advised if lr is None else lr,
        epochs=epochs,
        batch_rows=batch_rows,
        max_tokens=block,
        packing_block=block,
        micro_tokens=max(setting.room(method, rank), block),
        profile=setting.profile.name,
        warmup_steps=max(1, round(0.05 * steps)),
        seed=seed,
        validate=validate if DOMAIN in reading.bins else 0.0,
    )
    source = "set in the recipe" if lr is not None else known.source
    size = "set in the recipe" if batch_tokens is not None else f"{ENOUGH_STEPS} steps or more"
    return options, [
        f"method {method}: {known.about}",
        f"lr {options.lr:g}: {source}",
        f"batch {step_tokens:,} tokens, about {steps:,} steps: {size}",
        f"epochs {epochs:g}: texts that are read again and again are learned by heart",
        f"block {block} tokens: texts share it, attention stays inside each",
    ]


def _measure(
    model: Path | str,
    revision: str,
    tokenizer: Any,
    reading: Reading,
    block: int,
    report: Report,
) -> dict[str, float | None]:
    """Bits per byte of what is held; raises `ValueError` where the model cannot read a block."""
    loaded = load_causal_lm(model, revision=revision)
    longest = loaded.config.max_position_embeddings
    if block > longest:
        raise ValueError(f"pretrain.block: the model reads {longest:,} tokens, not {block:,}")
    return {
        "texts": text_bits(loaded, tokenizer, reading.held, report=report),
        "general": answer_bits(loaded, tokenizer, reading.measured, report=report),
    }


def say_bits(bits: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """What was won on texts and lost on general answers, in words."""
    lines = []
    for what, named in (("texts", "held texts"), ("general", "general answers")):
        before, after = bits[what]["before"], bits[what]["after"]
        if before is None or after is None:
            lines.append(f"{named}: nothing is held, so nothing is known of them")
            continue
        share = after / before - 1
        lines.append(f"{named}: {before:.3f} to {after:.3f} bits per byte ({share:+.1%})")
        if what == "general" and share > RISE:
            lines[-1] += ": forgetting; a larger pretrain.replay, or a lower pretrain.lr"
    return lines


def _write_model(
    trained: Any, tokenizer: Any, options: TrainOptions, base_model: Path | str, *, out: Path
) -> None:
    """The whole model in the precision that the base has; a LoRA is merged in single precision."""
    from transformers import AutoConfig

    revision = options.revision
    said = AutoConfig.from_pretrained(
        str(base_model), revision=revision or None, trust_remote_code=False
    ).dtype
    whole = trained
    if options.method == "lora":
        save_adapter(trained, tokenizer, options, out=out)
        base = load_model(base_model, revision=revision)
        whole = attach_adapter(base, out / "adapter").merge_and_unload()
    name = str(said or "float32").removeprefix("torch.")
    shutil.rmtree(out / "model", ignore_errors=True)
    save_whole(whole, tokenizer, out / "model", dtype=name)  # type: ignore[arg-type]
