"""What people are asked about the answers of model versions, and what they said, from the store."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from assets.recipe import Recipe
from curation.judgements import INBOX, read_choices, read_marks
from curation.judging_desk import Question
from curation.plugins import plugin_better
from curation.registry import find_version
from curation.store import Store, Version
from evaluation.cases import CASE_SCHEMA
from evaluation.compare import pair_arms
from evaluation.human import draw_questions, line_up_answers, tally_choices, tell_apart
from evaluation.ratings import name_dimensions, tally_marks


def ask_which(
    store: Store, recipe: Recipe, names: Sequence[str], *, n: int, seed: int, show_gold: bool
) -> list[Question]:
    """The questions which of two versions answered better, in the order they are asked.

    Raises `LookupError` for an unknown version, `ValueError` where no answers differ.
    """
    entries = _entries(store, recipe, names)
    differ = tell_apart(_answered(recipe, entries), recipe.task)
    if differ.is_empty():
        raise ValueError(f"{names[0]} and {names[1]} answered no case differently")
    return _questions(recipe, entries, draw_questions(differ, n, seed=seed), show_gold)


def ask_marks(
    store: Store, recipe: Recipe, name: str, *, n: int, seed: int, show_gold: bool
) -> list[Question]:
    """The questions how good the answers of one version are, in the order they are asked.

    Raises `LookupError` for an unknown version, `ValueError` for one that answered nothing.
    """
    entries = _entries(store, recipe, [name])
    drawn = draw_questions(_answered(recipe, entries), n, seed=seed)
    if drawn.is_empty():
        raise ValueError(f"{name} was asked no case of the test set")
    return _questions(recipe, entries, drawn, show_gold)


def dimensions_of(recipe: Recipe) -> tuple[str, ...]:
    """What answers are rated in."""
    return name_dimensions(**recipe.options["rating"])


def report_choices(store: Store, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """`human.tally_choices` of two versions, and what the `old` and the `new` one are called."""
    entries = _entries(store, recipe, names)
    choices = read_choices(INBOX.read(store))
    told = tally_choices(_answered(recipe, entries), choices, task=recipe.task)
    old, new = map(_name, entries)
    return {"old": old, "new": new, "main": recipe.main_metric, **told}


def report_marks(store: Store, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """Version -> `ratings.tally_marks` of its answers."""
    marks = read_marks(INBOX.read(store))
    entries = _entries(store, recipe, names)
    asked = dimensions_of(recipe)
    return {
        _name(one): tally_marks(_answered(recipe, [one]), marks, dimensions=asked)
        for one in entries
    }


def _entries(store: Store, recipe: Recipe, names: Sequence[str]) -> list[Version]:
    entries = [find_version(store, recipe.name, name) for name in names]
    if len({*map(_name, entries)}) < len(entries):
        raise ValueError(f"{' and '.join(names)} are one version; name different ones")
    return entries


def _name(entry: Version) -> str:
    return f"v{entry.values['number']}"


def _answered(recipe: Recipe, entries: Sequence[Version]) -> pl.DataFrame:
    """The cases that all versions answered, as `human.ANSWERED_SCHEMA`."""
    arms = tuple(map(_name, entries))
    cases = pl.concat(_cases(entry).with_columns(arm=pl.lit(_name(entry))) for entry in entries)
    judged = entries[-1].input("evaluation")
    clusters = judged.input("split_rows").table("clusters").select("id", "cluster")
    reported = judged.input("bad_cases").table("rows").filter(pl.col("half") == "hold")
    types = reported.select(id="row_id", error_type="signature")
    types = types.unique("id", keep="first", maintain_order=True)
    plug = recipe.metrics[recipe.main_metric]
    how: dict[str, Any] = {"metric": plug.make(), "better": plugin_better(plug.factory)}
    pairs = pair_arms(cases, clusters, types, arms=(arms[0], arms[-1]), task=recipe.task, **how)
    gains = pairs.select("id", "gain")
    return line_up_answers(cases, clusters, types, gains, arms=arms, task=recipe.task)


def _cases(entry: Version) -> pl.DataFrame:
    """What a version answered when it was judged; null where less was written down then."""
    cases = entry.input("predictions").table("rows").filter(pl.col("arm") == "candidate")
    later = [pl.lit(None, kind).alias(c) for c, kind in CASE_SCHEMA.items() if c not in cases]
    return cases.with_columns(later).select(*CASE_SCHEMA)


def _questions(
    recipe: Recipe, entries: Sequence[Version], drawn: pl.DataFrame, show_gold: bool
) -> list[Question]:
    """The drawn cases with all that was said before the answer; of a bad case its question."""
    exam = entries[-1].input("evaluation").input("split_rows").table("exam", ["id", "messages"])
    before = {
        id: tuple(
            {"role": m["role"], "text": m["content"] or m["tool_calls"]} for m in messages[:-1]
        )
        for id, messages in exam.join(drawn, on="id", how="semi").select("id", "messages").rows()
    }
    return [
        Question(
            id=row["question"],
            row_id=row["id"],
            turns=before.get(row["id"], ({"role": "user", "text": row["prompt"]},)),
            answers=tuple(row["answers"]),
            gold=row["gold"] if show_gold else "",
            json=bool(recipe.task.fields),
        )
        for row in drawn.iter_rows(named=True)
    ]
