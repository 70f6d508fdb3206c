"""Train: the base model, the reward model and the adapter."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from assets.facts import model_path, model_revision
from assets.live import drawing
from assets.recipe import Recipe
from assets.stage import Job, Stage, stage
from curation.registry import find_version
from curation.rows import ANSWER, UTTERANCE, digest
from curation.store import Made, Store, Version
from training.curves import Lang, read_measured, tell_history
from training.demo_model import pretrain_demo_model
from training.launch import run_supervised
from training.reward import train_reward_model
from training.watch import HISTORY

GROUP = "5_train"
TRAINER = ("training.sft",)
"""What is run by name in a process of its own, which a code version has to be told of."""
CLOCKED = ("seconds", "tokens_per_s", "peak_mb", "adapter", "resumed_at", "estimate")
"""What a training run reports that a second run would report differently."""
LOG_SCHEMA = {"step": pl.Int64, **dict.fromkeys(HISTORY, pl.Float64)}
"""One line for each step of the optimizer; the losses of rows that were only looked at are null
where there was no look."""


def base_model_stage(recipe: Recipe) -> Stage:
    """The stage of the base model: trained here for `demo`, else the model the recipe names."""
    general = [name for name, plug in recipe.sources.items() if _is_general(plug.common)]
    inputs = tuple(f"sources/{name}" for name in general) if recipe.base_model == "demo" else ()
    train = recipe.options["train"]
    section = {
        **recipe.sections(("demo_model", "reference")),
        "named": recipe.base_model,
        "revision": train.get("revision", ""),
    }
    return Stage("base_model", GROUP, base_model, inputs, section, kinds=("huggingface",))


def base_model(job: Job, *general: Version) -> Made:
    """The model that is adapted: a local folder, a hub id, or one pre-trained here (`demo`).

    That one stands for a model from a hub, so it stays the same until the reference's next edition.
    """
    if job.recipe.base_model != "demo":
        revision = job.recipe.options["train"].get("revision", "")
        return Made(values={"model": job.recipe.base_model, "revision": revision})
    if not general:
        raise ValueError(
            "the demo base model learns from general rows: give a source `track: general`, or name "
            "another base model under train"
        )
    if before := job.same_section:
        return _as_before(before)
    rows = pl.concat([source.table("rows") for source in general]).unique("id").sort("id")
    out = _scratch(job, "base_model")
    said = pretrain_demo_model(rows, out=out, report=job.report, **job.recipe.options["demo_model"])
    return Made({"rows": rows.select("id")}, {"model": out}, keep_timeless(said))


@stage(GROUP, section=("task", "reward_model", "reference"))
def reward_model(job: Job, rows: Version, bad_cases: Version, base_model: Version) -> Made:
    """A model that tells right from wrong, frozen like the reference till its next edition."""
    base = {"base_model": base_model.data_version}
    if (before := job.same_section) and base.items() <= before.values.items():
        return _as_before(before)
    pairs = _reward_pairs(job, rows.table("rows"), bad_cases.table("rows"))
    out = _scratch(job, "reward_model")
    options = {"revision": model_revision(base_model), **job.recipe.options["reward_model"]}
    said = train_reward_model(
        pairs,
        base_model=model_path(base_model),
        system=job.recipe.task.system,
        out=out,
        report=job.report,
        **options,
    )
    return Made(tables={"rows": pairs}, folders={"model": out}, values=keep_timeless(said) | base)


def _as_before(model: Version) -> Made:
    return Made({"rows": model.table("rows")}, {"model": model.folder("model")}, model.values)


@stage(
    GROUP, section="train", code=TRAINER, kinds=("huggingface",), reads=lambda job: _start_key(job)
)
def adapter(job: Job, training_set: Version, base_model: Version) -> Made:
    """The adapter of one model version, trained by a supervised process of its own."""
    said = run_training(job, training_set, base_model)
    for finding in said["diagnosis"]:
        job.report(finding)
    return made_adapter(said)


def run_training(job: Job, training_set: Version, base_model: Version) -> dict[str, Any]:
    """What `train_sft` came to with the options of the recipe, in a process of its own.

    With `started_from`, the data version of the adapter that it went on from, if it did.
    """
    options, started = train_options(job.recipe, job.store, base_model)
    train = job.recipe.sections("train")
    key = digest([training_set.data_version, base_model.data_version, train, *started.values()])
    work = job.store.workdir(f"train-{key}")
    write_training_rows(training_set, work / "rows.parquet")
    base = model_path(base_model)
    spec = {
        "call": "training.sft:train_sft",
        "frames": {"rows": str(work / "rows.parquet")},
        "paths": {"out": str(work / "run")},
        "options": {"base_model": base, "run_name": f"{job.recipe.name}-{key[:12]}", **options},
    }
    said = run_supervised(spec, workdir=work, report=drawing(job.report, work))
    return said | started | {"run": key}


def made_adapter(said: Mapping[str, Any]) -> Made:
    """The trained adapter with its log and all that a second run would say again."""
    values = keep_timeless(said)
    log = pl.DataFrame(values.pop("history"), schema=LOG_SCHEMA)
    values.pop("loss")
    return Made(tables={"log": log}, folders={"adapter": Path(said["adapter"])}, values=values)


def run_curves(version: Version, lang: Lang = "en") -> tuple[str, str]:
    """The curves of a trained model as SVG and in words, ("", "") where it has no log.

    Rates and memory are drawn while the work folder of the run is there: no version holds them.
    """
    work = version.store.root / "tmp" / f"train-{version.values.get('run')}"
    measured = read_measured(work / "run" / "log.jsonl")
    return tell_history(version, measured=measured, lang=lang)


def train_options(
    recipe: Recipe, store: Store, base_model: Version
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `train_sft` is called with, and the data version of the adapter it goes on from, if any.

    Raises `LookupError` for an unknown version, `ValueError` for one of another base model.
    """
    options = {k: v for k, v in recipe.options["train"].items() if k != "base_model"}
    if not (name := options.get("start", "")):
        return options, {}
    entry = find_start(store, recipe.name, name)
    before = store.version(entry.values["adapter"])
    if store.version(entry.values["base_model"]).data_version != base_model.data_version:
        raise ValueError(f"train.start: {name} was trained on another base model")
    options["start"] = str(before.folder("adapter"))
    return options, {"started_from": before.data_version}


def find_start(store: Store, recipe: str, name: str) -> Version:
    """The version that `start` names; what names another one after each build is refused."""
    if name in ("latest", "champion"):
        raise ValueError(f"train.start: {name!r} is another after each build; name one, such as v3")
    return find_version(store, recipe, name)


def _start_key(job: Job) -> str:
    """The adapter that the new one goes on from, "" where it begins anew."""
    name = job.recipe.options["train"].get("start", "")
    return find_start(job.store, job.recipe.name, name).values["adapter"] if name else ""


def write_training_rows(training_set: Version, path: Path) -> None:
    """Write what `train_sft` trains on."""
    training_rows(training_set).write_parquet(path)


def training_rows(training_set: Version) -> pl.DataFrame:
    """What `train_sft` trains on: rows as often as they repeat, with their cluster."""
    rows = (
        training_set.table("rows").select(pl.all().repeat_by("repeats").explode()).drop("repeats")
    )
    clusters = training_set.input("split_rows").table("clusters").select("id", "cluster")
    return rows.join(clusters, on="id", how="left", maintain_order="left")


def _reward_pairs(job: Job, rows: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """(prompt, chosen, rejected): bad cases to learn from, and seeds made wrong on purpose."""
    task = job.recipe.task
    trusted = rows.filter(
        (pl.col("track") == "domain") & (pl.col("split") == "train") & (pl.col("origin") == "human")
    )
    trusted = (
        trusted
        if trusted.height
        else rows.filter((pl.col("track") == "domain") & (pl.col("split") == "train"))
    )
    pairs = [
        {"prompt": prompt, "chosen": answer, "rejected": wrong}
        for prompt, answer in trusted.select(p=UTTERANCE, a=ANSWER).iter_rows()
        if not task.check(prompt, answer)
        for wrong, _ in task.corrupt(answer, prompt, seed=0)
    ]
    learn = cases.filter(pl.col("half") == "learn").select(
        "prompt", chosen="gold", rejected="predicted"
    )
    return pl.concat([pl.DataFrame(pairs, schema=learn.schema), learn]).unique().sort(learn.columns)


def _is_general(said: Mapping[str, Any]) -> bool:
    return said.get("track") == "general" and said.get("split", "train") == "train"


def keep_timeless(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a run said that a second one would say, too."""
    return {name: value for name, value in said.items() if name not in CLOCKED}


def _scratch(job: Job, name: str) -> Path:
    """An empty folder for a model that the store then copies in; the next run empties it again."""
    folder = job.store.workdir("scratch") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
