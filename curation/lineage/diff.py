"""The difference of two model versions: every row that came or went, with its cause.

A row went because its fate changed, because it was not delivered or not made again, or because it
was not drawn; a row came for the same reasons the other way round. So one function looks for the
cause on the side where the row is missing, and the words say in which direction it went.
"""

from typing import Any

import polars as pl

from curation.lineage.causes import Sides, row_causes
from curation.lineage.changes import list_changes
from curation.lineage.finding import one_line, rows_by_id
from curation.lineage.shared import lookup_each
from curation.lineage.views import View, model_view
from curation.store import Store
from curation.tables import change_between

ROWS_SCHEMA = pl.Schema(
    {"id": pl.String, "change": pl.String, "source": pl.String, "cause": pl.String,
     "detail": pl.String, "text": pl.String}
)  # fmt: skip


def compare_models(store: Store, recipe: str, old: str, new: str) -> dict[str, Any]:
    """`lineage diff`: rows that came and went, each with its cause, and the numbers of both.

    `changes` are what was changed by people: recipe keys, thresholds, sources, packages, code and
    the bad cases that were delivered between. `rows` has one line for each row that came or went.
    """
    sides = [model_view(store, recipe, name) for name in (old, new)]
    rows, same = compare_rows(*sides)
    counts = {
        change: _counts(rows.filter(pl.col("change") == change)) for change in ("came", "went")
    }
    return {
        "old": sides[0].label,
        "new": sides[1].label,
        "same_rows": same,
        **counts,
        "changes": list_changes(*sides),
        "metrics": _metrics(*sides),
        "recipe_changed": _recipe(sides[0]) != _recipe(sides[1]),
        "inputs_changed": _changed_inputs(*sides),
        "rows": rows.to_dicts(),
    }


def compare_rows(old: View, new: View) -> tuple[pl.DataFrame, int]:
    """Rows that came or went (`ROWS_SCHEMA`, by change, cause and id), and how many stayed."""
    sets = [side.steps["training_set"] for side in (old, new)]
    tables = [step.tables["rows"] for step in sets]
    change = change_between(new.store, *tables, texts=False)
    changed = change.upserts["id"].to_list()
    had = lookup_each(sets[:1], "rows", changed, ["id"])[0]
    came = rows_by_id(sets[1:], [i for i in changed if i not in had])
    went = rows_by_id(sets[:1], change.gone["id"].to_list())
    parts = [
        _caused(came, "came", row_causes(Sides(missing=old, there=new, came=True), came)),
        _caused(went, "went", row_causes(Sides(missing=new, there=old, came=False), went)),
    ]
    same = tables[1]["rows"] - came.height
    return pl.concat(parts).sort("change", "cause", "detail", "id"), same


def _caused(rows: pl.DataFrame, change: str, causes: dict[str, tuple[str, str]]) -> pl.DataFrame:
    said = [
        {"id": row["id"], "change": change, "source": row["source"], "cause": causes[row["id"]][0],
         "detail": causes[row["id"]][1], "text": one_line(row)}
        for row in rows.select("id", "source", "messages").to_dicts()
    ]  # fmt: skip
    return pl.DataFrame(said, schema=ROWS_SCHEMA)


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    counted = rows.group_by("cause").len().sort("len", "cause", descending=[True, False])
    return {cause: int(n) for cause, n in counted.iter_rows()}


def _metrics(old: View, new: View) -> dict[str, list[float | None]]:
    sides = [view.entry.values["metrics"]["candidate"] for view in (old, new) if view.entry]
    return {name: [side.get(name) for side in sides] for name in sides[-1]}


def _recipe(view: View) -> str:
    return view.entry.manifest["how"]["recipe"] if view.entry else ""


def _changed_inputs(old: View, new: View) -> list[str]:
    """Names of everything upstream whose content differs."""
    before = {name: version.data_version for name, version in old.steps.items()}
    return sorted(n for n, v in new.steps.items() if before.get(n) != v.data_version)
