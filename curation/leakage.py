"""Leakage: which training rows give the exam away, looked for in the very rows that are trained on.

The split step keeps leaks out with signatures, which only propose what may be near, and with
clusters. Neither is used here, so that a mistake of theirs is found: two kinds of leak are joins on
keys, and the third compares the n-grams of every prompt with those of the exam, and misses none.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import polars as pl

from curation.dedup import text_rows
from curation.once import name_prompts
from curation.similarity import gram_size, grams, is_short, jaccard
from curation.tasks._base import Task, names_slots
from curation.templates import cut_templates
from curation.text import meaning_marks, text_keys

LEAKAGE_SCHEMA = pl.Schema({"id": pl.String, "of": pl.String, "kind": pl.String})
"""A training row, the exam row, held-back case or withdrawn prompt it gives away, and one of
`KINDS`."""
KINDS = ("exact", "sibling", "near", "withdrawn")
_PAIR = ["id", "of"]


def find_leakage(
    trained: pl.DataFrame,
    exam: pl.DataFrame,
    edges: pl.DataFrame,
    held: Iterable[str] = (),
    withdrawn: Iterable[str] = (),
    *,
    task: Task,
    threshold: float = 0.8,
    templates: Sequence[str] = (),
) -> pl.DataFrame:
    """Training rows that give the exam away: `LEAKAGE_SCHEMA`, sorted by id, one line each.

    `exact` is the prompt of an exam row in any typography, with the same tools, whatever the
    answer; of general rows the system message counts too. `sibling` is a row that was made, in any
    number of steps (`EDGE_SCHEMA`), from an exam row or from one of the `held` bad cases (ids).
    `near` is a prompt of the same track, tools and system message with a Jaccard index of at least
    the threshold that says the same: its answer is the same in the task's canonical form; without
    slots to prove that, prompts must not be short and hold the same numbers, negations and
    opposites, and in free text the answer may be near, too. The `templates` are then no part of a
    prompt (`find_duplicates`). `withdrawn` is a prompt that was in the exam once and is no more
    (`withdrawn_prompts`).

    A row of several kinds counts as the first. `trained` and `exam` are full rows.
    """
    gone = _withdrawn(trained, withdrawn)
    if exam.is_empty():
        known = pl.Series("id", [*held], dtype=pl.String)
        return _sorted([_siblings(trained, edges, known), gone])
    ours, theirs = (_cut(_prompts(rows), task, templates) for rows in (trained, exam))
    known = pl.concat([exam["id"], pl.Series("id", [*held], dtype=pl.String)])
    found = [_exact(ours, theirs), _siblings(trained, edges, known)]
    pairs = _near_pairs(ours, theirs, threshold).join(found[0], on=_PAIR, how="anti")

    def texts(rows: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
        return text_rows(rows.filter(pl.col("id").is_in(ids.implode())), task, templates=templates)

    sides = texts(trained, pairs["id"]), texts(exam, pairs["of"])
    near = pairs.filter(_of_one_meaning(pairs, *sides, threshold))
    return _sorted([*found, near.with_columns(kind=pl.lit("near")), gone])


def count_kinds(leakage: pl.DataFrame) -> dict[str, int]:
    """How many rows leak in each way, all kinds named."""
    return {kind: int((leakage["kind"] == kind).sum()) for kind in KINDS}


def stemming_from(edges: pl.DataFrame, roots: pl.Series) -> pl.DataFrame:
    """What was made from these ids in any number of steps: id, and the root in `of`.

    `edges` have child and parent. The roots themselves are not among them, but for one that was
    made from another.
    """
    links = edges.select(id="child", parent="parent").unique()
    known = fresh = pl.DataFrame({"id": roots, "of": roots}).unique()
    while fresh.height:
        reached = links.join(fresh, left_on="parent", right_on="id").select(_PAIR).unique()
        fresh = reached.join(known, on=_PAIR, how="anti")
        known = pl.concat([known, fresh])
    return known.filter(pl.col("id") != pl.col("of"))


def _sorted(found: list[pl.DataFrame]) -> pl.DataFrame:
    order = pl.col("kind").cast(pl.Enum(KINDS))
    every = pl.concat(f.select(LEAKAGE_SCHEMA.names()) for f in found)
    return every.sort("id", order, "of").unique("id", keep="first", maintain_order=True)


def _prompts(rows: pl.DataFrame) -> pl.DataFrame:
    """id, prompt_id, track, and the text keys of the prompt and of what it stands in (`context`).

    The product's instruction is no part of a domain row's context, as not every source carries it.
    """
    before = pl.col("messages").list.head(pl.col("messages").list.len() - 1)
    turns = rows.select("id", turn=before).explode("turn").drop_nulls("turn").unnest("turn")
    texts = turns.select(text=pl.col("content") + pl.col("tool_calls").fill_null(""))["text"]
    system, key = pl.col("role") == "system", pl.col("key")
    said = turns.with_columns(key=text_keys(texts)).group_by("id", maintain_order=True)
    said = said.agg(
        system=key.filter(system).str.join("\x1e"), prompt=key.filter(~system).str.join("\x1e")
    )
    outside = pl.when(pl.col("track") == "domain").then(pl.lit("")).otherwise("system")
    return rows.join(said, on="id", maintain_order="left").select(
        "id", "prompt_id", "track", "prompt", context=outside + pl.col("tools")
    )


def _cut(prompts: pl.DataFrame, task: Task, templates: Sequence[str]) -> pl.DataFrame:
    """Prompts without what a template gave them, which is context; those with slots stay whole."""
    if not templates:
        return prompts
    parts = cut_templates(prompts["prompt"], templates)
    whole = (pl.col("track") == "domain") & pl.lit(names_slots(task))
    return prompts.with_columns(
        context=pl.when(whole).then("context").otherwise(pl.col("context") + parts["template"]),
        prompt=pl.when(whole).then("prompt").otherwise(parts["rest"]),
    )


def _exact(trained: pl.DataFrame, exam: pl.DataFrame) -> pl.DataFrame:
    found = []
    for keys in (["prompt_id"], ["context", "prompt"]):
        asked = exam.select(*keys, of="id")
        found.append(trained.join(asked, on=keys).select(_PAIR))
    return pl.concat(found).unique().with_columns(kind=pl.lit("exact"))


def _siblings(trained: pl.DataFrame, edges: pl.DataFrame, known: pl.Series) -> pl.DataFrame:
    made = stemming_from(edges, known).join(trained.select("id"), on="id", how="semi")
    return made.with_columns(kind=pl.lit("sibling"))


def _withdrawn(trained: pl.DataFrame, prompts: Iterable[str]) -> pl.DataFrame:
    asked = pl.Series("prompt", [*prompts], dtype=pl.String)
    found = name_prompts(trained).filter(pl.col("prompt").is_in(asked.implode()))
    return found.select("id", of="prompt", kind=pl.lit("withdrawn"))


def _near_pairs(trained: pl.DataFrame, exam: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Rows (id) whose prompt is at least as near as the threshold to that of an exam row (of).

    Two texts are compared in the smaller of their n-gram sizes, so rows of one size are looked at
    together.
    """
    cut, found = cache(grams), [LEAKAGE_SCHEMA.to_frame().select(_PAIR)]
    trained, exam = (side.with_columns(size=_sizes(side["prompt"])) for side in (trained, exam))
    for rows in trained.partition_by("size"):
        size = pl.min_horizontal(pl.col("size"), pl.lit(rows["size"][0]))
        index = _index(exam.with_columns(size=size), cut, threshold)
        shared = pl.col("prompt").str.extract_many(
            index["part"].unique().to_list(), overlapping=True
        )
        hits = rows.select("id", "track", "context", "prompt", part=shared).explode("part")
        pairs = hits.join(index, on=["track", "context", "part"]).unique(_PAIR)
        similar = [
            len(a & b) / len(a | b) >= threshold
            for a, b in (
                (cut(row["prompt"], row["size"]), cut(row["of_prompt"], row["size"]))
                for row in pairs.iter_rows(named=True)
            )
        ]
        found.append(pairs.filter(pl.Series(similar, dtype=pl.Boolean)).select(_PAIR))
    return pl.concat(found)


def _sizes(keys: pl.Series) -> pl.Series:
    return pl.Series([gram_size(key) for key in keys], dtype=pl.Int64)


def _index(exam: pl.DataFrame, cut: Any, threshold: float) -> pl.DataFrame:
    """n-grams (`part`) of exam prompts, as few and as rare as tell every near text.

    A near text holds the threshold's share of a prompt's n-grams. So it holds one of any set of
    them that leaves out fewer than that.
    """
    parts = [cut(row["prompt"], row["size"]) for row in exam.iter_rows(named=True)]
    often = Counter(part for some in parts for part in some)
    rare = [
        sorted(some, key=lambda part: (often[part], part))[
            : len(some) - int(threshold * len(some)) + 1
        ]
        for some in parts
    ]
    asked = exam.select("track", "context", "size", of="id", of_prompt="prompt")
    return asked.with_columns(part=pl.Series(rare, dtype=pl.List(pl.String))).explode("part")


def _of_one_meaning(
    pairs: pl.DataFrame, trained: pl.DataFrame, exam: pl.DataFrame, threshold: float
) -> pl.Series:
    """Which of these near pairs also say the same, by their `text_rows`."""
    ours, theirs = ({row["id"]: row for row in f.iter_rows(named=True)} for f in (trained, exam))
    same = [_says_same(ours[i], theirs[of], threshold) for i, of in pairs.iter_rows()]
    return pl.Series(same, dtype=pl.Boolean)


def _says_same(row: dict[str, Any], other: dict[str, Any], threshold: float) -> bool:
    """Whether two rows with near prompts ask and answer the same (lines of `text_rows`)."""
    same = row["answer"] == other["answer"]
    if row["certain"]:
        return same
    if not _same_marks(row["prompt"], other["prompt"]):
        return False
    if same or row["labelled"]:
        return same
    answers = row["answer"], other["answer"]
    return _same_marks(*answers) and jaccard(*answers) >= threshold


def _same_marks(one: str, other: str) -> bool:
    """Whether neither text is short, and both hold the same numbers, negations and opposites."""
    long = not (is_short(one) or is_short(other))
    return long and meaning_marks(one) == meaning_marks(other)
