"""One model version: verdict, numbers, the data it was trained on, and when it was in use."""

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import polars as pl

from curation.lineage.family import root_sources
from curation.lineage.preferred import taught_pairs
from curation.lineage.views import View
from curation.registry import champion_at, champion_turns, find_version, registered, say_verdict
from curation.store import Store, Version

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def summarise_model(
    training_set: Version, bad_cases: Version, base_model: Version, adapter: Version | None = None
) -> dict[str, Any]:
    """What a model was trained on, in counts: by source, by origin, by step and fate.

    `pairs` are those that the adapter was preferred on.
    """
    rows = training_set.table("rows", columns=["id", "source", "origin", "license", "repeats"])
    steps = {"training_set": training_set, **training_set.upstream()}
    names = [n for n in ("duplicates", "split_rows", "kept_rows", "training_set") if n in steps]
    return {
        "n_rows": int(rows["repeats"].sum()),
        "n_distinct": rows.height,
        "rows_by_source": _counts(rows, "source"),
        "rows_by_origin": _counts(rows, "origin"),
        "sources": describe_sources(steps, bad_cases, base_model),
        "fates": {name: steps[name].values["fates"] for name in names},
        "mix": training_set.values["mix"],
        "bad_cases_learned": bad_cases.values["halves"].get("learn", 0),
        "bad_cases_held": bad_cases.values["halves"].get("hold", 0),
        "pairs": taught_pairs(adapter).height,
    }


def describe_sources(
    steps: Mapping[str, Version], bad_cases: Version, base_model: Version
) -> dict[str, dict[str, Any]]:
    """Each source with licence, revision, and how many trained rows come from it.

    `direct` rows are texts that the source delivered, `through` rows were made from one. A source
    is `pretrained` when the base model was trained on it.
    """
    training_set = steps["training_set"]
    view = View(training_set.store, "", {**steps, "bad_cases": bad_cases})
    trained = training_set.table("rows", columns=["id"])
    roots = root_sources(view).join(trained, on="id", how="semi")
    counted = roots.group_by("source").agg(
        direct=pl.col("direct").sum(), through=(~pl.col("direct")).sum()
    )
    reach = {name: (d, t) for name, d, t in counted.iter_rows()}
    names = [n.removeprefix("sources/") for n in steps if n.startswith("sources/")]
    pretrained = pretrained_sources(base_model)
    return {
        name: {
            **_labels(steps[f"sources/{name}"]),
            "direct": int(reach.get(name, (0, 0))[0]),
            "through": int(reach.get(name, (0, 0))[1]),
            "pretrained": name in pretrained,
        }
        for name in sorted(names)
    }


def pretrained_sources(base_model: Version) -> set[str]:
    """Sources whose rows the base model was made of here, or whose texts it has read since."""
    inputs = base_model.manifest["inputs"]
    named = base_model.input("named_model") if "named_model" in inputs else base_model
    made_of = [n for n in named.manifest["inputs"] if n.startswith("sources/")]
    read = base_model.values.get("read_by_source", {})
    return {n.removeprefix("sources/") for n in made_of}.union(read)


def source_licences(steps: Mapping[str, Version]) -> dict[str, str]:
    """Each source with the licence that its recipe stated, "" for none."""
    sources = {n.removeprefix("sources/"): v for n, v in steps.items() if n.startswith("sources/")}
    return {name: _labels(version)["license"] for name, version in sorted(sources.items())}


def explain_model(store: Store, recipe: str, name: str) -> dict[str, Any]:
    """`lineage model`: verdict, numbers, data and links of one model version."""
    entry = find_version(store, recipe, name)
    keep = ("number", "id", "promoted", "verdict", "metrics", "lineage", "failed_heldout")
    steps = {n: store.version(k).data_version for n, k in entry.manifest["inputs"].items()}
    return {
        **{k: entry.values[k] for k in keep},
        "said": say_verdict(entry.values),
        "made_from": steps,
        "recipe": entry.manifest["how"]["recipe"],
        "published": _local(entry.published_at),
        "links": ui_links(recipe, entry.values["number"]),
    }


def ui_links(recipe: str, number: int) -> dict[str, str]:
    """Paths in Dagster's UI: the runs that made or recalled a version, and its asset."""
    tag = quote(f"tag:winnow/model_version=v{number}", safe="")
    return {"runs": f"/runs?q[]={tag}", "asset": f"/assets/{recipe}/model_version"}


def find_champion_at(
    store: Store, recipe: str, when: str, *, now: float | None = None
) -> dict[str, Any]:
    """`lineage at`: which model version was the champion at a time.

    `when` is ISO 8601 (this machine's zone when it names none), `now`, or an age such as `90m`,
    `2h`, `3d`. `version` is "" when none was. The past is told by the clocks of those who
    published; `now` is the last published, whatever time it said. Raises `ValueError` for another
    text.
    """
    moment = _read_time(when, time.time() if now is None else now)
    up_to = math.inf if when == "now" else moment
    entry = champion_at(store, recipe, up_to)
    said = {"at": _local(moment), "version": "", "id": "", "since": "", "until": ""}
    if entry is None:
        return {**said, "known": [f"v{e.values['number']}" for e in registered(store, recipe)]}
    turns = [t for t in champion_turns(store, recipe) if t > up_to]
    changed = next(
        (t for t in turns if _number(champion_at(store, recipe, t)) != _number(entry)), None
    )
    return {
        **said,
        "version": f"v{entry.values['number']}",
        "id": entry.values["id"],
        "since": _local(entry.published_at),
        "until": _local(changed),
        "metrics": entry.values["metrics"]["candidate"],
    }


def _number(entry: Version | None) -> int:
    return entry.values["number"] if entry else 0


def _read_time(when: str, now: float) -> float:
    if when == "now":
        return now
    if age := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])(?: ago)?", when):
        return now - float(age[1]) * _UNITS[age[2]]
    try:
        return datetime.fromisoformat(when).astimezone().timestamp()
    except ValueError:
        raise ValueError(
            f"{when!r} is no time: write 2026-05-01T12:00, 2026-05-01, now, or an age such as 2h"
        ) from None


def _local(moment: float | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")


def _labels(source: Version) -> dict[str, Any]:
    """Plug-in, licence, revision and split that the recipe gave a source."""
    (_, use, options, common), _ = source.manifest["how"]["section"]
    revision = common.get("revision") or options.get("revision") or ""
    return {
        "use": use,
        "license": common.get("license", ""),
        "revision": str(revision),
        "split": common.get("split", "train"),
        "delivered": sum(source.values["fates"].values()),
    }


def _counts(rows: pl.DataFrame, column: str) -> dict[str, int]:
    counted = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return {str(name): int(n) for name, n in counted.iter_rows()}
