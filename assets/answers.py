"""The exam, and what a model answers to it: each question asked once ever."""

from dataclasses import dataclass

import polars as pl

from assets.code import code_version
from assets.facts import model_path
from assets.recipe import Recipe
from assets.stage import Job
from curation.bad_cases import read_inbox
from curation.frames import frame_digest
from curation.rows import digest
from curation.store import Version
from curation.tables import read_table
from evaluation.bad_cases import cases_to_ask
from evaluation.cases import predict_cases


@dataclass(frozen=True)
class Exam:
    """Rows that models are asked (`ROW_SCHEMA`).

    `rows` are those of the splits test and heldout, `wrong` the bad cases asked beside them,
    `seeds` what the base model is shown as examples.
    """

    rows: pl.DataFrame
    wrong: pl.DataFrame
    seeds: pl.DataFrame

    @property
    def test(self) -> pl.DataFrame:
        return self.rows.filter(pl.col("split") == "test")


def read_exam(job: Job, rows: Version, split_rows: Version, bad_cases: Version) -> Exam:
    """The exam as the newest split has it."""
    every, exam = rows.table("rows"), split_rows.table("exam").drop("guarded")
    imported = every.join(exam, on="id", how="anti")
    exam = exam.join(every, on="id", how="semi")  # without bad cases that were no row
    seeds = imported.filter((pl.col("split") == "train") & (pl.col("track") == "domain"))
    return Exam(exam, _bad_cases(job, bad_cases, exam["id"]), seeds)


def ask_exam(job: Job, exam: Exam, base: Version, adapter: Version) -> pl.DataFrame:
    """The answers to the exam and to bad cases; when more of these come, only they are asked."""
    parts = (exam.rows, exam.wrong) if exam.wrong.height else (exam.rows,)
    return pl.concat(ask_arm(job, rows, base, adapter) for rows in parts)


def ask_arm(
    job: Job,
    rows: pl.DataFrame,
    base: Version,
    adapter: Version | None,
    seeds: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The answers of one arm, from the store when this very question was asked before."""
    told = job.recipe.evaluate
    options = {
        "few_shot": told["few_shot"] if seeds is not None else 0,
        "max_new_tokens": told["max_new_tokens"],
        "general_answers": told["general_answers"] if reads_answers(job.recipe) else 0,
        "revision": job.recipe.options["train"].get("revision", ""),
    }
    models = [base.data_version, adapter.data_version if adapter else ""]
    shown = frame_digest(seeds) if seeds is not None else ""
    key = "answers-" + digest([frame_digest(rows), models, shown, options, code_version(ask_arm)])
    if (known := job.store.recall_table(key)) is not None:
        return read_table(job.store, known)
    cases = predict_cases(
        rows,
        base_model=model_path(base),
        adapter=adapter.folder("adapter") if adapter else None,
        seeds=seeds,
        report=job.report,
        **options,
    )
    job.store.remember_table(key, "cases", cases)
    return cases


def reads_answers(recipe: Recipe) -> bool:
    """Whether a metric reads answers to general questions."""
    return any("general_answers" in plug.uses for plug in recipe.metrics.values())


def _bad_cases(job: Job, bad_cases: Version, known: pl.Series) -> pl.DataFrame:
    """The corrected rows of bad cases that are asked beside the exam; of too many the newest."""
    delivered = [case["id"] for case in read_inbox(job.store)]
    rows, left = cases_to_ask(
        bad_cases.table("rows"),
        known,
        delivered,
        task=job.recipe.task,
        limit=job.recipe.evaluate["bad_cases"],
    )
    if left:
        job.report(f"{left:,} older bad cases are not asked: evaluate.bad_cases is {rows.height:,}")
    return rows
