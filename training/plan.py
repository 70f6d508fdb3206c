"""What a run will be, decided before any weight is loaded: its rows, its options and what it costs.

`train_sft` trains by such a plan, and `winnow advise` only shows it.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from training.advice import (
    IN_RECIPE,
    DataSize,
    Setting,
    TrainOptions,
    advise_max_tokens,
    advise_method,
    advise_options,
)
from training.base import runnable
from training.estimate import estimate_seconds, say_estimate
from training.methods import Asked
from training.profiles import ProfileName, take_profile
from training.shape import count_trained, read_shape
from training.shard import Shard
from training.tokens import leave_longer, tokenise_rows


@dataclass(frozen=True)
class Plan:
    """The rows as tokens (`TOKENS_SCHEMA`), and the options with a reason for each.

    `estimate` says in words what they cost, `fits` whether the memory holds it, and `why` why the
    method is another than the one asked for.
    """

    tokens: pl.DataFrame
    options: TrainOptions
    setting: Setting
    reasons: list[str]
    estimate: str
    fits: bool
    why: str


def plan_run(
    rows: pl.DataFrame,
    tokenizer: Any,
    *,
    base_model: Path | str,
    revision: str = "",
    method: Asked = "qlora",
    rank: int | None = None,
    virtual_tokens: int = 20,
    max_tokens: int | None = None,
    processes: int = 1,
    shard: Shard = "no",
    profile: ProfileName = "auto",
    start: str = "",
    more: Mapping[str, Any],
) -> Plan:
    """The plan of a run on `rows` (ROW_SCHEMA); `more` are those of `advise_options` that nothing
    else here hangs on. Raises `ValueError` for options that cannot work together.
    """
    if start and method == "auto":
        raise ValueError(f"train.start: name the method of {start!r} in place of auto")
    shape = read_shape(base_model, revision=revision)
    setting = Setting(shape, take_profile(profile), processes, shard)
    rank = rank or _rank_there(start)
    tokens = tokenise_rows(rows.sort("id"), tokenizer, max_tokens=max_tokens or shape.context)
    wanted, said = advise_method(
        method, data_size(tokens), setting, rank=rank, virtual_tokens=virtual_tokens
    )
    used, why = runnable(wanted, setting.profile)
    limit, limit_said = max_tokens, IN_RECIPE
    if limit is None:
        room = setting.room(used, rank or 16, virtual_tokens)
        lengths = tokens.filter(pl.col("reason") == "")["n_tokens"].to_list()
        limit, limit_said = advise_max_tokens(lengths, room, shape.context)
    tokens = leave_longer(tokens, limit)
    options, reasons = advise_options(
        data_size(tokens),
        setting,
        base_model=model_name(base_model),
        revision=revision,
        method=used,
        rank=rank,
        virtual_tokens=virtual_tokens,
        max_tokens=limit,
        **more,
    )
    first = [f"method {used}: {said if used == wanted else why}"]
    first += [f"rows of at most {limit:,} tokens: {limit_said}"]
    size = data_size(tokens)
    return Plan(
        tokens,
        options,
        setting,
        reasons=[*first, *reasons],
        estimate=estimate_run(options, setting, size),
        fits=setting.memory(options, size)["all"] <= setting.profile.memory_gb,
        why=why,
    )


def split_options(train: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe's section `train` as `plan_run` takes them."""
    own, more = (inspect.signature(f).parameters for f in (plan_run, advise_options))
    taken = {name: value for name, value in train.items() if name in own}
    return taken | {"more": {k: v for k, v in train.items() if k in more and k not in own}}


def data_size(tokens: pl.DataFrame) -> DataSize:
    """What advice needs to know of tokenised rows (`TOKENS_SCHEMA`) that can be trained on."""
    usable = tokens.filter(pl.col("reason") == "").select(
        n=pl.len(),
        tokens=pl.col("n_tokens").cast(pl.Int64).sum(),
        longest=pl.col("n_tokens").max().fill_null(0),
        trained=pl.col("n_loss_tokens").cast(pl.Int64).sum(),
    )
    return DataSize(*usable.row(0))


def estimate_run(options: TrainOptions, setting: Setting, size: DataSize) -> str:
    """Memory and time of a run, in words."""
    memory, seconds = setting.memory(options, size), _seconds(options, setting, size)
    return say_estimate(memory, seconds, setting.profile)


def _seconds(options: TrainOptions, setting: Setting, size: DataSize) -> float:
    """The time that all passes over the rows are estimated to take."""
    trained = count_trained(
        setting.shape,
        options.method,
        rank=options.rank,
        virtual_tokens=options.virtual_tokens,
    )
    return estimate_seconds(
        setting.shape,
        n_trained=trained,
        n_tokens=size.n_tokens * options.epochs,
        profile=setting.profile,
        processes=options.processes,
    )


def _rank_there(start: str) -> int | None:
    """The rank of the adapter to go on from, which cannot be changed; `None` without one."""
    if not start:
        return None
    config = Path(start) / "adapter_config.json"
    return json.loads(config.read_text("utf-8")).get("r") if config.is_file() else None


def model_name(base_model: Path | str) -> str:
    """A hub id as it is; of a local folder its name only: a run is the same wherever it lies."""
    return Path(base_model).name if Path(base_model).is_dir() else str(base_model)
