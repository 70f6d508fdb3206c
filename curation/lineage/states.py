"""States: what became of each bad case through the model versions, of one case or of all of them.

A case is `open` until rows are made from it (`augmented`), `trained` once one of these was trained
on or the case itself was a pair to prefer by, `fixed` by the version that answers it right, and
`regressed` by a later one that does not. One of the half that is held back is `held` until it is
fixed, because nothing is learned from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from curation.bad_cases import read_inbox
from curation.lineage.family import links_of
from curation.lineage.preferred import taught_pairs
from curation.lineage.views import View, model_views, newest_view
from curation.markdown import plain, table
from curation.rows import digest
from curation.split import half_of
from curation.store import Store
from curation.text import text_key

STATES = ("open", "held", "augmented", "trained", "fixed", "regressed")
CASE = ("id", "prompt", "gold", "predicted")
_KNOWN = pl.Schema((n, pl.String) for n in (*CASE, "found_by", "row_id", "half", "signature"))
_WORDS = {"held": "held back, to be measured on", "trained": "trained on"}


def list_states(store: Store, recipe: str, *, state: str = "") -> list[dict[str, Any]]:
    """`bad-cases list`: every bad case in order of delivery, or those of one state.

    Each has what was delivered, `half`, `signature` (of what kind the error is, "" before a build
    has seen it), `state`, and the `version` that the state is of.
    """
    views = model_views(store, recipe)
    delivered = {case["id"]: case for case in read_inbox(store)}
    cases = known_cases(store, recipe, views, delivered)
    found = find_states({view.label: view for view in views}, cases)
    labels = version_labels(views)
    return [
        {
            **case,
            "found_by": labels.get(case["found_by"], case["found_by"]),
            "at": delivered.get(case["id"], {}).get("at"),
            "state": said,
            "version": version,
        }
        for case in cases.iter_rows(named=True)
        for said, version in [found[case["id"]]]
        if state in ("", said)
    ]


def known_cases(
    store: Store, recipe: str, views: Sequence[View], delivered: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    """Every bad case once: id, prompt, gold, predicted, found_by, row_id, half and signature.

    They come from the snapshots, newest first, else from the inbox, where they wait for a build:
    `delivered` has its cases by id. In order of delivery.
    """
    try:
        newest = [newest_view(store, recipe)]
    except LookupError:
        newest = []
    steps = [view.steps.get("bad_cases") for view in [*newest, *reversed(views)]]
    tables = [step.table("rows") for step in {s.data_version: s for s in steps if s}.values()]
    waiting = pl.DataFrame([_as_row(case) for case in delivered.values()], schema=_KNOWN)
    known = pl.concat([waiting.clear(), *(t.select(waiting.columns) for t in tables), waiting])
    turn = {id: n for n, id in enumerate(delivered)}
    place = pl.col("id").replace_strict(turn, default=len(turn), return_dtype=pl.Int64)
    once = known.unique("id", keep="first", maintain_order=True)
    return once.sort(place, maintain_order=True)


def find_states(versions: Mapping[str, View], cases: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """State and version ("" for none) of each case by its id.

    `versions` are all model versions by their labels, oldest first; `cases` has id, row_id and
    half.
    """
    answers = {label: _answers(view) for label, view in versions.items()}
    found = {
        id: judge_answers((label, said.get(row_id)) for label, said in answers.items())
        or (("held" if half == "hold" else "open"), "")
        for id, row_id, half in cases.select("id", "row_id", "half").iter_rows()
    }
    waiting = cases.filter(pl.col("id").is_in([id for id in found if found[id][0] == "open"]))
    for label, view in reversed([*versions.items()]):
        there = view.steps["bad_cases"].table("rows", ["id"])
        made = rows_made(view, waiting.join(there, on="id", how="semi"))
        trained = view.steps["training_set"].table("rows", ["id"])
        learned = set(made.join(trained, left_on="row", right_on="id", how="semi")["id"])
        learned |= {*taught_pairs(view.steps.get("adapter"))["of"]} & {*waiting["id"]}
        found |= {id: ("augmented", "") for id in made["id"]}
        found |= {id: ("trained", label) for id in learned}
        waiting = waiting.filter(~pl.col("id").is_in(learned))  # no older version says more
    return found


def states_table(states: pl.DataFrame) -> str:
    """How many cases of each half are in which state (Markdown), "" without a case.

    `states` has state, version and half.
    """
    order = pl.col("state").replace_strict(STATES, range(len(STATES)))
    counts = states.group_by("state", "version").agg(
        *((pl.col("half") == half).sum().alias(half) for half in ("learn", "hold"))
    )
    lines = [
        [plain(say_state(one["state"], one["version"])), f"{one['learn']:,}", f"{one['hold']:,}"]
        for one in counts.sort(order, "version").iter_rows(named=True)
    ]
    return table(["state", "learn", "hold"], lines, numbers=2) + "\n" if lines else ""


def judge_answers(answers: Iterable[tuple[str, bool | None]]) -> tuple[str, str] | None:
    """`fixed` or `regressed` and in which version; None while no version answered right.

    `answers` are labels of versions, oldest first, with whether the answer was right, None where
    the version was not asked.
    """
    found = None
    for label, right in answers:
        if right and (found is None or found[0] == "regressed"):
            found = "fixed", label
        elif right is False and found and found[0] == "fixed":
            found = "regressed", label
    return found


def say_state(state: str, version: str) -> str:
    """A state in words, such as `fixed in v2`."""
    return f"{_WORDS.get(state, state)} in {version}" if version else _WORDS.get(state, state)


def rows_made(view: View, cases: pl.DataFrame) -> pl.DataFrame:
    """Columns id (of the case) and row: the rows of a view that stem from each case in any way.

    `cases` has id and row_id.
    """
    links = links_of(view).select("child", "parent")
    starts = (cases.select("id", row=column) for column in ("id", "row_id"))
    fresh = pl.concat(starts).filter(pl.col("row") != "")
    reached = fresh.clear()
    while fresh.height:
        step = fresh.join(links, left_on="row", right_on="parent")
        fresh = step.select("id", row="child").unique().join(reached, on=["id", "row"], how="anti")
        reached = pl.concat([reached, fresh])
    made = view.steps["augmented_rows"].table("rows", ["id"])
    return reached.join(made, left_on="row", right_on="id", how="semi").sort("id", "row")


def version_labels(views: Sequence[View]) -> dict[str, str]:
    """Id of each model version -> its label."""
    return {view.entry.values["id"]: view.label for view in views if view.entry}


def _answers(view: View) -> dict[str, bool]:
    """Whether the version answers right, by the row that was asked."""
    own = pl.col("arm") == "candidate"
    said = view.steps["evaluation"].table("rows", ["id", "exact"], where=own)
    return dict(said.select("id", "exact").iter_rows())


def _as_row(case: Mapping[str, Any]) -> dict[str, str]:
    half = half_of(digest(text_key(case["prompt"])))
    said = {name: case[name] for name in (*CASE, "found_by")}
    return {**said, "row_id": "", "half": half, "signature": ""}
