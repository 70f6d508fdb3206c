"""Families: what a row was made from, and what was made from it, over any number of steps.

A made row has an edge to a seed, a bad case or a corrected row. A bad case is itself a link: it
stands for the row that failed, so what was made from the case also stems from that row.
"""

from collections.abc import Iterable

import polars as pl

from curation.lineage.views import View, read_occurrences

LINK_SCHEMA = pl.Schema({"child": pl.String, "parent": pl.String, "kind": pl.String})


def edges_of(view: View) -> pl.DataFrame:
    """`EDGE_SCHEMA` of every made row of a view; empty when nothing was made."""
    from curation.rows import EDGE_SCHEMA

    step = view.steps.get("augmented_rows")
    return step.table("edges") if step else EDGE_SCHEMA.to_frame()


def family_of(view: View) -> tuple[str, ...]:
    """What the links of a view follow from: views of which it is the same have the same."""
    steps = (view.steps.get(name) for name in ("augmented_rows", "bad_cases"))
    return tuple(step.data_version if step else "" for step in steps)


def links_of(view: View) -> pl.DataFrame:
    """Edges, and one link from each bad case to the row that failed: `LINK_SCHEMA`."""
    edges = edges_of(view).select(LINK_SCHEMA.names())
    if "bad_cases" not in view.steps:
        return edges
    cases = view.steps["bad_cases"].table("rows", columns=["id", "row_id"])
    failed = cases.select(child="id", parent="row_id", kind=pl.lit("failed"))
    # An augmenter may name the corrected row as parent; what it was made for is the case.
    widened = edges.filter(pl.col("kind") == "augment_badcase")
    widened = widened.join(cases, left_on="parent", right_on="row_id")
    return pl.concat([edges, failed, widened.select("child", parent="id", kind="kind")])


def descendants(links: pl.DataFrame, ids: Iterable[str]) -> dict[str, list[str]]:
    """Everything that stems from these ids: each with the way to it, the ancestor first."""
    return _walk(links, ids, ("parent", "child"))


def ancestors(links: pl.DataFrame, ids: Iterable[str]) -> dict[str, list[str]]:
    """Everything these ids stem from: each with the way to it, the made row first."""
    return _walk(links, ids, ("child", "parent"))


def _walk(links: pl.DataFrame, ids: Iterable[str], way: tuple[str, str]) -> dict[str, list[str]]:
    start, end = way
    found: dict[str, list[str]] = {i: [i] for i in ids}
    seeds, frontier = set(found), list(found)
    while frontier:
        step = links.filter(pl.col(start).is_in(frontier)).select(start, end).unique().sort(end)
        frontier = []
        for known, new in step.iter_rows():
            if new not in found:
                found[new] = [*found[known], new]
                frontier.append(new)
    return {i: path for i, path in found.items() if i not in seeds}


def root_sources(view: View) -> pl.DataFrame:
    """The sources every row comes from, directly or through what it was made from.

    Columns id, source and direct (Boolean: the source delivered this very text). One line per id
    and source.
    """
    occurrences = read_occurrences(view, ["id", "source", "outcome"])
    delivered = occurrences.filter(pl.col("outcome") != "quarantined").select("id", "source")
    links = links_of(view).select("child", "parent").unique()
    known = delivered.unique()
    fresh = known.join(links, left_on="id", right_on="parent", how="semi")
    while fresh.height:
        reached = fresh.join(links, left_on="id", right_on="parent")
        reached = reached.select(id="child", source="source").unique()
        fresh = reached.join(known, on=["id", "source"], how="anti")
        known = pl.concat([known, fresh])
    mine = delivered.unique().with_columns(direct=pl.lit(True))
    return known.join(mine, on=["id", "source"], how="left").with_columns(
        pl.col("direct").fill_null(False)
    )
