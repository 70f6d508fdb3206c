"""Augment: new rows aimed at the errors, each with an edge to what it was made from."""

import polars as pl

from assets.recipe import Recipe
from assets.stage import Job, Stage
from curation.accounts import Account, tally_rows
from curation.augmenters._base import AugmentWork
from curation.llm_ledger import LEDGER, read_calls
from curation.rows import EDGE_SCHEMA, rows_frame
from curation.store import Made, Version

REJECTED_SCHEMA = pl.Schema({"text": pl.String, "reason": pl.String, "call": pl.String})


def augmented_stage(recipe: Recipe) -> Stage:
    """The stage of the augmenter that the recipe chose."""
    plug = recipe.augment
    return Stage(
        "augmented_rows",
        "3_augment",
        augmented_rows,
        ("rows", "bad_cases", "error_types"),
        section=[plug.section, recipe.task_plug.section],
        code=(plug.module, recipe.task_plug.module),
        reads=lambda job: plug.files_digest(),
        files=plug.files_state,
        checks=("conservation",),
    )


def augmented_rows(job: Job, rows: Version, bad_cases: Version, error_types: Version) -> Made:
    """Rows made from seeds and from the bad cases to learn from; what was rejected, and why."""
    trusted = (pl.col("track") == "domain") & (pl.col("split") == "train")
    work = AugmentWork(
        task=job.recipe.task,
        seeds=rows.table("rows").filter(trusted),
        bad_cases=bad_cases.table("rows").filter(pl.col("half") == "learn"),
        error_types=error_types.table("rows"),
        report=job.report,
        cache=job.store.root,
    )
    made = job.recipe.augment.make()(work)
    edges = pl.DataFrame(made.edges, schema=EDGE_SCHEMA).unique()
    rejected = pl.DataFrame(made.rejected, schema=REJECTED_SCHEMA)
    reasons = rejected.group_by("reason").len().sort("len", "reason", descending=[True, False])
    rows_made = rows_frame(made.rows)
    created = pl.DataFrame(
        [(row["id"], row["source"]) for row in made.rows],
        schema={"id": pl.String, "source": pl.String},
        orient="row",
    )
    account = Account({"created": tally_rows(created)}, {"made": tally_rows(rows_made)})
    wrong = account.problems()
    return Made(
        tables={
            "rows": rows_made,
            "edges": edges,
            "rejected": rejected,
            "calls": _calls(job, edges, rejected),
        },
        values={
            "usage": dict(made.usage),
            "rejected": dict(reasons.iter_rows()),
            "account": account.to_dict(),
        },
        checks={"conservation": (not wrong, "; ".join(wrong) or account.line())},
    )


def _calls(job: Job, edges: pl.DataFrame, rejected: pl.DataFrame) -> pl.DataFrame:
    """The paid calls that wrote or were refused rows, kept with them; of one key in their order."""
    keys = {*edges["call"], *rejected["call"]} - {"", None}
    found = read_calls(job.store.root / LEDGER, keys)
    return found.with_columns(number=pl.int_range(pl.len()).over("key"))
