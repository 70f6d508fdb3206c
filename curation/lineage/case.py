"""The life of one bad case: delivered, named, widened into rows, trained on, fixed or regressed."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from curation.bad_cases import read_inbox
from curation.lineage.family import descendants, edges_of, family_of, links_of
from curation.lineage.finding import one_case, one_line, rows_by_id
from curation.lineage.rows import Fate, fates_in_each, say_verdict
from curation.lineage.shared import lookup_each
from curation.lineage.views import View, model_views, newest_view
from curation.rows import digest
from curation.split import half_of
from curation.store import Store
from curation.text import text_key

CASE = ("id", "prompt", "gold", "predicted")


def trace_case(store: Store, recipe: str, wanted: str) -> dict[str, Any] | None:
    """`lineage trace`: one bad case from the inbox to the models; None when there is none.

    `wanted` is its id, the id of its corrected row, or its prompt. `versions` has one entry for
    each model version: the rows made from the case with their fate, and the version's own answer.
    `state` is open, held back, augmented, trained, fixed in vN or regressed in vM. Raises
    `ValueError` when several cases are meant.
    """
    views = model_views(store, recipe)
    case = _find_case(store, recipe, views, wanted)
    if case is None:
        return None
    versions = _in_versions(views, case)
    return {
        **case,
        "state": _say_state(case, versions),
        "error_type": _error_type(store, recipe, views, case),
        "versions": versions,
    }


def _find_case(store: Store, recipe: str, views: list[View], wanted: str) -> dict[str, Any] | None:
    """From the snapshots, newest first, else from the inbox, where it waits for a rebuild."""
    try:
        newest = [newest_view(store, recipe)]
    except LookupError:
        newest = []
    steps = [view.steps.get("bad_cases") for view in [*newest, *reversed(views)]]
    tables = [step.table("rows") for step in {s.data_version: s for s in steps if s}.values()]
    delivered = {case["id"]: case for case in read_inbox(store)}
    waiting = pl.DataFrame(
        [_as_row(case) for case in delivered.values()],
        schema=dict.fromkeys((*CASE, "found_by", "row_id", "half", "signature"), pl.String),
    )
    known = pl.concat([waiting.clear(), *(t.select(waiting.columns) for t in tables), waiting])
    known = known.unique("id", keep="first", maintain_order=True)
    turn = {id: n for n, id in enumerate(delivered)}  # of one prompt's cases, the first delivered
    place = pl.col("id").replace_strict(turn, default=len(turn), return_dtype=pl.Int64)
    case = one_case(known.sort(place, maintain_order=True), wanted)
    if case is None:
        return None
    at = delivered.get(case["id"], {}).get("at")
    numbers = {view.entry.values["id"]: view.label for view in views if view.entry}
    return {
        **{k: case[k] for k in (*CASE, "half", "signature", "row_id")},
        "found_by": numbers.get(case["found_by"], case["found_by"]),
        "delivered": _local(at),
    }


def _as_row(case: dict[str, Any]) -> dict[str, str]:
    half = half_of(digest(text_key(case["prompt"])))
    return {**{k: case[k] for k in (*CASE, "found_by")}, "row_id": "", "half": half,
            "signature": ""}  # fmt: skip


def _error_type(
    store: Store, recipe: str, views: list[View], case: dict[str, Any]
) -> dict[str, Any]:
    """The kind of error it counts to, with how many cases and rows that kind had last."""
    steps = [view.steps["error_types"] for view in views if "error_types" in view.steps]
    head = store.head(f"{recipe}/error_types")
    for step in [*([head] if head else []), *reversed(steps)]:
        types = step.table("rows")
        own = pl.col("signature") == case["signature"]
        if "cases" in types.columns:
            own = pl.col("cases").list.contains(case["id"])
        found = types.filter(own).drop("cases", strict=False)
        if found.height:
            return found.row(0, named=True)
    return {"signature": case["signature"], "n": 0, "quota": 0, "name": ""}


def _in_versions(views: list[View], case: dict[str, Any]) -> list[dict[str, Any]]:
    """The case in each view; what views share is read once."""
    snapshots = [view.steps["bad_cases"] for view in views]
    known = [case["id"] in rows for rows in lookup_each(snapshots, "rows", [case["id"]], ["id"])]
    families = {family_of(view): view for view, there in zip(views, known, strict=True) if there}
    made = {said: _made_from(view, case) for said, view in families.items()}
    own = [made[family_of(v)] if there else [] for v, there in zip(views, known, strict=True)]
    fates = fates_in_each(views, [[line["id"] for line, _ in lines] for lines in own])
    exams = {view.steps["evaluation"].data_version: view for view in views}
    answers = {said: _answer(view, case) for said, view in exams.items()}
    return [
        {
            "version": view.label,
            "in_snapshot": there,
            "rows": [_fate_line(view, line, row, told[line["id"]]) for line, row in lines],
            "answer": answers[view.steps["evaluation"].data_version],
        }
        for view, there, lines, told in zip(views, known, own, fates, strict=True)
    ]


def _made_from(view: View, case: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What is to be said of everything that stems from the case, its correction first; and it."""
    edges = edges_of(view)
    start = [case["id"], case["row_id"]]
    kinds = dict(edges.sort("kind").select("child", "kind").iter_rows())
    calls = dict(edges.select("child", "call").iter_rows())
    found = set(descendants(links_of(view), start))
    corrected = edges.filter((pl.col("parent") == case["id"]) & (pl.col("kind") == "fix"))
    found = sorted(found | set(corrected["child"]), key=lambda i: (kinds.get(i) != "fix", i))
    rows = {row["id"]: row for row in rows_by_id([view.steps["augmented_rows"]], found).to_dicts()}
    return [
        ({"id": i, "text": one_line(rows[i]), "kind": kinds.get(i, ""), "call": calls.get(i, "")},
         rows[i])
        for i in found
        if i in rows
    ]  # fmt: skip


def _fate_line(
    view: View, line: dict[str, Any], row: dict[str, Any], fates: dict[str, Fate]
) -> dict[str, Any]:
    return {**line, "fates": fates, "verdict": say_verdict(view, row, fates)}


def _answer(view: View, case: dict[str, Any]) -> dict[str, Any] | None:
    """What this version's model answered to the very prompt, None when it was not asked."""
    asked = view.steps["evaluation"].lookup("rows", [case["row_id"]])
    own = asked.filter(pl.col("arm") == "candidate").select("split", "predicted", "exact")
    return next(own.iter_rows(named=True), None)


def _say_state(case: dict[str, Any], versions: list[dict[str, Any]]) -> str:
    """The newest thing that can be said of a case."""
    said = ""
    for version in versions:
        if version["answer"] is None:
            continue
        if version["answer"]["exact"]:
            said = said if said.startswith("fixed") else f"fixed in {version['version']}"
        elif said.startswith("fixed"):
            said = f"regressed in {version['version']}"
    if said:
        return said
    trained = [
        v["version"] for v in versions if any(r["verdict"] == "trained on" for r in v["rows"])
    ]
    if trained:
        return f"trained on in {trained[-1]}"
    if any(v["rows"] for v in versions):
        return "augmented"
    return "held back, to be measured on" if case["half"] == "hold" else "open"


def _local(moment: float | None) -> str:
    if not moment:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
