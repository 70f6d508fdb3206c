"""What a model server needs of a version: its merged folder, and stored answers to ask again."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.code import code_version
from assets.recipe import Recipe, load_recipe
from assets.ship import Form, ship_version
from curation.progress import Report, silent
from curation.release import wrong_sum
from curation.rows import digest
from curation.store import Store, Version
from training.launch import run_supervised
from training.probe import Dtype

PROBES = 8
_TURN_S = 3600
"""How long to wait for another server that merges a version on this machine."""


@dataclass(frozen=True)
class Probe:
    """A question of the frozen test set and what the version answered when it was evaluated."""

    messages: Sequence[Mapping[str, str]]
    answer: str


def merged_folder(
    store: Store, recipe: Recipe, entry: Version, *, dtype: Dtype, report: Report = silent
) -> Path:
    """A version merged and checked in a folder of the store's unfinished work, made only once.

    A folder that is there is held against its checksums and made anew when it was damaged. Raises
    what `ship_version` raises.
    """
    made_of = [entry.manifest["folders"].get("version"), entry.manifest["inputs"]["base_model"]]
    made = digest([*made_of, dtype, code_version(ship_version)])
    folder = store.workdir("served") / f"v{entry.values['number']}-{made[:16]}"
    options = {
        "place": store.place, "root": str(store.root), "recipe": str(recipe.path),
        "version": entry.values["id"], "dtype": dtype,
    }  # fmt: skip
    spec = {
        "call": "assets.served:merge_once",
        "options": options,
        "paths": {"to": folder},
        "lock_wait_s": _TURN_S,
    }
    run_supervised(spec, workdir=store.workdir("served-work"), report=report)
    return folder


def merge_once(
    *, place: str, root: str, recipe: str, version: str, dtype: Dtype, to: Path, report: Report
) -> dict[str, str]:
    """Write the merged folder, unless it is there and whole; done in a supervised process."""
    if to.is_dir() and not _damage(to):
        return {"folder": str(to)}
    shutil.rmtree(to, ignore_errors=True)
    store = Store(place, local=Path(root))
    ship_version(
        store, load_recipe(Path(recipe)), version, to=to, form=Form(dtype=dtype), report=report
    )
    return {"folder": str(to)}


def find_probes(entry: Version, *, limit: int = PROBES) -> list[Probe]:
    """Questions of the test set that the version answered in another way than its base, if any did.

    Those prove that the adapter is in what is served. They come in order of id; none for a version
    that answered nothing.
    """
    evaluation = entry.input("evaluation")
    cases = evaluation.table("rows").filter(
        (pl.col("split") == "test") & (pl.col("kind") == "task") & pl.col("predicted").is_not_null()
    )
    said = {arm: cases.filter(arm=arm) for arm in ("candidate", "base")}
    base = said["base"].select("id", base="predicted")
    ranked = (
        said["candidate"]
        .filter(pl.col("predicted").str.strip_chars() != "")
        .join(base, on="id", how="left")
        .sort(pl.col("predicted").eq_missing(pl.col("base")), "id")
        .head(limit)
    )
    exam = evaluation.input("split_rows").lookup("exam", ranked["id"], ["messages"])
    asked = dict(zip(exam["id"], exam["messages"], strict=True))
    return [
        Probe(_question(asked[id]), answer)
        for id, answer in ranked.select("id", "predicted").iter_rows()
        if id in asked
    ]


def _question(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages[:-1]]


def _damage(folder: Path) -> str:
    try:
        return wrong_sum(folder)
    except (OSError, ValueError) as error:
        return str(error)
