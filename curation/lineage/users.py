"""Who used it: every model version that a row, a source or a licence went into, on any way.

A row or a bad case reaches a model in its own words, through rows made from it, through a row that
it was merged into, as an example in a call that wrote rows, as a pair to prefer by, through what
judged the rows (the reward model, the reference of the scorers), or inside the base model. Whoever
must delete a person's text needs all of these ways.
"""

from collections.abc import Collection
from itertools import islice
from typing import Any

import polars as pl

from curation.lineage.calls import calls_showing
from curation.lineage.family import descendants, edges_of, family_of, links_of
from curation.lineage.finding import (
    find_cases,
    find_in_each,
    one_line,
    row_places,
    rows_by_id,
    texts,
)
from curation.lineage.model import describe_sources, source_licences
from curation.lineage.preferred import count_taught
from curation.lineage.shared import Rows, lookup_each
from curation.lineage.views import View, model_views, newest_view
from curation.registry import say_verdict
from curation.rows import ROW_SCHEMA
from curation.store import Store, Version

WAYS = ("trained", "through", "stands_for", "shown", "pairs", "judges", "pretrained")


def find_users(
    store: Store, recipe: str, wanted: str, *, limit: int | None = None
) -> dict[str, Any]:
    """`lineage who-used`: model versions that used a row or bad case (id or text), source, licence.

    `what` is row, bad case, source, licence or "" when nothing of the kind is known; `versions` has
    one entry for each model version that used it. For rows these count: `trained` (this very text),
    `through` (rows made from it), `stands_for` (a kept row that it was merged into), `shown` (rows
    written by a call that showed it), `pairs` (of a right and a wrong answer that taught it),
    `judges` (what the reward model and the reference of the scorers took of it) and `pretrained`
    (the base model read it). `measured_by` are versions that were asked it in their exam, which is
    no training.

    Every row that has the text as a whole turn is followed; where none has, every row that holds
    it. `limit` is only on the rows that are shown, here and for each version: `n_rows` are all, and
    `inside` is how many more hold the text inside a longer one and are not meant.
    """
    views = model_views(store, recipe)
    every = [*views, *_newest(store, recipe)]
    sources = {name: licence for view in every for name, licence in _licences(view).items()}
    licences = {*sources.values()} - {""}
    if wanted in sources or wanted in licences:
        what = "source" if wanted in sources else "licence"
        versions = [_by_source(view, wanted, what) for view in views]
        return _answer(what, wanted, versions)
    (rows, inside), cases = _rows(every, wanted), _cases(every, wanted)
    if rows.is_empty() and not cases:
        return {"what": "", "wanted": wanted, "versions": [], "sources": sorted(sources)}
    turns = rows.select("messages").explode("messages").unnest("messages")
    prompts = set(turns.filter(pl.col("role") == "user")["content"])
    if (turns["content"] == wanted).any():  # a whole turn, so no part
        inside += len(cases)
        cases = [case for case in cases if case["prompt"] == wanted]
        inside -= len(cases)
    ids = list(dict.fromkeys([*rows["id"], *(case["id"] for case in cases)]))
    prompts = prompts.union(case["prompt"] for case in cases) - {""}
    used = _by_rows(views, ids, prompts, limit)
    said = [{"id": r["id"], "text": texts(r)} for r in rows[:limit].to_dicts()]
    said += [{"id": c["id"], "text": [c["prompt"], c["gold"]]} for c in cases]
    return {
        **_answer("row" if rows.height else "bad case", wanted, used),
        "n_rows": rows.height + len(cases),
        "inside": inside,
        "rows": said[:limit],
    }


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


def _by_rows(
    views: list[View], ids: list[str], prompts: set[str], limit: int | None
) -> list[dict[str, Any]]:
    """What each view did with rows and bad cases; what the views share is read once."""
    ways = _ways(views, ids, prompts)
    every = {i for reached in ways for found in reached.values() for i in found}
    trained = _steps(views, "training_set", "rows", every, ["id"])
    ways = [
        {way: [i for i in found if i in there] for way, found in reached.items()}
        for reached, there in zip(ways, trained, strict=True)
    ]
    shown = [
        list(islice(((way, i) for way, found in reached.items() for i in found), limit))
        for reached in ways
    ]
    lines = _lines(views, shown)
    exams = _steps(views, "split_rows", "exam", ids, ["id"])
    bases = {v.data_version: v for v in (view.steps["base_model"] for view in views)}
    pretrained = {said: _pretrained(base, ids) for said, base in bases.items()}
    judges = _judges(views, ids, prompts)
    return [
        {
            **_head(view),
            **{way: len(found) for way, found in reached.items()},
            "pairs": count_taught(view, ids, prompts),
            "judges": sum(judges.get(step.data_version, 0) for step in view.steps.values()),
            "pretrained": pretrained[view.steps["base_model"].data_version],
            "measured": len(exam),
            "n_rows": sum(map(len, reached.values())),
            "rows": [{"way": way, "id": i, "text": lines[i]} for way, i in some],
        }
        for view, reached, some, exam in zip(views, ways, shown, exams, strict=True)
    ]


def _ways(views: list[View], ids: list[str], prompts: set[str]) -> list[dict[str, list[str]]]:
    """For each view the rows on each way from what is asked for, each on the first it is on."""
    families = {family_of(view): view for view in views}
    stem = {said: list(descendants(links_of(view), ids)) for said, view in families.items()}
    edges = {said: edges_of(view) for said, view in families.items()}
    made, given = [stem[family_of(view)] for view in views], set(ids)
    asked = {i for own in made for i in own} | given
    fates = _steps(views, "duplicates", "fates", asked, ["fate", "into"])
    found = []
    written = _calls_showing(views, prompts)
    for view, own, fate in zip(views, made, fates, strict=True):
        calls = written.get(view.steps["augmented_rows"].data_version, [])
        known = given.union(own)
        into = {fate[i]["into"] for i in known & fate.keys() if fate[i]["fate"] == "merged"}
        showed = edges[family_of(view)].filter(pl.col("call").is_in(calls))
        shown = showed["child"].unique().sort()
        found.append(
            {
                "trained": ids,
                "through": [i for i in own if i not in given],
                "stands_for": sorted(into - known),
                "shown": [i for i in shown if i not in known],
            }
        )
    return found


def _steps(
    views: list[View], step: str, table: str, ids: Collection[str], columns: list[str]
) -> list[Rows]:
    return lookup_each([view.steps[step] for view in views], table, ids, columns)


def _lines(views: list[View], shown: list[list[tuple[str, str]]]) -> dict[str, str]:
    """The text of every trained row that is shown, on one line."""
    said: dict[str, str] = {}
    for view, some in zip(reversed(views), reversed(shown), strict=True):
        if new := {i for _, i in some} - said.keys():
            rows = view.steps["training_set"].lookup("rows", new).to_dicts()
            said |= {row["id"]: one_line(row) for row in rows}
    return said


def _calls_showing(views: list[View], prompts: set[str]) -> dict[str, list[str]]:
    """Data version of made rows -> calls that wrote some and showed a prompt as it is."""
    made = {view.steps["augmented_rows"].data_version: view for view in views}
    return {said: calls_showing(view, prompts) for said, view in made.items()}


def _judges(views: list[View], ids: list[str], prompts: set[str]) -> dict[str, int]:
    """Data version of each reward model and reference -> what it took of these rows."""
    found: dict[str, int] = {}
    for said, step in {v.data_version: v for view in views for v in view.steps.values()}.items():
        if step.name.endswith("/reward_model"):
            found[said] = int(step.table("rows", ["prompt"])["prompt"].is_in(prompts).sum())
        elif step.name.endswith("/reference"):
            found[said] = step.lookup("rows", ids, texts=False).height
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


def _rows(views: list[View], wanted: str) -> tuple[pl.DataFrame, int]:
    """The rows meant, and how many more hold the text inside a longer one.

    Where a whole turn is the text, only those are meant; each view may know others.
    """
    newest = list(reversed(views))
    places = _fresh_places(newest)
    chosen: dict[str, int] = {}
    every: set[str] = set()
    for n, (ids, whole) in enumerate(find_in_each(newest, places, wanted)):
        chosen |= {i: n for i in ids[:whole] or ids if i not in chosen}
        every.update(ids)
    held: list[list[str]] = [[] for _ in places]
    for i, n in chosen.items():
        held[n].append(i)
    found = [rows_by_id(some, own) for some, own in zip(places, held, strict=True) if own]
    order = pl.DataFrame({"id": list(chosen)}, schema={"id": pl.String})
    rows = order.join(
        pl.concat([ROW_SCHEMA.to_frame(), *found]), on="id", maintain_order="left"
    ).select(ROW_SCHEMA.names())
    return rows, len(every) - len(chosen)


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
    said = {"promoted": values["promoted"], "said": say_verdict(values)}
    return {"version": view.label, "id": values["id"], **said}
