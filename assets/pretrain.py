"""Pre-training: texts go aside from the rows, and the base model reads them before all else.

Scorers, the training set and the adapter stand on the base model, so texts cannot wait for any of
these. With a section `pretrain` the model that the recipe names is the stage `named_model`, and
`base_model` is that one after it has read; nothing downstream knows the difference.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from assets.accounting import settle
from assets.curate import share_check
from assets.delta import is_input_of
from assets.facts import model_path, model_revision
from assets.recipe import Recipe
from assets.recipe_texts import text_sources
from assets.stage import Job, Stage
from assets.train import LOG_SCHEMA, base_model_stage, keep_timeless
from assets.unique import GROUP
from curation.accounts import Account, tally_rows
from curation.fates import keep_rows
from curation.frames import Bare
from curation.ingest import merge_sources
from curation.rows import PLAIN, ROW_SCHEMA, digest
from curation.store import Change, Made, Version
from curation.texts import judge_texts
from training.launch import run_supervised
from training.pretrain import GENERAL_HELD, draw_order, pretrain_text

PARTS = ("read", "held", "unread", "replayed")
"""What became of a text, and the general rows that were read between them."""


def base_model_stages(recipe: Recipe) -> list[Stage]:
    """The base model's stage, or with `pretrain` those that lead to it."""
    named = base_model_stage(recipe)
    if "pretrain" not in recipe.raw:
        return [named]
    names = text_sources(recipe.sources)
    inputs = ("split_rows", *(f"sources/{name}" for name in names))
    judged = {**recipe.sections(("texts", "guard")), "sources": names}
    read = {**named.section, **recipe.sections("pretrain")}
    return [
        Stage("texts", GROUP, texts, inputs, judged, checks=_TEXT_CHECKS, guards=_TEXT_CHECKS),
        replace(named, name="named_model"),
        Stage(
            "base_model",
            named.group,
            read_texts,
            ("named_model", "texts", "split_rows"),
            read,
            checks=("conservation", "texts_read"),
            kinds=named.kinds,
        ),
    ]


_TEXT_CHECKS = ("conservation", "share")


def texts(job: Job, split_rows: Version, *sources: Version) -> Made:
    """Texts that the base model may read; the others are short, personal, leaks or repeats."""
    if since := _of_the_same(job, split_rows, sources):
        none = Change(pl.DataFrame(), pl.DataFrame())
        tables = dict.fromkeys(since.tables, none)
        return Made(tables, values=since.values, checks=since.checks, since=since)
    given = [source.table("rows") for source in sources]
    rows, shared = merge_sources(given)
    exam = split_rows.table("exam")
    said = {"priority": text_sources(job.recipe.sources), **job.recipe.options["texts"]}
    fates = judge_texts(rows, exam, report=job.report, **said)
    came = [f"sources/{source.name.rpartition('/')[2]}/new" for source in sources]
    entered = dict(zip(came, map(tally_rows, given), strict=True))
    settled = settle(entered, fates, besides={"elsewhere": tally_rows(shared)}, kept="texts")
    settled["checks"]["share"] = share_check(job, settled["values"]["fates_by_source"])
    kept = Bare(keep_rows(rows, fates).select(PLAIN), ROW_SCHEMA)
    return Made({"texts": kept, "fates": fates, "shared": shared}, **settled)


def _of_the_same(job: Job, split_rows: Version, sources: Sequence[Version]) -> Version | None:
    """The version before, where it judged these very texts by this very exam."""
    since = job.same_code
    if since is None or not all(is_input_of(since, source) for source in sources):
        return None
    if "split_rows" not in since.manifest["inputs"]:
        return None
    exams = (v.tables["exam"]["digest"] for v in (split_rows, since.input("split_rows")))
    return since if len({*exams}) == 1 else None


def read_texts(job: Job, named_model: Version, texts: Version, split_rows: Version) -> Made:
    """The named model after it has read the texts, frozen like the reference till its next edition.

    Texts that come later wait for that edition: another base model is another everything.
    """
    base = {"named_model": named_model.data_version}
    if (before := job.same_section) and base.items() <= before.values.items():
        tables = {name: before.table(name) for name in ("rows", "log")}
        return _made(tables, before.folder("model"), before.values, texts)
    kept = texts.table("texts")
    options = job.recipe.options["pretrain"]
    general = _general_rows(split_rows, int(kept["n_chars"].sum()), options)
    key = digest([texts.data_version, named_model.data_version, general["id"].to_list(), options])
    work = job.store.workdir(f"pretrain-{key}")
    frames = {"texts": kept, "general": general}
    for name, frame in frames.items():
        frame.write_parquet(work / f"{name}.parquet")
    named = {"base_model": model_path(named_model), "revision": model_revision(named_model)}
    spec = {
        "call": "training.pretrain:pretrain_text",
        "frames": {name: str(work / f"{name}.parquet") for name in frames},
        "paths": {"out": str(work / "run")},
        "options": {**named, **options},
    }
    said = run_supervised(spec, workdir=work, report=job.report)
    values = keep_timeless(said) | base
    log = pl.DataFrame(values.pop("history"), schema=LOG_SCHEMA)
    parts = {part: values.pop(part) for part in PARTS}
    rows = _parts_frame(parts, pl.concat([kept, general]), named_model)
    values |= _count_read(kept, rows)
    return _made({"rows": rows, "log": log}, Path(values.pop("model")), values, texts)


def _count_read(kept: pl.DataFrame, rows: pl.DataFrame) -> dict[str, Any]:
    """The account of the texts that were there, and the rows of each source that were read."""
    left = {part: tally_rows(rows.filter(pl.col("part") == part)) for part in PARTS[:3]}
    read = rows.filter(pl.col("part").is_in(["read", "held", "replayed"]))
    counted = read.group_by("source").len().sort("source")
    account = Account({"texts": tally_rows(kept)}, left)
    return {"account": account.to_dict(), "read_by_source": dict(counted.iter_rows())}


def _made(
    tables: Mapping[str, pl.DataFrame], model: Path, values: Mapping[str, Any], texts: Version
) -> Made:
    """The model that read, with the checks of its books and of the texts as they are now."""
    account = Account(**values["account"])
    wrong = account.problems()
    conserved = not wrong, "; ".join(wrong) or account.line()
    checks = {"conservation": conserved, "texts_read": _check_read(texts, tables["rows"])}
    return Made(tables, {"model": model}, values, checks)


def _general_rows(split_rows: Version, n_chars: int, options: Mapping[str, Any]) -> pl.DataFrame:
    """General rows enough to be read between the texts, and to be measured before and after."""
    given = inspect.signature(pretrain_text).parameters
    replay, seed = (options.get(name, given[name].default) for name in ("replay", "seed"))
    labels = split_rows.table("rows", ["id", "n_chars"], where=pl.col("track") == "general")
    drawn = draw_order(labels, seed)
    measured, rest = drawn.head(GENERAL_HELD), drawn.slice(GENERAL_HELD)
    wanted = 2 * replay / (1 - replay) * n_chars  # twice, as a token says now more and now less
    read = rest.filter(pl.col("n_chars").cum_sum() - pl.col("n_chars") < wanted)
    return split_rows.lookup("rows", pl.concat([measured, read])["id"])


def _parts_frame(
    parts: Mapping[str, Sequence[str]], given: pl.DataFrame, named_model: Version
) -> pl.DataFrame:
    """What the model read: id, source and part (`PARTS`, or `before` of a model trained here)."""
    ids = [(id, part) for part, some in parts.items() for id in some]
    said = pl.DataFrame(ids, schema={"id": pl.String, "part": pl.String}, orient="row")
    rows = said.join(given.select("id", "source"), on="id", how="left")
    if "rows" in named_model.tables:
        old = named_model.table("rows", ["id"]).join(said, on="id", how="anti")
        rows = pl.concat([rows, old.with_columns(part=pl.lit("before"), source=pl.lit(""))])
    return rows.select("id", "source", "part").sort("id")


def _check_read(texts: Version, rows: pl.DataFrame) -> tuple[bool, str]:
    """Whether no text that was read gives the exam away by now; how many more there are to read."""
    read = rows.filter(pl.col("part").is_in(["read", "held"]))
    fates = texts.table("fates", ["id", "fate", "reason"])
    leaks = fates.filter(pl.col("reason") == "leak").join(read, on="id", how="semi").height
    known = rows.filter(pl.col("part") != "before")
    waiting = keep_rows(fates, fates).join(known, on="id", how="anti").height
    said = f"{read.height:,} texts; {waiting:,} more wait for the next edition of the reference"
    if leaks:
        said += f"; {leaks:,} of those that were read give away what came to the exam since"
    return not leaks, said
