"""Views: the very versions one question is answered from, by the name of their step.

Every manifest names the versions it was made from, so a question about a model follows those names
upstream and never looks at anything newer. Before there is a model, the newest version of each step
takes that place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from curation.registry import find_version, registered
from curation.rows import OCCURRENCE_SCHEMA
from curation.store import Store, Version

FATE_STEPS = ("duplicates", "split_rows", "kept_rows", "training_set")
"""Steps that give every row a fate, in the order a row passes them."""

_STEPS = (
    *("training_set", "kept_rows", "split_rows", "duplicates", "augmented_rows"),
    *("error_types", "bad_cases", "verdicts", "rows", "texts", "named_model", "base_model"),
)


@dataclass(frozen=True)
class View:
    """Versions by step name; `entry` is the model version, None when there is none yet."""

    store: Store
    recipe: str
    steps: Mapping[str, Version]
    entry: Version | None = None

    @property
    def label(self) -> str:
        """`v3`, or "" before the first model version."""
        return f"v{self.entry.values['number']}" if self.entry else ""

    @property
    def fate_steps(self) -> dict[str, Version]:
        """The steps that judged rows, in the order a row passes them."""
        return {name: self.steps[name] for name in FATE_STEPS if name in self.steps}


def model_view(store: Store, recipe: str, name: str) -> View:
    """The view of a model version (`v3`, an id, `latest`, `champion`); `LookupError` without."""
    return view_of(store, recipe, find_version(store, recipe, name))


def view_of(
    store: Store, recipe: str, entry: Version, read: dict[str, Version] | None = None
) -> View:
    """The view of one registered model version: what it was trained on goes before the rest.

    Bad cases are those that it was built with, of which perhaps none changed what it was trained
    on. `read` is that of `Version.upstream`.
    """
    read = {} if read is None else read
    every = entry.upstream(read)
    trained = every["training_set"].upstream(read)
    return View(store, recipe, {**every, **trained, "bad_cases": every["bad_cases"]}, entry)


def model_views(store: Store, recipe: str) -> list[View]:
    """One view for each model version, by number; [] when there is none."""
    read: dict[str, Version] = {}
    return [view_of(store, recipe, entry, read) for entry in registered(store, recipe)]


def newest_view(store: Store, recipe: str) -> View:
    """The newest version of every step; `LookupError` when nothing has been built."""
    heads = {name: store.head(f"{recipe}/{name}") for name in _STEPS}
    found = {name: head for name, head in heads.items() if head}
    if not found:
        raise LookupError(f"nothing of recipe {recipe!r} has been built yet: run `winnow run`")
    sources = [found[name].upstream() for name in ("texts", "rows") if name in found]
    return View(store, recipe, {name: v for some in (*sources, found) for name, v in some.items()})


def views_to_ask(store: Store, recipe: str, name: str = "") -> list[View]:
    """Where to look a row up: the version named, else the latest and then the newest steps."""
    if name:
        return [model_view(store, recipe, name)]
    entries = registered(store, recipe)
    latest = [view_of(store, recipe, entries[-1])] if entries else []
    return [*latest, newest_view(store, recipe)]


def read_occurrences(
    view: View, columns: Sequence[str], ids: Sequence[str] | None = None
) -> pl.DataFrame:
    """What every source delivered (some columns of `OCCURRENCE_SCHEMA`), or of these rows only.

    A row whose labels come from another source that delivered it too counts as a duplicate here.
    """
    names = [name for name in view.steps if name.startswith("sources/")]
    needed = list(dict.fromkeys([*columns, "id", "source", "outcome"]))
    found = [pl.DataFrame(schema=OCCURRENCE_SCHEMA).select(needed)]
    for name in sorted(names):
        step = view.steps[name]
        table = (
            step.table("occurrences", needed) if ids is None else step.lookup("occurrences", ids)
        )
        found.append(table.select(needed))
    rows = view.steps.get("rows")
    shared = rows and (rows.table("shared") if ids is None else rows.lookup("shared", ids))
    told = pl.concat(found)
    if shared is not None and shared.height:
        told = told.join(shared, on=["id", "source"], how="left", maintain_order="left")
        beaten = (pl.col("outcome") == "new") & pl.col("kept_source").is_not_null()
        told = told.with_columns(
            outcome=pl.when(beaten).then(pl.lit("duplicate")).otherwise("outcome")
        )
    return told.select(columns)
