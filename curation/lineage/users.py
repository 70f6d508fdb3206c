"""Who used it: every model version that a row, a source or a licence went into, on any way.

A row reaches a model in its own words, through rows made from it, through a row that it was merged
into, as an example in a call that wrote rows, or inside the base model. Whoever must delete a
person's text needs all of these ways.
"""

from typing import Any

import polars as pl

from curation.lineage.calls import calls_showing
from curation.lineage.family import descendants, edges_of, links_of
from curation.lineage.finding import find_rows, one_line, texts
from curation.lineage.model import describe_sources
from curation.lineage.views import View, model_views, newest_view
from curation.rows import ROW_SCHEMA
from curation.store import Store

EXAMPLES = 5
WAYS = ("trained", "through", "stands_for", "shown", "pretrained")


def find_users(store: Store, recipe: str, wanted: str, *, limit: int = 100) -> dict[str, Any]:
    """`lineage who-used`: model versions that used a row (id or text), a source or a licence.

    `what` is row, source, licence or "" when nothing of the kind is known; `versions` has one
    entry for each model version that used it. For rows these count: `trained` (this very text),
    `through` (rows made from it), `stands_for` (a kept row that it was merged into), `shown` (rows
    written by a call that showed it) and `pretrained` (the base model read it). `measured_by` are
    versions that were asked it in their exam, which is no training.
    """
    views = model_views(store, recipe)
    every = [*views, *_newest(store, recipe)]
    sources = {name: said for view in every for name, said in _sources(view).items()}
    licences = {said["license"] for said in sources.values()} - {""}
    if wanted in sources or wanted in licences:
        what = "source" if wanted in sources else "licence"
        versions = [_by_source(view, wanted, what) for view in views]
        return _answer(what, wanted, versions)
    rows = _rows(every, wanted, limit)
    if rows.is_empty():
        return {"what": "", "wanted": wanted, "versions": [], "sources": sorted(sources)}
    found = _answer("row", wanted, [_by_rows(view, rows) for view in views])
    return {**found, "rows": [{"id": r["id"], "text": texts(r)} for r in rows.to_dicts()]}


def _answer(what: str, wanted: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "what": what,
        "wanted": wanted,
        "asked": len(versions),
        "versions": [v for v in versions if any(v.get(way) for way in WAYS)],
        "measured_by": [v["version"] for v in versions if v["measured"]],
    }


def _newest(store: Store, recipe: str) -> list[View]:
    try:
        return [newest_view(store, recipe)]
    except LookupError:
        return []


def _sources(view: View) -> dict[str, dict[str, Any]]:
    """The summary the model version was registered with; of the bare steps when there is none."""
    if view.entry and "sources" in view.entry.values["lineage"]:
        return view.entry.values["lineage"]["sources"]
    if "training_set" in view.steps and "bad_cases" in view.steps and "rows" in view.steps:
        steps = [view.steps[name] for name in ("bad_cases", "base_model")]
        return describe_sources(view.steps, *steps)
    names = [n.removeprefix("sources/") for n in view.steps if n.startswith("sources/")]
    return {name: {"license": "", "direct": 0, "through": 0, "pretrained": False} for name in names}


def _by_source(view: View, wanted: str, what: str) -> dict[str, Any]:
    named = {
        name: said
        for name, said in _sources(view).items()
        if (name if what == "source" else said["license"]) == wanted
    }
    return {
        **_head(view),
        "sources": sorted(named),
        "trained": sum(said["direct"] for said in named.values()),
        "through": sum(said["through"] for said in named.values()),
        "pretrained": any(said["pretrained"] for said in named.values()),
        "measured": sum(
            said.get("delivered", 0) for said in named.values() if said.get("split") != "train"
        ),
    }


def _by_rows(view: View, rows: pl.DataFrame) -> dict[str, Any]:
    ids = rows["id"].to_list()
    made = list(descendants(links_of(view), ids))
    merged = view.steps["duplicates"].lookup("fates", [*ids, *made])
    keepers = merged.filter(pl.col("fate") == "merged")["into"].unique().to_list()
    shown = _shown(view, rows)
    trained = view.steps["training_set"].lookup("rows", [*ids, *made, *keepers, *shown])
    there = dict(trained.select("id", "repeats").iter_rows())
    example = {r["id"]: one_line(r) for r in trained.to_dicts()}
    ways = {
        "trained": [i for i in ids if i in there],
        "through": [i for i in made if i in there and i not in ids],
        "stands_for": [i for i in keepers if i in there and i not in {*ids, *made}],
        "shown": [i for i in shown if i in there and i not in {*ids, *made}],
    }
    examples = [
        {"way": way, "id": i, "text": example[i]} for way, found in ways.items() for i in found
    ]
    exam = view.steps["split_rows"].lookup("exam", ids).height
    return {
        **_head(view),
        **{way: len(found) for way, found in ways.items()},
        "pretrained": _pretrained(view, ids),
        "measured": exam,
        "rows": examples,
    }


def _shown(view: View, rows: pl.DataFrame) -> list[str]:
    """Made rows whose call showed one of the rows' prompts or answers as it stands."""
    if "llm" not in view.entry.values["lineage"]["rows_by_origin"] if view.entry else True:
        return []
    said = {m["content"] for r in rows.to_dicts() for m in r["messages"] if m["role"] == "user"}
    calls = {key for text in said if text for key in calls_showing(view.store.root, text)}
    return edges_of(view).filter(pl.col("call").is_in(calls))["child"].unique().sort().to_list()


def _pretrained(view: View, ids: list[str]) -> bool:
    """Whether the base model was trained here on a source that delivered one of the rows."""
    base = view.steps["base_model"]
    names = [name for name in base.manifest["inputs"] if name.startswith("sources/")]
    return any(base.input(name).lookup("rows", ids).height for name in names)


def _rows(views: list[View], wanted: str, limit: int) -> pl.DataFrame:
    """The rows meant: where a whole turn is the text, only those; each view may know others."""
    seen: set[str] = set()
    found = [ROW_SCHEMA.to_frame()]
    for view in reversed(views):
        steps = [view.steps[n] for n in ("rows", "augmented_rows") if n in view.steps]
        fresh = [step for step in steps if step.data_version not in seen]
        seen |= {step.data_version for step in fresh}  # most versions share their imported rows
        rows = find_rows(view, wanted, places=fresh)
        whole = [any(m["content"] == wanted for m in r["messages"]) for r in rows.to_dicts()]
        found.append(rows.filter(pl.Series(whole, dtype=pl.Boolean)) if any(whole) else rows)
    return pl.concat(found).unique("id", keep="first", maintain_order=True).head(limit)


def _head(view: View) -> dict[str, Any]:
    assert view.entry, "only model versions are asked"
    values = view.entry.values
    return {"version": view.label, "id": values["id"], "promoted": values["promoted"]}
