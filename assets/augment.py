"""Augment: new rows aimed at the errors, each with an edge to what it was made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from assets.delta import changed_ids, is_input_of
from assets.recipe import Recipe
from assets.stage import Job, Stage
from curation.accounts import Account, count_records, tally_rows
from curation.augmenters._base import (
    BOUGHT_SCHEMA,
    TYPES_SCHEMA,
    Augmented,
    AugmentWork,
    Bought,
)
from curation.conflicts import find_rejected
from curation.dedup import text_rows
from curation.error_types import cases_by_type
from curation.exam_signs import sign_exam
from curation.fixes import fix_rows
from curation.llm_ledger import LEDGER, read_calls
from curation.rows import EDGE_SCHEMA, ROW_SCHEMA, digest, rows_frame
from curation.store import Change, Made, Version
from curation.tasks._base import Task

_TRUSTED = (pl.col("track") == "domain") & (pl.col("split") == "train")
"""The rows that new ones are made from."""

_ASKED = (pl.col("track") == "domain") & (pl.col("split") != "train")
"""The rows of the exam, and held-out ones."""
_TO_LEARN_FROM = pl.col("half") == "learn"

REJECTED_SCHEMA = pl.Schema({"text": pl.String, "reason": pl.String, "call": pl.String})


def augmented_stage(recipe: Recipe) -> Stage:
    """The stage of the augmenter that the recipe chose."""
    plug = recipe.augment
    return Stage(
        "augmented_rows",
        "3_augment",
        augmented_rows,
        augment_inputs(recipe),
        section=[plug.section, recipe.task_plug.section],
        code=(plug.module, *recipe.task_plug.modules),
        reads=lambda job: plug.files_digest(),
        files=plug.files_state,
        checks=("conservation",),
    )


def augment_inputs(recipe: Recipe) -> tuple[str, ...]:
    """What the augmenter reads: the frozen reference only where it holds rows against it."""
    always = ("rows", "bad_cases", "error_types", "verdicts")
    return (*always, "reference") if recipe.augment.options.get("perplexity") else always


def augmented_rows(
    job: Job,
    rows: Version,
    bad_cases: Version,
    error_types: Version,
    verdicts: Version,
    *reference: Version,
) -> Made:
    """Rows made from seeds and bad cases to learn from, and those set right; what was rejected."""
    if since := _of_the_same(job, rows, verdicts, (bad_cases, error_types, *reference)):
        none = Change(pl.DataFrame(), pl.DataFrame())
        tables = dict.fromkeys(since.tables, none)
        return Made(tables, values=since.values, checks=since.checks, since=since)
    bought = _bought(job)
    work = gather_work(job, rows, bad_cases, error_types, verdicts, *reference)
    work = replace(work, bought=bought)
    made = job.recipe.augment.make()(work)
    made = _with_fixes(made, rows, verdicts, job.recipe.task)
    edges = pl.DataFrame(made.edges, schema=EDGE_SCHEMA).unique()
    rejected = pl.DataFrame(made.rejected, schema=REJECTED_SCHEMA)
    asked = pl.DataFrame(made.bought, schema=BOUGHT_SCHEMA).with_row_index("number")
    reasons = rejected.group_by("reason").len().sort("len", "reason", descending=[True, False])
    rows_made = rows_frame(made.rows)
    created = pl.DataFrame(
        [(row["id"], row["source"]) for row in made.rows],
        schema={"id": pl.String, "source": pl.String},
        orient="row",
    )
    refused = count_records("proposals", rejected.height)
    waiting = rows_frame(made.waiting)
    waits = {"waiting": count_records("proposals", waiting.height)} if waiting.height else {}
    came = count_records("proposals", made.proposed - len(made.rows))
    account = Account(
        {"created": tally_rows(created), "proposed": came},
        {"made": tally_rows(rows_made), "refused": refused, **waits},
    )
    wrong = account.problems()
    return Made(
        tables={
            "rows": rows_made,
            "edges": edges,
            "rejected": rejected,
            "bought": asked,
            "calls": _answers(job, asked, bought.answers),
            **({"waiting": waiting} if waiting.height else {}),
            "known": pl.DataFrame({"id": made.known}, schema={"id": pl.String}),
            "types": pl.DataFrame(made.types, schema=TYPES_SCHEMA),
        },
        values={
            "usage": _with_price(made.usage, rows_made.height),
            "rejected": dict(reasons.iter_rows()),
            "account": account.to_dict(),
        },
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
    )


def _with_price(usage: Mapping[str, float], made: int) -> dict[str, float]:
    """What was used up, and what one row that was made cost, where anything did."""
    cost = usage.get("cost_usd", 0.0)
    return {**usage, "usd_per_row": cost / made} if cost and made else {**usage}


def _with_fixes(made: Augmented, rows: Version, verdicts: Version, task: Task) -> Augmented:
    """What was made, and the rows that people set right among all of these."""
    known = rows_frame(made.rows)

    def read(ids: Iterable[str]) -> pl.DataFrame:
        imported = rows.lookup("rows", (wanted := pl.Series(ids, dtype=pl.String)))
        others = known.filter(pl.col("id").is_in(wanted.implode()))
        return pl.concat([imported, others.join(imported, on="id", how="anti")])

    fixed = fix_rows(verdicts.table("fixes"), read, task=task)
    return replace(
        made,
        rows=[*made.rows, *fixed.rows],
        edges=[*made.edges, *fixed.edges],
        rejected=[*made.rejected, *fixed.rejected],
        proposed=made.proposed + fixed.proposed,
    )


def gather_work(
    job: Job,
    rows: Version,
    bad_cases: Version,
    error_types: Version,
    verdicts: Version,
    *reference: Version,
) -> AugmentWork:
    """The material of an augmenter, which has bought nothing yet; versions of `augment_inputs`."""
    frozen = reference[0].table("rows") if reference else ROW_SCHEMA.to_frame()
    task, types = job.recipe.task, error_types.table("rows")
    return AugmentWork(
        task=task,
        seeds=_seeds(job, rows, verdicts),
        bad_cases=cases_by_type(bad_cases.table("rows", where=_TO_LEARN_FROM), types),
        error_types=types.drop("cases"),
        report=job.report,
        cache=job.store.root,
        exam=sign_exam(rows.table("rows", where=_ASKED), bad_cases.table("rows"), task=task),
        verdicts=verdicts.table("rows"),
        reference=frozen,
    )


def _seeds(job: Job, rows: Version, verdicts: Version) -> pl.DataFrame:
    """The rows that new ones are made from: of those that people reject no others are."""
    seeds, decided = rows.table("rows", where=_TRUSTED), verdicts.table("rows")
    if decided.is_empty():
        return seeds
    gone = find_rejected(text_rows(seeds, job.recipe.task), decided, scope=("context", "prompt"))
    return seeds.join(gone, on="id", how="anti", maintain_order="left")


def _of_the_same(
    job: Job, rows: Version, verdicts: Version, others: Sequence[Version]
) -> Version | None:
    """The present head, where it was made from all that would be made from now.

    Most rows that come are general ones, of which nothing is made but what people set right.
    """
    since, reads = job.same_code, digest(job.recipe.augment.files_digest())
    if since is None or since.manifest["how"]["reads"] != reads:
        return None
    if not all(is_input_of(since, version) for version in others):
        return None
    ids = changed_ids(since, [(rows, "rows"), (verdicts, "rows")])
    fixed = verdicts.table("fixes")["row_id"]
    if changed_ids(since, [(verdicts, "fixes")]) or not {*fixed}.isdisjoint(ids):
        return None
    touched = (version.lookup("rows", ids, texts=False) for version in (since.input("rows"), rows))
    if any(some.filter(_TRUSTED | _ASKED).height for some in touched):
        return None
    made = [since.lookup(t, ids, ["id"]) for t in ("rows", "waiting") if t in since.tables]
    return None if any(some.height for some in made) else since


def _bought(job: Job) -> Bought:
    """What the present head of this stage was bought with, under the same part of the recipe."""
    before = job.same_section
    if before is None or "bought" not in before.tables:
        return Bought()
    return Bought(
        _with_kind(before.table("bought").sort("number").drop("number")),
        before.table("calls").sort("key", "number").drop("number"),
        frozenset(before.table("known")["id"]),
    )


def _with_kind(bought: pl.DataFrame) -> pl.DataFrame:
    """Calls of a version from before there were votes and names were all for rows."""
    kind = pl.col("kind") if "kind" in bought.columns else pl.lit("rows").alias("kind")
    return bought.select(kind, *BOUGHT_SCHEMA.names()[1:])


def _answers(job: Job, asked: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """The paid answers that wrote or were refused rows, kept with them; of one key in their order.

    The ledger is one machine's; what it no longer has is taken over from the version before.
    """
    keys = set(asked["call"])
    here = read_calls(job.store.root / LEDGER, keys)
    kept = earlier.filter(pl.col("key").is_in(keys - {*here["key"]}))
    return pl.concat([kept, here]).with_columns(number=pl.int_range(pl.len()).over("key"))
