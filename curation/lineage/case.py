"""The life of one bad case: delivered, named, widened into rows, trained on, fixed or regressed."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import polars as pl

from curation.bad_cases import read_inbox
from curation.lineage.family import edges_of, family_of
from curation.lineage.finding import one_case, one_line, rows_by_id
from curation.lineage.preferred import count_taught
from curation.lineage.rows import TRAINED, Fate, fates_in_each, say_verdict
from curation.lineage.shared import lookup_each
from curation.lineage.states import (
    CASE,
    judge_answers,
    known_cases,
    rows_made,
    say_state,
    version_labels,
)
from curation.lineage.views import View, model_views
from curation.store import Store


def trace_case(store: Store, recipe: str, wanted: str) -> dict[str, Any] | None:
    """`lineage trace`: one bad case from the inbox to the models; None when there is none.

    `wanted` is its id, the id of its corrected row, or its prompt. `versions` has one entry for
    each model version: the rows made from the case with their fate, how many `pairs` of it the
    version was preferred on, and the version's own answer. `state` is open, held back, augmented,
    trained, fixed in vN or regressed in vM, and `why` says what stands behind it. Raises
    `ValueError` when several cases are meant.
    """
    views = model_views(store, recipe)
    delivered = {case["id"]: case for case in read_inbox(store)}
    case = one_case(known_cases(store, recipe, views, delivered), wanted)
    if case is None:
        return None
    versions = _in_versions(views, case)
    state, version = _state(case, versions)
    said = _say_answered(version, state, versions) if state in ("fixed", "regressed") else ""
    return {
        **{k: case[k] for k in (*CASE, "half", "signature", "row_id")},
        "found_by": version_labels(views).get(case["found_by"], case["found_by"]),
        "delivered": _local(delivered.get(case["id"], {}).get("at")),
        "state": say_state(state, version),
        "why": said or _say_why(store, recipe, case, versions),
        "error_type": _error_type(store, recipe, views, case),
        "versions": versions,
    }


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
            "promoted": bool(view.entry and view.entry.values["promoted"]),
            "in_snapshot": there,
            "pairs": count_taught(view, [case["id"]]),
            "rows": [_fate_line(view, line, row, told[line["id"]]) for line, row in lines],
            "answer": answers[view.steps["evaluation"].data_version],
        }
        for view, there, lines, told in zip(views, known, own, fates, strict=True)
    ]


def _made_from(view: View, case: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What is to be said of everything that stems from the case, its correction first; and it."""
    edges = edges_of(view)
    kinds = dict(edges.sort("kind").select("child", "kind").iter_rows())
    calls = dict(edges.select("child", "call").iter_rows())
    made = rows_made(view, pl.DataFrame([case]).select("id", "row_id"))
    found = sorted(made["row"], key=lambda i: (kinds.get(i) != "fix", i))
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


def _state(case: dict[str, Any], versions: list[dict[str, Any]]) -> tuple[str, str]:
    """Its state and the version that it is of, as `find_states` has them of many cases."""
    own = ((v["version"], v["answer"] and v["answer"]["exact"]) for v in versions)
    if said := judge_answers(own):
        return said
    if case["half"] == "hold":
        return "held", ""
    if trained := [v["version"] for v in versions if _n_trained(v) or v["pairs"]]:
        return "trained", trained[-1]
    return ("augmented" if any(v["rows"] for v in versions) else "open"), ""


def _say_why(
    store: Store, recipe: str, case: dict[str, Any], versions: list[dict[str, Any]]
) -> str:
    """Why a case that no version answered right is not fixed: what was learned of it, or not."""
    newest = versions[-1] if versions else None
    if case["half"] == "hold":
        said = f"{newest['version']} {_own_word(newest)}" if newest else "no version was asked it"
        return f"nothing is learned from this half; {said}"
    if trained := [v for v in versions if _n_trained(v) or v["pairs"]]:
        last = trained[-1]
        share = f"{_n_trained(last):,} of {len(last['rows']):,}"
        said = [f"trained on what was made from it ({share} rows)"] if _n_trained(last) else []
        said += ["taught its right answer over the wrong one"] if last["pairs"] else []
        return f"{last['version']} was {' and '.join([*said, _own_word(last)])}"
    if made := [v for v in versions if v["rows"]]:
        last = made[-1]
        verdict, n = Counter(row["verdict"] for row in last["rows"]).most_common(1)[0]
        share = f"{n:,} of {len(last['rows']):,}"
        return f"{last['version']} was trained on no row made from it; {share}: {verdict}"
    if newest is None or not newest["in_snapshot"]:
        return "it waits for the next build"
    refused = _refusal(store, recipe, case)
    return f"{newest['version']} was built with it and made no row of it{refused}"


def _refusal(store: Store, recipe: str, case: dict[str, Any]) -> str:
    """Why the augmenter refused its correction the last time; "" where it did not."""
    head = store.head(f"{recipe}/augmented_rows")
    refused = head.table("rejected", where=pl.col("text") == case["prompt"]) if head else None
    if refused is None or refused.is_empty():
        return ""
    return f"; its correction was refused: {', '.join(refused['reason'].unique().sort())}"


def _say_answered(version: str, state: str, versions: list[dict[str, Any]]) -> str:
    """What is behind `fixed` and `regressed`."""
    if state == "regressed":
        return f"{version} answers it wrong, and a version before answered it right"
    promoted = next(v["promoted"] for v in versions if v["version"] == version)
    return f"{version} answers it right" + ("" if promoted else ", but the gate rejected it")


def _own_word(version: dict[str, Any]) -> str:
    said = version["answer"]
    if said is None:
        return "was not asked it"
    return "answers it right" if said["exact"] else "answers it wrong"


def _n_trained(version: dict[str, Any]) -> int:
    return sum(row["verdict"] == TRAINED for row in version["rows"])


def _local(moment: float | None) -> str:
    if not moment:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
