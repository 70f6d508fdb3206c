"""Stages as Dagster assets; everything here that touches Dagster beyond its plain API has a test.

The values that pass between assets are versions in our own store; Dagster gets their data version,
counts, fates by reason and a preview, so that the UI can be asked without opening a file.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.recipe import Recipe
from assets.stage import CheckFailed, Job, NotBuilt, Outcome, Stage, run_stage
from assets.train import run_curves
from curation.llm import CallsStopped
from curation.markdown import plain, table
from curation.store import Conflict, Corrupt, Store, Version

Listener = Callable[[str, Stage, Any], None]
"""Told "start", "line" (a text), "end" (the outcome) and "fail" (the error) of each stage."""

MENDABLE = (ValueError, OSError, CheckFailed, NotBuilt, Conflict, Corrupt, CallsStopped)
"""What the user or the data can mend: said in one line. Anything else is a fault of ours."""

RETRIES = 2
"""Times a stage runs again when another writer published first; what it worked out is recalled."""

PREVIEW_ROWS, PREVIEW_CHARS = 5, 60
MARKDOWN = ("card", "table", "bad_case_table", "gaps_table", "general_table")
"""Values that are Markdown of our own; any other text may come from rows and is shown as text."""


@dataclass(frozen=True)
class Runtime:
    """Where a graph runs: which recipe, which store, who listens."""

    recipe: Recipe
    place: Path | str
    listener: Listener | None = None

    @property
    def store(self) -> Store:
        return open_store(self.place)


@cache
def open_store(place: Path | str) -> Store:
    """The one store of this process at a place, which remembers what it has verified."""
    return Store(place)


def asset_key(recipe: Recipe, name: str) -> dg.AssetKey:
    """The key of a stage: recipe name first."""
    return dg.AssetKey([recipe.name, *name.split("/")])


def build_asset(runtime: Runtime, stage: Stage) -> dg.AssetsDefinition:
    """One stage as one asset with its checks."""
    key = asset_key(runtime.recipe, stage.name)

    @dg.asset(
        key=key,
        deps=[asset_key(runtime.recipe, name) for name in stage.inputs],
        group_name=stage.group,
        description=stage.description,
        code_version=stage.code_version,
        kinds=set(stage.kinds),
        config_schema=_config_schema(stage),
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, blocking=name in stage.guards)
            for name in stage.checks
        ],
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[Any]:
        options = dict(context.op_execution_context.op_config or {}) if stage.options else {}
        outcome = _run(runtime, stage, context, options)
        checks = [
            dg.AssetCheckResult(
                passed=passed,
                check_name=name,
                description=text,
                severity=dg.AssetCheckSeverity.ERROR,
            )
            for name, (passed, text) in outcome.version.checks.items()
            if name in stage.checks
        ]
        if tags := outcome.version.values.get("run_tags"):
            context.instance.add_run_tags(context.run.run_id, tags)
        yield dg.MaterializeResult(
            asset_key=key,
            data_version=dg.DataVersion(outcome.version.data_version),
            metadata=describe(outcome),
            check_results=checks,
        )

    return compute


def _run(
    runtime: Runtime, stage: Stage, context: dg.AssetExecutionContext, options: Mapping[str, Any]
) -> Outcome:
    """Run a stage; what the user can mend becomes one line instead of a traceback.

    A `Conflict` asks Dagster to run it again first.
    """
    listener = runtime.listener or (lambda *_: None)

    def report(line: str) -> None:
        context.log.info(line)
        listener("line", stage, line)

    listener("start", stage, "")
    try:
        runtime.store.lock_writer()
        outcome = run_stage(Job(runtime.recipe, runtime.store, report, options), stage)
    except MENDABLE as error:
        if isinstance(error, Conflict) and context.retry_number < RETRIES:
            report(str(error))
            raise dg.RetryRequested(max_retries=RETRIES) from error
        listener("fail", stage, error)
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.log.info(summary(stage, outcome))
    listener("end", stage, outcome)
    return outcome


def summary(stage: Stage, outcome: Outcome) -> str:
    """One line: rows, fates and whether it had to be built."""
    rows = outcome.version.tables.get("rows", {}).get("rows")
    parts = [f"{rows:,} rows"] if rows is not None else []
    parts += [f"{count:,} {reason}" for reason, count in _fate_counts(outcome.version).items()]
    parts.append("unchanged, nothing computed" if outcome.recalled else f"{outcome.seconds:.1f} s")
    return f"{stage.name}: " + " · ".join(parts)


def describe(outcome: Outcome) -> dict[str, Any]:
    """Metadata of a version for the UI."""
    version = outcome.version
    metadata: dict[str, Any] = {
        "winnow/version": version.key,
        "data version": version.data_version,
        "unchanged": outcome.recalled,
    }
    if version.tables:
        sizes = {name: entry["rows"] for name, entry in version.tables.items()}
        metadata["tables"] = _markdown_counts("table", sizes)
    if "rows" in version.tables:
        metadata["dagster/row_count"] = version.tables["rows"]["rows"]
    if fates := _fate_counts(version):
        metadata["fates"] = _markdown_counts("fate", fates)
    if curves := _curves(version):
        metadata["curves"] = dg.MetadataValue.md(curves)
    if preview := _preview(version):
        metadata["preview"] = dg.MetadataValue.md(preview)
    for name, value in version.values.items():
        metadata |= _value_metadata(name, value)
    return metadata


def _value_metadata(name: str, value: Any) -> dict[str, Any]:
    """A value for the UI: Markdown of ours, links, structures as JSON; empty ones left out."""
    if name == "links":  # paths within this very UI
        return {
            f"{what} of this version": dg.MetadataValue.url(path) for what, path in value.items()
        }
    if isinstance(value, str) and name in MARKDOWN:
        return {name: dg.MetadataValue.md(value)}
    if isinstance(value, bool | int | float | str):
        return {name: value}
    return {name: dg.MetadataValue.json(value)} if value and name != "fates" else {}


def _fate_counts(version: Version) -> dict[str, int]:
    """Rows by fate and reason, most frequent first."""
    counts = version.values.get("fates", {})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _markdown_counts(what: str, counts: Mapping[str, int]) -> dg.MetadataValue:
    lines = [(plain(name), f"{count:,}") for name, count in counts.items()]
    return dg.MetadataValue.md(table([what, "rows"], lines, numbers=1))


def _preview(version: Version) -> str:
    """The first rows of the main table as a Markdown table, long texts cut."""
    name = next(iter(sorted(version.tables, key=lambda t: (t != "rows", t))), None)
    if name is None or not version.tables[name]["rows"]:
        return ""
    frame = version.table(name).head(PREVIEW_ROWS)
    if "messages" in frame.columns:
        turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join(" ⏎ ")
        frame = frame.select(
            "id",
            turns.alias("messages"),
            *[c for c in ("track", "split", "source") if c in frame.columns],
        )
    lines = [[plain(v, longest=PREVIEW_CHARS) for v in row] for row in frame.iter_rows()]
    return table(frame.columns, lines)


def _curves(version: Version) -> str:
    """The curves of a trained model as a picture with what it shows in words."""
    drawn, said = run_curves(version)
    picture = base64.b64encode(drawn.encode()).decode()
    return f"![{plain(said)}](data:image/svg+xml;base64,{picture})" if drawn else ""


def _config_schema(stage: Stage) -> Any:
    if not stage.options:
        return None
    return {
        name: dg.Field(type(default), default_value=default, is_required=False)
        for name, default in stage.options.items()
    }


def stage_config(recipe: Recipe, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run config that gives one stage its options."""
    return {"ops": {"__".join(asset_key(recipe, name).path): {"config": dict(options)}}}


def build_assets(runtime: Runtime, stages: Sequence[Stage]) -> list[dg.AssetsDefinition]:
    """All stages as assets."""
    return [build_asset(runtime, stage) for stage in stages]
