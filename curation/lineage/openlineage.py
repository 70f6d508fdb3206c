"""OpenLineage: everything upstream of a model version as run events other catalogues can read.

Each step is a job in the namespace of the recipe, each of its versions a run. Run ids follow from
the manifest, so exporting twice describes the same runs twice and not new ones. Manifests hold no
clock: a run's time is when its version was published.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from curation.disk import Disk
from curation.lineage.changes import recipe_text
from curation.lineage.views import View, model_view
from curation.store import Store, Version

PRODUCER = "https://pypi.org/project/winnow"
SPEC = "https://openlineage.io/spec"
RUN_EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "schema": "1-1-1/SchemaDatasetFacet",
    "dataSource": "1-0-1/DatasourceDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
    "documentation": "1-0-1/DocumentationJobFacet",
    "jobType": "2-0-3/JobTypeJobFacet",
}


def write_openlineage(
    store: Store, recipe: str, name: str, to: Path, *, disk: Disk | None = None
) -> int:
    """`lineage export --openlineage`: one JSON event a line, upstream first; returns how many."""
    from curation.export import write_whole

    view = model_view(store, recipe, name)
    lines = [json.dumps(event, ensure_ascii=False) for event in run_events(view)]
    write_whole(to, "".join(f"{line}\n" for line in lines), disk=disk)
    return len(lines)


def run_events(view: View) -> Iterator[dict[str, Any]]:
    """START and COMPLETE of every step's run, each after the runs it read from."""
    assert view.entry, "only model versions are exported"
    steps = {**view.steps, "model_version": view.entry}
    times = _times(view, steps)
    for name in _upstream_first(steps):
        version = steps[name]
        inputs = [_dataset(view, steps[n], "inputFacets") for n in version.manifest["inputs"]
                  if n in steps]  # fmt: skip
        common = {
            "run": {"runId": run_id(version), "facets": {}},
            "job": _job(view, name),
            "inputs": inputs,
            "producer": PRODUCER,
            "schemaURL": RUN_EVENT,
        }
        at = times[name]
        yield {"eventType": "START", "eventTime": at, **common, "outputs": []}
        made = [_dataset(view, version, "outputFacets")]
        yield {"eventType": "COMPLETE", "eventTime": at, **common, "outputs": made}


def run_id(version: Version) -> str:
    """The UUID of the run that made a version, from its manifest."""
    return str(uuid5(NAMESPACE_URL, f"winnow:{version.key}"))


def _job(view: View, name: str) -> dict[str, Any]:
    kind = {"processingType": "BATCH", "integration": "WINNOW", "jobType": "STEP"}
    facets = {"jobType": _facet("jobType", **kind)}
    if name == "model_version":
        text = f"Recipe of {view.label}:\n{recipe_text(view)}"
        facets["documentation"] = _facet("documentation", description=text)
    return {"namespace": _namespace(view), "name": name, "facets": facets}


def _dataset(view: View, version: Version, side: str) -> dict[str, Any]:
    """One version of a step as a dataset: the columns of its tables, and how many rows."""
    fields = [
        {"name": f"{table}.{column}", "type": "column"}
        for table, said in version.tables.items()
        for column in said["columns"]
    ]
    facets = {
        "schema": _facet("schema", fields=fields),
        "dataSource": _facet("dataSource", name=_namespace(view), uri=f"{_namespace(view)}/store"),
        "version": _facet("version", datasetVersion=version.data_version),
    }
    rows = version.tables.get("rows", {}).get("rows", 0)
    stated = {"outputStatistics": _facet("outputStatistics", rowCount=rows)}
    extra = stated if side == "outputFacets" else {}
    name = version.name.partition("/")[2]
    return {"namespace": _namespace(view), "name": name, "facets": facets, side: extra}


def _facet(kind: str, **said: Any) -> dict[str, Any]:
    release, name = _FACETS[kind].split("/")
    url = f"{SPEC}/facets/{release}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **said}


def _namespace(view: View) -> str:
    return f"winnow://{view.recipe}"


def _times(view: View, steps: dict[str, Version]) -> dict[str, str]:
    """When each version was published; a version that lost its ref has the model's own time."""
    last = view.entry.published_at if view.entry else None
    found = {}
    for name, version in steps.items():
        history = view.store.history(version.name)
        own = [v.published_at for v in history if v.key == version.key and v.published_at]
        moment = min(own, default=last or 0.0)
        found[name] = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return found


def _upstream_first(steps: dict[str, Version]) -> list[str]:
    order: list[str] = []

    def visit(name: str) -> None:
        for upstream in steps[name].manifest["inputs"]:
            if upstream in steps and upstream not in order:
                visit(upstream)
        if name not in order:
            order.append(name)

    for name in sorted(steps):
        visit(name)
    return order
