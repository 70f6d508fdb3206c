"""Who used it: every model version that a row, a source or a licence went into, on any way.

A row or a bad case reaches a model in its own words, through rows made from it, through a row that
it was merged into, as an example in a call that wrote rows, through what judged the rows (the
reward model, the reference of the scorers), or inside the base model. Whoever must delete a
person's text needs all of these ways.
"""

from collections.abc import Collection
from typing import Any

import polars as pl

from curation.lineage.calls import calls_showing
from curation.lineage.family import descendants, edges_of, links_of
from curation.lineage.finding import (
    find_cases,
    find_in_each,
    one_line,
    row_places,
    rows_by_id,
    texts,
)
from curation.lineage.model import describe_sources, source_licences
from curation.lineage.shared import Rows, lookup_each
from curation.lineage.views import View, model_views, newest_view
from curation.rows import ROW_SCHEMA
from curation.store import Store, Version

EXAMPLES = 5
WAYS = ("trained", "through", "stands_for", "shown", "judges", "pretrained")


def find_users(store: Store, recipe: str, wanted: str, *, limit: int = 100) -> dict[str, Any]:
    """`lineage who-used`: model versions that used a row or bad case (id or text), source, licence.

    `what` is row, bad case, source, licence or "" when nothing of the kind is known; `versions` has
    one entry for each model version that used it. For rows these count: `trained` (this very text),
    `through` (rows made from it), `stands_for` (a kept row that it was merged into), `shown` (rows
    written by a call that showed it), `judges` (what the reward model and the reference of the
    scorers took of it) and `pretrained` (the base model read it). `measured_by` are versions that
    were asked it in their exam, which is no training.
    """
    views = model_views(store, recipe)
    every = [*views, *_newest(store, recipe)]
    sources = {name: licence for view in every for name, licence in _licences(view).items()}
    licences = {*sources.values()} - {""}
    if wanted in sources or wanted in licences:
        what = "source" if wanted in sources else "licence"
        versions = [_by_source(view, wanted, what) for view in views]
        return _answer(what, wanted, versions)
    rows, cases = _rows(every, wanted, limit), _cases(every, wanted)
    if rows.is_empty() and not cases:
        return {"what": "", "wanted": wanted, "versions": [], "sources": sorted(sources)}
    given = rows.to_dicts()
    prompts = {m["content"] for r in given for m in r["messages"] if m["role"] == "user"}
    if any(
        m["content"] == wanted for r in given for m in r["messages"]
    ):  # a whole turn, so no part
        cases = [case for case in cases if case["prompt"] == wanted]
    ids = dict.fromkeys([*rows["id"], *(case["id"] for case in cases)])
    used = _by_rows(views, list(ids), prompts.union(case["prompt"] for case in cases) - {""})
    said = [{"id": r["id"], "text": texts(r)} for r in given]
    said += [{"id": c["id"], "text": [c["prompt"], c["gold"]]} for c in cases]
    return {**_answer("row" if given else "bad case", wanted, used), "rows": said}


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


def _licences(view: View) -> dict[str, str]:
    """Each source with its licence, without a look at any row."""
    if not view.entry and {"training_set", "bad_cases", "rows"} <= view.steps.keys():
        return source_licences(view.steps)
    return {name: said["license"] for name, said in _sources(view).items()}


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


def _by_rows(views: list[View], ids: list[str], prompts: set[str]) -> list[dict[str, Any]]:
    """What each view did with rows and bad cases; what the views share is read once."""
    ways = _ways(views, ids, prompts)
    every = {i for reached in ways for found in reached.values() for i in found}
    trained = _steps(views, "training_set", "rows", every, ["id"])
    ways = [
        {way: [i for i in found if i in there] for way, found in reached.items()}
        for reached, there in zip(ways, trained, strict=True)
    ]
    lines = _lines(views, ways)
    exams = _steps(views, "split_rows", "exam", ids, ["id"])
    bases = {view.steps["base_model"].key: view.steps["base_model"] for view in views}
    pretrained = {key: _pretrained(base, ids) for key, base in bases.items()}
    judges = _judges(views, ids, prompts)
    return [
        {
            **_head(view),
            **{way: len(found) for way, found in reached.items()},
            "judges": sum(judges.get(step.key, 0) for step in view.steps.values()),
            "pretrained": pretrained[view.steps["base_model"].key],
            "measured": len(exam),
            "rows": [
                {"way": way, "id": i, "text": lines[i]}
                for way, found in reached.items()
                for i in found
            ],
        }
        for view, reached, exam in zip(views, ways, exams, strict=True)
    ]


def _ways(views: list[View], ids: list[str], prompts: set[str]) -> list[dict[str, list[str]]]:
    """For each view the rows on each way from what is asked for, each on the first it is on."""
    made = [list(descendants(links_of(view), ids)) for view in views]
    asked = {i for own in made for i in own}.union(ids)
    fates = _steps(views, "duplicates", "fates", asked, ["fate", "into"])
    found = []
    written = _calls_showing(views, prompts)
    for view, own, fate in zip(views, made, fates, strict=True):
        calls = written.get(view.steps["augmented_rows"].key, [])
        known = {*ids, *own}
        into = {fate[i]["into"] for i in known & fate.keys() if fate[i]["fate"] == "merged"}
        shown = edges_of(view).filter(pl.col("call").is_in(calls))["child"].unique().sort()
        found.append(
            {
                "trained": ids,
                "through": [i for i in own if i not in ids],
                "stands_for": sorted(into - known),
                "shown": [i for i in shown if i not in known],
            }
        )
    return found


def _steps(
    views: list[View], step: str, table: str, ids: Collection[str], columns: list[str]
) -> list[Rows]:
    return lookup_each([view.steps[step] for view in views], table, ids, columns)


def _lines(views: list[View], ways: list[dict[str, list[str]]]) -> dict[str, str]:
    """The text of every trained row that was found, on one line."""
    said: dict[str, str] = {}
    for view, reached in zip(reversed(views), reversed(ways), strict=True):
        if new := {i for found in reached.values() for i in found} - said.keys():
            rows = view.steps["training_set"].lookup("rows", new).to_dicts()
            said |= {row["id"]: one_line(row) for row in rows}
    return said


def _calls_showing(views: list[View], prompts: set[str]) -> dict[str, list[str]]:
    """Key of each version of made rows -> calls that wrote some and showed a prompt as it is."""
    made = {view.steps["augmented_rows"].key: view for view in views}
    return {
        key: sorted({call for text in prompts for call in calls_showing(view, text)})
        for key, view in made.items()
    }


def _judges(views: list[View], ids: list[str], prompts: set[str]) -> dict[str, int]:
    """Key of each reward model and reference -> what it took of these rows."""
    found: dict[str, int] = {}
    for step in {v.key: v for view in views for v in view.steps.values()}.values():
        if step.name.endswith("/reward_model"):
            found[step.key] = int(step.table("rows", ["prompt"])["prompt"].is_in(prompts).sum())
        elif step.name.endswith("/reference"):
            found[step.key] = step.lookup("rows", ids, texts=False).height
    return found


def _cases(views: list[View], wanted: str) -> list[dict[str, Any]]:
    """Bad cases that any view knows, by id, id of the corrected row, or prompt."""
    steps = {
        v.steps["bad_cases"].key: v.steps["bad_cases"] for v in views if "bad_cases" in v.steps
    }
    columns = ["id", "row_id", "prompt", "gold"]
    found = [find_cases(step.table("rows", columns), wanted) for step in steps.values()]
    return pl.concat(found).unique("id").sort("id").to_dicts() if found else []


def _pretrained(base: Version, ids: list[str]) -> bool:
    """Whether the base model was trained here on one of the rows."""
    return "rows" in base.tables and not base.lookup("rows", ids).is_empty()


def _rows(views: list[View], wanted: str, limit: int) -> pl.DataFrame:
    """The rows meant: where a whole turn is the text, only those; each view may know others."""
    newest = list(reversed(views))
    places = _fresh_places(newest)
    chosen: dict[str, int] = {}
    for n, (ids, whole) in enumerate(find_in_each(newest, places, wanted)):
        chosen |= {i: n for i in ids[:whole] or ids if i not in chosen}
    first = dict(list(chosen.items())[:limit])
    found = [rows_by_id(some, [i for i in first if first[i] == n]) for n, some in enumerate(places)]
    order = pl.DataFrame({"id": list(first)}, schema={"id": pl.String})
    return order.join(
        pl.concat([ROW_SCHEMA.to_frame(), *found]), on="id", maintain_order="left"
    ).select(ROW_SCHEMA.names())


def _fresh_places(views: list[View]) -> list[list[Version]]:
    """Where each view knows rows from, without what one before it has the very same of."""
    seen: set[str] = set()
    places = []
    for view in views:
        fresh = [step for step in row_places(view) if step.data_version not in seen]
        seen |= {step.data_version for step in fresh}
        places.append(fresh)
    return places


def _head(view: View) -> dict[str, Any]:
    assert view.entry, "only model versions are asked"
    values = view.entry.values
    return {"version": view.label, "id": values["id"], "promoted": values["promoted"]}
