"""Duplicates: repeats and near-repeats, each merged into a row that stays.

A row leaves only for a kept row that is verified to be as near as the threshold and that answers
the same; so templated rows do not chain into one another, and which row stays follows from policy
and content, never from the order of arrival. The same prompt with another answer is no duplicate:
it is a label conflict, and is reported. Splits are not compared; what they share is a leak (split).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curation.engines._base import HERE, Engine
from curation.fates import kept, make_fates
from curation.grouping import merge_groups
from curation.minhash import sign_keys
from curation.progress import Report, silent
from curation.rows import digest
from curation.scoring import FACT_SCHEMA
from curation.similarity import jaccard
from curation.stars import merge_stars, share_bands
from curation.tasks._base import Task
from curation.templates import cut_templates
from curation.text import text_keys

PAIR_SCHEMA = pl.Schema(
    {"id": pl.String, "into": pl.String, "similarity": pl.Float64, "kind": pl.String}
)
"""A merged row, the kept row it went into, their Jaccard index, and exact | near."""

CONFLICT_SCHEMA = pl.Schema(
    {
        "split": pl.String,
        "prompt": pl.String,  # the text key that the rows share
        "ids": pl.List(pl.String),
        "answers": pl.List(pl.String),  # the canonical answer of each of the ids
    }
)

ORIGINS = ("human", "import", "badcase", "transform", "llm")
"""Who stays of several equal rows; human and import rank the same."""


@dataclass(frozen=True)
class Duplicates:
    """What was found: merged pairs, label conflicts, and a fate and a fact for every row.

    `facts` hold the flag `label_conflict`, so that a rule such as `not label_conflict` can judge.
    """

    pairs: pl.DataFrame
    conflicts: pl.DataFrame
    fates: pl.DataFrame
    facts: pl.DataFrame

    @property
    def duplicate_ratio(self) -> float:
        """Share of the rows that were merged, 0..1; 0 for no rows."""
        return self.pairs.height / max(1, self.fates.height)


def find_duplicates(
    rows: pl.DataFrame,
    *,
    task: Task | None = None,
    threshold: float = 0.8,
    permutations: int = 128,
    seed: int = 1,
    priority: Sequence[str] = (),
    templates: Sequence[str] = (),
    signed: pl.DataFrame | None = None,
    bands: Iterable[pl.DataFrame] | None = None,
    read: Callable[[pl.Series], pl.DataFrame] | None = None,
    engine: Engine = HERE,
    report: Report = silent,
) -> Duplicates:
    """Every row kept or merged, within its split and track.

    Domain rows of a task are equal when their prompts are near and `task.canonical` of their
    answers is the same. Other rows are equal when prompts and answers are near and hold the same
    numbers, negations and opposites; below 20 Han or 40 Latin characters only exact repeats are
    equal there, because in a short text one character is a meaning. The better row stays: by
    origin (`ORIGINS`), then by its source's place in `priority`, then by id.

    Prompts made by one of the `templates` (`"Is this good or bad? {text}"`) are near when what
    fills it is; not so those of a task with slots, whose equal answers prove what they ask.

    With `signed` (what `sign_rows` gives for these rows, by the same threshold, permutations, seed,
    templates and task) nothing is signed here; then `rows` may lack its texts, and `read` gives the
    full rows of some ids: of those that may repeat another. Nor need `signed` have bands, the
    largest part of it, where `bands` gives those of each id, piece by piece (columns id and bands).
    """
    options: dict[str, Any] = {"threshold": threshold, "permutations": permutations, "seed": seed}
    if signed is None:
        signed = sign_rows(rows, task=task, templates=templates, **options)
    read = read or (lambda ids: rows.join(ids.to_frame("id"), on="id", how="semi"))
    bands = [signed.select("id", "bands")] if bands is None else bands
    keyed = _rank(rows, signed.drop("bands", strict=False), priority)
    scope = ["split", "track", "prompt"]
    keyed = keyed.with_columns(
        first=pl.col("id").first().over([*scope, "answer"]),
        conflict=pl.col("labelled") & (pl.col("answer").n_unique().over(scope) > 1),
    )
    wanted = (pl.col("id") == pl.col("first")) & ~pl.col("conflict")
    compared = keyed.lazy().filter(wanted).select(_COMPARED).collect()
    if engine.workers > 1:
        merge = _star_merger(read, task, templates, **options)
        near = merge_groups(compared, bands, merge, engine=engine)
    else:
        busy = compared.join(share_bands(compared, bands), on="id", maintain_order="left")
        busy = with_texts(busy, read(busy["id"]), task, templates=templates)
        near = merge_stars(busy, threshold=threshold, report=report)
    pairs = _pair_rows(keyed, near)
    conflicts = keyed.filter("conflict").sort("id")
    listed = _list_conflicts(with_texts(conflicts, read(conflicts["id"]), task))
    return Duplicates(pairs, listed, _fates(rows, pairs), _facts(keyed))


_COMPARED = ("id", "split", "track", "context", "answer", "labelled", "certain")
"""What rows are compared by, besides texts and bands: of all but repeats and those in conflict."""


def _star_merger(
    read: Callable[[pl.Series], pl.DataFrame],
    task: Task | None,
    templates: Sequence[str],
    **options: Any,
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """What `merge_groups` does with a group: `merge_stars` of it, signed anew from its texts."""

    def merge(group: pl.DataFrame) -> pl.DataFrame:
        full = with_texts(group, read(group["id"]), task, templates=templates)
        full = full.with_columns(bands=sign_keys(full["prompt_text"], **options))
        return merge_stars(full, threshold=options["threshold"])

    return merge


SIGNATURE_SCHEMA = pl.Schema(
    {
        "id": pl.String,
        "context": pl.UInt64,  # short digest of instruction and tools
        "prompt": pl.UInt64,  # short digest of context and prompt key
        "answer": pl.UInt64,  # short digest of the canonical answer, or of the answer key
        "labelled": pl.Boolean,  # the answer is the task's canonical one
        "certain": pl.Boolean,  # it names slots: equal answers prove that near prompts ask the same
        "bands": pl.Binary,  # of the prompt key (`minhash.sign_keys`)
    }
)


def sign_rows(
    rows: pl.DataFrame,
    *,
    task: Task | None = None,
    threshold: float = 0.8,
    permutations: int = 128,
    seed: int = 1,
    templates: Sequence[str] = (),
) -> pl.DataFrame:
    """What each row is compared by, of `SIGNATURE_SCHEMA` and sorted by id; each row on its own."""
    texts = text_rows(rows, task, templates=templates)
    context = _short_digests(texts["context"])
    prompt = _short_digests(zip(context, texts["prompt"], strict=True))
    options = {"threshold": threshold, "permutations": permutations, "seed": seed}
    signed = texts.select("id", "labelled", "certain").with_columns(
        context=context,
        prompt=prompt,
        answer=_short_digests(texts["answer"]),
        bands=sign_keys(texts["prompt"], **options),
    )
    return signed.select(SIGNATURE_SCHEMA.names()).sort("id")


def _short_digests(values: Iterable[Any]) -> pl.Series:
    """Sixty-four bits of the digest of each value, so that a signature is small.

    Rows are merged as exact repeats only when those of prompt and answer agree: 128 bits.
    """
    return pl.Series([int(digest(value)[:16], 16) for value in values], dtype=pl.UInt64)


def text_rows(
    rows: pl.DataFrame, task: Task | None, *, templates: Sequence[str] = ()
) -> pl.DataFrame:
    """The texts that signatures are made of: id, context, prompt, answer, labelled and certain.

    Prompt and answer are text keys, the answer of a labelled row the task's canonical one. What a
    template gave the prompt of a row without slots is part of the context.
    """
    labelled = (pl.col("track") == "domain") & pl.lit(task is not None)
    keyed = rows.select("id", "tools", labelled=labelled, certain=pl.lit(False))
    keyed = keyed.join(turn_keys(rows), on="id", how="left", maintain_order="left")
    # The product's instruction says nothing about one row, and not every source carries it.
    context = pl.when("labelled").then(pl.lit("")).otherwise(pl.col("system")) + pl.col("tools")
    keyed = keyed.with_columns(context=context, answer=pl.col("answer_key"))
    if task is not None:
        texts = keyed.filter("labelled")["answer_text"].unique()
        canonical = pl.Series([task.canonical(t) for t in texts], dtype=pl.String)
        slotted = texts.filter(pl.Series([bool(task.slots(t)) for t in texts], dtype=pl.Boolean))
        known = pl.col("answer_text").replace_strict(texts, canonical, default=None)
        keyed = keyed.with_columns(
            answer=pl.when("labelled").then(known).otherwise("answer_key"),
            certain=pl.col("labelled") & pl.col("answer_text").is_in(slotted.implode()),
        )
    if templates:
        cut = cut_templates(keyed["prompt"], templates)
        parts = {"context": pl.col("context") + cut["template"], "prompt": cut["rest"]}
        keyed = keyed.with_columns(
            pl.when("certain").then(name).otherwise(part).alias(name)
            for name, part in parts.items()
        )
    return keyed.select("id", "context", "prompt", "answer", "labelled", "certain")


def near_ids(
    pairs: pl.DataFrame,
    rows: pl.DataFrame,
    *,
    task: Task | None = None,
    threshold: float = 0.8,
    templates: Sequence[str] = (),
) -> list[str]:
    """The ids in `pairs` (id, other) whose prompt is as near as the threshold to that of the other.

    No others are merged, whatever they answer. `rows` are the full rows; pairs with one that is not
    among them are left out.
    """
    texts = text_rows(rows, task, templates=templates)
    keys = dict(texts.select("id", "prompt").iter_rows())
    known = ((i, keys.get(i), keys.get(other)) for i, other in pairs.iter_rows())
    return sorted({i for i, a, b in known if a and b and jaccard(a, b) >= threshold})


def with_texts(
    signed: pl.DataFrame, rows: pl.DataFrame, task: Task | None, *, templates: Sequence[str] = ()
) -> pl.DataFrame:
    """Signatures with `prompt_text` and `answer_text` of their rows, in their order."""
    texts = text_rows(rows, task, templates=templates)
    texts = texts.select("id", prompt_text="prompt", answer_text="answer")
    return signed.join(texts, on="id", how="left", maintain_order="left")


def _rank(rows: pl.DataFrame, signed: pl.DataFrame, priority: Sequence[str]) -> pl.DataFrame:
    """Signatures with the rows' labels, the best row first."""
    labels = rows.select("id", "split", "track", "source", "origin")
    origin = pl.col("origin").replace("human", "import")
    source = pl.col("source").replace_strict(_places(priority), default=99, return_dtype=pl.Int64)
    keyed = labels.join(signed, on="id")
    return keyed.sort(origin.replace_strict(_places(ORIGINS), default=99), source, "id")


def turn_keys(rows: pl.DataFrame) -> pl.DataFrame:
    """Text keys of each row: id, system, prompt, answer_key, and the raw answer_text.

    The prompt is every turn before the last but the system's, apart by U+001E.
    """
    role, key, last = pl.col("role"), pl.col("key"), pl.col("turn") == pl.col("turn").max()
    turns = rows.select(
        "id", pl.int_ranges(pl.col("messages").list.len()).alias("turn"), "messages"
    )
    turns = turns.explode("turn", "messages").unnest("messages")
    turns = turns.with_columns(text=pl.col("content") + pl.col("tool_calls").fill_null(""))
    turns = turns.with_columns(key=text_keys(turns["text"]))
    return turns.group_by("id", maintain_order=True).agg(
        system=key.filter(role == "system").str.join("\x1e"),
        prompt=key.filter((role != "system") & ~last).str.join("\x1e"),
        answer_key=key.last(),
        answer_text=pl.col("text").last(),
    )


def _pair_rows(keyed: pl.DataFrame, near: pl.DataFrame) -> pl.DataFrame:
    """Merged rows with the row that stays: a repeat of a merged row goes where that one went."""
    near = near.rename({"id": "first"})
    merged = keyed.join(near, on="first", how="left").with_columns(
        into=pl.coalesce("into", "first"),
        similarity=pl.col("similarity").fill_null(1.0),
        kind=pl.when(pl.col("into").is_null()).then(pl.lit("exact")).otherwise(pl.lit("near")),
    )
    return merged.filter(pl.col("into") != pl.col("id")).select(PAIR_SCHEMA.names()).sort("id")


def _list_conflicts(conflicts: pl.DataFrame) -> pl.DataFrame:
    grouped = conflicts.group_by("split", "track", "prompt", maintain_order=True)
    lists = grouped.agg(
        text=pl.col("prompt_text").first(), ids=pl.col("id"), answers=pl.col("answer_text")
    )
    lists = lists.drop("prompt").rename({"text": "prompt"})
    return lists.select(CONFLICT_SCHEMA.names()).sort("split", "prompt", pl.col("ids").list.first())


def _fates(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    merged = rows.select("id", "source").join(pairs, on="id")
    columns = {name: pl.col(name) for name in ("into", "similarity")}
    gone = make_fates(merged, "merged", reason=pl.col("kind"), **columns)  # type: ignore[arg-type]
    return pl.concat([kept(rows.join(pairs, on="id", how="anti")), gone]).sort("id")


def _facts(keyed: pl.DataFrame) -> pl.DataFrame:
    flag = keyed.select(
        "id", value=pl.col("conflict").cast(pl.Float64), status=pl.lit("ok"), kind=pl.lit("flag")
    )
    return flag.select(FACT_SCHEMA.names()).sort("id")


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}
