"""Release: the model version, registered whether promoted or rejected, and what it got wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from assets.evaluate import judge_again, metrics_table
from assets.recipe import Recipe
from assets.stage import Job, stage
from curation.accounts import count_rows
from curation.bad_cases import add_bad_cases
from curation.disk import sha256_file
from curation.lineage.card import model_card
from curation.lineage.model import summarise_model, ui_links
from curation.lineage.report import TEMPLATE, model_report
from curation.lineage.states import find_states, states_table
from curation.lineage.views import View, model_views
from curation.registry import next_number, promote_judged, say_verdict, version_id
from curation.store import Made, Version
from training.curves import LANGS, tell_history

_STATE = ("id", "state", "version")


@stage("7_release", section=("gate",), reads=lambda job: sha256_file(TEMPLATE))
def model_version(
    job: Job,
    adapter: Version,
    base_model: Version,
    training_set: Version,
    bad_cases: Version,
    verdicts: Version,
    predictions: Version,
    evaluation: Version,
) -> Made:
    """One model version with all it came from; what it failed on traffic goes to the inbox.

    `verdicts` are only named among what it was built with, so that it is known which are new.
    """
    id = version_id(adapter)
    number = next_number(job.store, job.recipe.name, id)
    verdict = judge_release(job.recipe, adapter, evaluation)
    failed = evaluation.table("rows").filter(
        (pl.col("arm") == "candidate") & (pl.col("split") == "heldout") & ~pl.col("exact")
    )
    lineage = summarise_model(training_set, bad_cases, base_model, adapter)
    steps = {"adapter": adapter, "training_set": training_set, "bad_cases": bad_cases}
    states = _states(job, number, steps | {"evaluation": evaluation})
    values = {
        "number": number,
        "id": id,
        "promoted": bool(verdict["promote"]),
        "verdict": verdict,
        **{n: evaluation.values[n] for n in ("metrics", "gaps_table", "general_table")},
        "paired": evaluation.values["paired"],
        "adapter": adapter.key,
        "base_model": base_model.key,
        "failed_heldout": failed.height,
        "lineage": lineage,
        "training": [*adapter.values.get("reasons", ()), *adapter.values.get("diagnosis", ())],
        "bad_case_table": states_table(states),
        "run_tags": {"winnow/model_version": f"v{number}"},
        "links": ui_links(job.recipe.name, number),
    }
    base = _base_name(job.recipe, base_model)
    values["card"] = model_card(
        job.recipe.name,
        values,
        base_model=base,
        metrics=metrics_table(values["metrics"]),
    )
    report = model_report(
        job.recipe.name,
        values,
        adapter=adapter,
        evaluation=evaluation,
        states=states,
        base_model=base,
        curves={lang: tell_history(adapter, lang=lang)[0] for lang in LANGS},
    )
    folder = _version_folder(job, values, report, adapter, training_set, evaluation)
    delivery = add_bad_cases(job.store, _as_records(failed), found_by=id)
    if values["promoted"]:
        promote_judged(job.store, job.recipe.name, number=number, id=id)
    job.report(f"v{number} {say_verdict(values)}; {delivery.line()}")
    return Made({"bad_cases": states}, folders={"version": folder}, values=values)


def _base_name(recipe: Recipe, base_model: Version) -> str:
    """What the card calls the base model: no folder of this machine, and what it has read since."""
    said = recipe.base_model
    name = Path(said).name if Path(said).is_absolute() else said
    read = base_model.values.get("account", {}).get("left", {}).get("read", {})
    return f"{name} after it read {count_rows(read):,} plain texts" if read else name


def _states(job: Job, number: int, steps: dict[str, Version]) -> pl.DataFrame:
    """Every bad case with the state that it is in after this version, which these steps made."""
    versions = {
        view.label: view
        for view in model_views(job.store, job.recipe.name)
        if view.entry and view.entry.values["number"] < number
    }
    versions[f"v{number}"] = View(
        job.store, job.recipe.name, steps["training_set"].upstream() | steps
    )
    cases = steps["bad_cases"].table(
        "rows", ["id", "row_id", "half", "signature", "prompt", "gold"]
    )
    found = [(id, *said) for id, said in find_states(versions, cases).items()]
    said = pl.DataFrame(found, schema=dict.fromkeys(_STATE, pl.String), orient="row")
    return said.join(cases.drop("row_id"), on="id").sort("id")


def judge_release(recipe: Recipe, adapter: Version, evaluation: Version) -> dict[str, Any]:
    """The gate's verdict on this very adapter, worked out once more from what was measured.

    A check in Dagster blocks nothing outside its run. Raises `ValueError` when the evaluation is of
    another adapter, or did not come to what the numbers in it say.
    """
    measured = evaluation.input("predictions").input("adapter")
    if measured.data_version != adapter.data_version:
        raise ValueError("the evaluation is of another adapter: run `winnow run` again")
    said = evaluation.values["verdict"]
    again = judge_again(recipe, evaluation.values["gate_values"], evaluation.table("pairs"))
    if again.decision != said["decision"]:
        raise ValueError(
            f"the evaluation says {said['decision']!r}, and its numbers say {again.decision!r}"
        )
    return said


def _version_folder(
    job: Job,
    values: dict[str, Any],
    report: str,
    adapter: Version,
    training_set: Version,
    evaluation: Version,
) -> Path:
    """Adapter, rows, cases, verdict, card, report and checksums in a folder to be handed on."""
    folder = job.store.workdir("scratch") / "model_version"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapter.folder("adapter"), folder / "adapter")
    for name, frame in {
        "rows": training_set.table("rows"),
        "cases": evaluation.table("rows"),
        "log": adapter.table("log"),
        **({"pairs": adapter.table("pairs")} if "pairs" in adapter.tables else {}),
    }.items():
        frame.write_parquet(folder / f"{name}.parquet")
    said = {k: v for k, v in values.items() if k not in ("card", "run_tags")}
    (folder / "version.json").write_text(
        json.dumps(said, ensure_ascii=False, indent=1, sort_keys=True)
    )
    (folder / "MODEL_CARD.md").write_text(values["card"])
    (folder / "report.html").write_text(report, encoding="utf-8")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    sums = [f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


def _as_records(failed: pl.DataFrame) -> list[tuple[str, Any]]:
    rows = failed.sort("id").select("id", "prompt", "gold", "predicted").iter_rows(named=True)
    return [(row.pop("id"), row) for row in rows]
