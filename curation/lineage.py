"""Lineage: which rows made a model, why a row is or is not there, what changed since.

Everything is read from manifests: each names the exact versions it was made from, so a question
about a model follows those names upstream and never looks at anything newer.
"""

from typing import Any

import polars as pl

from curation.registry import find_version
from curation.store import Store, Version

STEPS = (
    ("duplicates", "fates"),
    ("split_rows", "fates"),
    ("kept_rows", "fates"),
    ("training_set", "fates"),
)
"""Steps that give every row a fate, in the order a row passes them."""


def summarise_model(training_set: Version, bad_cases: Version) -> dict[str, Any]:
    """What a model was trained on, in counts: by source, by origin, by step and fate."""
    rows = training_set.table("rows")
    kept = training_set.input("kept_rows")
    steps = {
        "kept_rows": kept,
        "split_rows": kept.input("split_rows"),
        "training_set": training_set,
    }
    steps["duplicates"] = steps["split_rows"].input("duplicates")
    return {
        "n_rows": int(rows["repeats"].sum()),
        "rows_by_source": _counts(rows, "source"),
        "rows_by_origin": _counts(rows, "origin"),
        "fates": {name: steps[name].values["fates"] for name, _ in STEPS},
        "mix": training_set.values["mix"],
        "bad_cases_learned": bad_cases.values["halves"].get("learn", 0),
        "bad_cases_held": bad_cases.values["halves"].get("hold", 0),
    }


def explain_model(store: Store, recipe: str, name: str) -> dict[str, Any]:
    """`lineage model`: verdict, numbers and data of one model version."""
    entry = find_version(store, recipe, name)
    keep = ("number", "id", "promoted", "verdict", "metrics", "lineage", "failed_heldout")
    steps = {
        upstream: store.version(key).data_version
        for upstream, key in entry.manifest["inputs"].items()
    }
    return {
        **{k: entry.values[k] for k in keep},
        "made_from": steps,
        "recipe": entry.manifest["how"]["recipe"],
    }


def training_rows(store: Store, recipe: str, name: str, *, where: str = "") -> pl.DataFrame:
    """`lineage rows`: the rows a model version was trained on, with their scores and parents.

    `where` is one SQL condition over the columns, such as `source = 'seeds' and perplexity > 0.5`.
    Raises `ValueError` for a condition that cannot be read.
    """
    training_set = find_version(store, recipe, name).input("training_set")
    kept = training_set.input("kept_rows")
    edges = _edges(kept)
    parents = edges.group_by("child").agg(pl.col("parent").unique().sort().alias("parents"))
    scores = kept.table("scores")
    rows = training_set.table("rows").join(scores, on="id", how="left")
    rows = rows.join(parents, left_on="id", right_on="child", how="left")
    if not where:
        return rows
    try:
        return rows.filter(pl.sql_expr(where))
    except pl.exceptions.PolarsError as error:
        known = ", ".join(rows.columns)
        raise ValueError(
            f"--where {where!r}: {str(error).splitlines()[0]} (columns: {known})"
        ) from None


def explain_row(
    store: Store, recipe: str, wanted: str, *, name: str = "latest"
) -> list[dict[str, Any]]:
    """`lineage why`: the whole way of each row whose id starts with, or text holds, `wanted`.

    Each answer has the id, its text, where it was delivered, what it was made from, its fate at
    each step, its scores, and the verdict in words. Quarantined records are found by raw text.
    """
    training_set = find_version(store, recipe, name).input("training_set")
    kept = training_set.input("kept_rows")
    split = kept.input("split_rows")
    steps = {
        "duplicates": split.input("duplicates"),
        "split_rows": split,
        "kept_rows": kept,
        "training_set": training_set,
    }
    imported = split.input("rows")
    made = (
        split.input("augmented_rows")
        .table("rows")
        .join(imported.table("rows"), on="id", how="anti")
    )
    rows = pl.concat([imported.table("rows"), made])
    found = _find_rows(rows, wanted)
    occurrences = imported.table("occurrences")
    edges, scores = _edges(kept), kept.table("scores")
    answers = [
        _explain(row, steps, occurrences, edges, scores) for row in found.iter_rows(named=True)
    ]
    return answers + _quarantined(occurrences, wanted)


def compare_models(store: Store, recipe: str, old: str, new: str) -> dict[str, Any]:
    """`lineage diff`: rows that came and went, by cause, and the numbers of both versions."""
    entries = [find_version(store, recipe, name) for name in (old, new)]
    sets = [entry.input("training_set").table("rows") for entry in entries]
    came = sets[1].join(sets[0], on="id", how="anti")
    went = sets[0].join(sets[1], on="id", how="anti")
    numbers = {
        metric: [entry.values["metrics"]["candidate"].get(metric) for entry in entries]
        for metric in entries[1].values["metrics"]["candidate"]
    }
    return {
        "old": f"v{entries[0].values['number']}",
        "new": f"v{entries[1].values['number']}",
        "same_rows": sets[0].join(sets[1], on="id", how="semi").height,
        "came": _counts(_arrivals(came, entries[1], entries[0]), "cause"),
        "went": _counts(_departures(went, entries[1]), "cause"),
        "metrics": numbers,
        "recipe_changed": entries[0].manifest["how"]["recipe"]
        != entries[1].manifest["how"]["recipe"],
        "inputs_changed": _changed_inputs(store, *entries),
    }


def _arrivals(came: pl.DataFrame, entry: Version, older: Version) -> pl.DataFrame:
    """Why rows are new: made from a bad case, newly imported, or only now sampled."""
    kept = entry.input("training_set").input("kept_rows")
    before = older.input("training_set").input("kept_rows").input("split_rows").table("fates")
    edges = _edges(kept).group_by("child").agg(pl.col("kind").min())
    cause = (
        pl.when(pl.col("id").is_in(before["id"].implode()))
        .then(pl.lit("was there, but not trained on before"))
        .when(pl.col("origin") == "badcase")
        .then(pl.lit("a corrected bad case"))
        .when(pl.col("kind").is_not_null())
        .then(pl.concat_str(pl.lit("made: "), pl.col("kind")))
        .otherwise(pl.concat_str(pl.lit("imported from "), pl.col("source")))
    )
    return came.join(edges, left_on="id", right_on="child", how="left").with_columns(cause=cause)


def _departures(went: pl.DataFrame, entry: Version) -> pl.DataFrame:
    """Why rows are gone: the fate the newer version gave them, or that they never entered."""
    training_set = entry.input("training_set")
    kept = training_set.input("kept_rows")
    split = kept.input("split_rows")
    steps = [split.input("duplicates"), split, kept, training_set]
    fates = [step.table("fates").filter(pl.col("fate") != "kept") for step in steps]
    said = pl.concat(fates).select(
        "id", cause=pl.concat_str("fate", pl.lit(" "), "reason").str.strip_chars()
    )
    return went.join(said, on="id", how="left").with_columns(
        pl.col("cause").fill_null("no longer delivered")
    )


def _explain(
    row: dict[str, Any],
    steps: dict[str, Version],
    occurrences: pl.DataFrame,
    edges: pl.DataFrame,
    scores: pl.DataFrame,
) -> dict[str, Any]:
    own = pl.col("id") == row["id"]
    fates = {}
    for name, step in steps.items():
        for fate in step.table("fates").filter(own).iter_rows(named=True):
            fates[name] = {
                k: v for k, v in fate.items() if k not in ("id", "source") and v not in (None, "")
            }
    parents = edges.filter(pl.col("child") == row["id"]).select("parent", "kind", "call")
    delivered = occurrences.filter(own).select("source", "position", "outcome")
    return {
        "id": row["id"],
        "text": [f"{m['role']}: {m['content']}" for m in row["messages"]],
        "source": row["source"],
        "split": row["split"],
        "delivered": delivered.to_dicts(),
        "made_from": parents.to_dicts(),
        "fates": fates,
        "scores": next(scores.filter(own).drop("id").iter_rows(named=True), {}),
        "verdict": _say_verdict(row, fates),
    }


def _say_verdict(row: dict[str, Any], fates: dict[str, Any]) -> str:
    """The whole way in one sentence."""
    for step, fate in fates.items():
        if fate["fate"] == "kept":
            continue
        measured = f", measured {fate['value']:.4g}" if "value" in fate else ""
        into = (
            f" into {fate['into']} (similarity {fate.get('similarity', 1):.2f})"
            if "into" in fate
            else ""
        )
        return f"{fate['fate']} at {step}{into}: {fate.get('reason', 'no reason')}{measured}"
    if "training_set" in fates:
        return "trained on"
    return (
        f"not a candidate: it belongs to the {row['split']} split"
        if row["split"] != "train"
        else "left no trace"
    )


def _quarantined(occurrences: pl.DataFrame, wanted: str) -> list[dict[str, Any]]:
    refused = occurrences.filter(
        (pl.col("outcome") == "quarantined")
        & (pl.col("raw").str.contains(wanted, literal=True) | (pl.col("position") == wanted))
    )
    return [
        {
            "id": "",
            "text": [raw],
            "source": source,
            "verdict": f"quarantined at {position}: {reason}",
        }
        for source, position, reason, raw in refused.select(
            "source", "position", "reason", "raw"
        ).iter_rows()
    ]


def _find_rows(rows: pl.DataFrame, wanted: str) -> pl.DataFrame:
    texts = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n")
    by_id = rows.filter(pl.col("id").str.starts_with(wanted)) if len(wanted) >= 6 else rows.clear()
    return by_id if by_id.height else rows.filter(texts.str.contains(wanted, literal=True))


def _edges(kept: Version) -> pl.DataFrame:
    return kept.input("split_rows").input("augmented_rows").table("edges")


def _changed_inputs(store: Store, old: Version, new: Version) -> list[str]:
    """Names of everything upstream whose content differs, nearest to the sources first."""
    sides = [_upstream(store, entry) for entry in (old, new)]
    return sorted(name for name in sides[1] if sides[0].get(name) != sides[1][name])


def _upstream(store: Store, version: Version) -> dict[str, str]:
    found: dict[str, str] = {}
    todo = [version]
    while todo:
        for name, key in todo.pop().manifest["inputs"].items():
            if name not in found:
                upstream = store.version(key)
                found[name] = upstream.data_version
                todo.append(upstream)
    return found


def _counts(rows: pl.DataFrame, column: str) -> dict[str, int]:
    counted = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return {str(name): int(n) for name, n in counted.iter_rows()}
